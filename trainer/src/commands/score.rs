//! `trainer score`: UR-DMU weights on features, both as they are published.

use std::path::PathBuf;

use anyhow::Result;
use candle_core::{DType, Device};
use clap::Args;
use trainer::detector::{LONGEST_VIDEO, ModelSize, UrDmu, checkpoint};
use trainer::features::{CropLayout, Crops, Error, crops, file};
use trainer::npy;

use super::Usage;

/// Numbers of crops that published features have.
const USUAL_CROPS: [usize; 2] = [10, 5];

/// Scores features with UR-DMU weights of the public checkpoint's tensor names.
///
/// One score a snippet, 0 to 1, as the public code computes them in evaluation mode; scores of
/// several crops are averaged. Sizes follow from the weights, except the number of heads.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer score --weights model.safetensors --features clip.npy --out scores.npy"
)]
pub struct ScoreArgs {
    /// Weights: .safetensors, or a PyTorch state_dict as .pkl, .pt or .pth.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Features: [snippets, d], [snippets, crops, d] or [crops, snippets, d].
    #[arg(long, value_name = "FILE.npy")]
    features: PathBuf,
    /// The scores: one a snippet, float32.
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Crops of an array of three dimensions; without it 10 or 5, whichever fits.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    crops: Option<u16>,
    /// Order of the first two dimensions, where both could be the crops.
    #[arg(long, value_enum, value_name = "ORDER")]
    crop_layout: Option<CropLayout>,
    /// Attention heads: the one size that the weights do not tell.
    #[arg(long, value_name = "N", default_value_t = ModelSize::default().heads)]
    heads: usize,
}

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<()> {
    if args.heads == 0 {
        return Err(Usage("--heads must be at least 1".into()).into());
    }
    let tensors = checkpoint::read(&args.weights)?;
    let model = UrDmu::from_tensors(&tensors, args.heads, DType::F32, &Device::Cpu)
        .map_err(|e| anyhow::Error::new(e).context(args.weights.display().to_string()))?;
    for name in tensors.keys().filter(|name| model.parameters.get(name).is_err()) {
        let file = args.weights.display();
        if name.starts_with("selfatt.layers.") {
            // Layers are counted up to the first without this tensor: what follows belongs to one.
            let missing = format!("selfatt.layers.{}.0.fn.to_qkv.weight", model.size.layers);
            let problem = format!("is missing, but `{name}` is there");
            let error = trainer::detector::Error::Tensor { name: missing, problem };
            return Err(anyhow::Error::new(error).context(file.to_string()));
        }
        log::warn!("{file}: tensor `{name}` is no part of UR-DMU and not used");
    }
    let features = read(args)?;
    if features.d != model.size.feature_size {
        let problem = format!("the weights take features of length {}", model.size.feature_size);
        let shape = npy::header(&args.features)?.shape;
        return Err(Error::Shape { path: args.features.clone(), shape, problem }.into());
    }
    if features.snippets > LONGEST_VIDEO {
        log::info!(
            "{}: {} snippets, scored in parts of {LONGEST_VIDEO} that overlap by half: a score depends on \
             what lies within hours of it",
            args.features.display(),
            features.snippets
        );
    }
    let scores: Vec<Vec<f32>> =
        features.each().map(|crop| model.scores(crop)).collect::<Result<_, _>>()?;
    npy::write(&args.out, &[features.snippets], &crops::mean(&scores))?;
    log::info!("{}: {} snippets, {} crops", args.out.display(), features.snippets, features.crops);
    Ok(())
}

fn read(args: &ScoreArgs) -> Result<Crops, Error> {
    let shape = npy::header(&args.features)?.shape;
    let crops = match (args.crops, shape.as_slice()) {
        (Some(crops), _) => crops as usize,
        (None, &[n, c, _]) => {
            // The first number of crops that one of the dimensions has, unless the other has another.
            let fits = |crops: &&usize| [n, c].contains(crops);
            let mut usual = USUAL_CROPS.iter().filter(fits);
            match (usual.next(), usual.next()) {
                (Some(&crops), None) => crops,
                _ => {
                    let problem = "give the number of crops with --crops".to_string();
                    return Err(Error::Shape { path: args.features.clone(), shape, problem });
                }
            }
        }
        (None, _) => 1,
    };
    let name = args.features.display().to_string();
    file::read(&args.features, &name, crops, args.crop_layout)
}
