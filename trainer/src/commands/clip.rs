//! `trainer clip`: embeddings of pictures and texts.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use trainer::clip::{Clip, read_picture};

use super::Usage;

/// Prints CLIP embeddings of pictures and texts.
///
/// The JSON object on stdout has `images` and `texts`, each a list of L2-normalised projected
/// embeddings in the order of the arguments. Preprocessing and tokenizer are what the files of the
/// model's folder say.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  trainer clip --model clip-vit-base-patch32 --image a.png --image b.png \\\n    --text \"a fight, CCTV\""
)]
pub struct ClipArgs {
    /// A CLIP folder in Hugging Face's layout: config.json, preprocessor_config.json, tokenizer.json
    /// (or vocab.json and merges.txt), model.safetensors (or shards with their index).
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A picture: PNG, JPEG, BMP, TIFF or PNM; may be repeated.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// A text; may be repeated.
    #[arg(long = "text", value_name = "TEXT")]
    texts: Vec<String>,
}

#[derive(Serialize)]
struct Embeddings {
    images: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
}

/// Runs the command.
pub fn run(args: &ClipArgs) -> Result<()> {
    if args.images.is_empty() && args.texts.is_empty() {
        bail!(Usage("nothing to embed: give --image or --text".into()));
    }
    let frames =
        args.images.iter().map(|path| read_picture(path)).collect::<Result<Vec<_>, _>>()?;
    let clip = Clip::load(&args.model, &candle_core::Device::Cpu)?;
    let embeddings = Embeddings {
        images: clip.images(&frames.iter().collect::<Vec<_>>())?,
        texts: args.texts.iter().map(|text| clip.text(text)).collect::<Result<_, _>>()?,
    };
    println!("{}", serde_json::to_string(&embeddings)?);
    Ok(())
}
