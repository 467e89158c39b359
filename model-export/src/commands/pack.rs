//! `model-export pack`: a checkpoint becomes a signed bundle.

use std::path::PathBuf;

use inference::BackendOptions;
use model_export::pack::checkpoint::Checkpoint;
use model_export::pack::{PackInput, SigningKey, Tolerances, pack};

use super::{Usage, print, write_file};

/// Pack a checkpoint's graphs and detectors into a signed bundle
///
/// Every graph is run on the backend that it is for, to record what it computes here; the bundle
/// is then loaded the way a camera loads it. The same checkpoint and key give the same file.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  model-export pack checkpoints/gate-3 --key site.key --out \
                        gate-3.pavad --name gate-3 --version 1.0.0"
)]
pub struct Args {
    /// Checkpoint directory: config.toml, graphs/, golden/.
    checkpoint: PathBuf,
    /// Secret key to sign with (`model-export keygen`).
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the bundle.
    #[arg(short, long, value_name = "FILE.pavad")]
    out: PathBuf,
    /// Name of the model: a-z, 0-9, -.
    #[arg(long, default_value = "pavad")]
    name: String,
    /// Semantic version of the model.
    #[arg(long = "version", default_value = "0.1.0", value_name = "VERSION")]
    model_version: String,
    /// Security epoch; raise it only when older bundles must no longer be installed.
    #[arg(long, default_value_t = 0)]
    epoch: u32,
    /// Device class that the bundle is for; may be repeated.
    #[arg(long, default_value = "any", value_name = "CLASS")]
    device_class: Vec<String>,
    /// ONNX Runtime's shared library; without it, the usual places are searched.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = SigningKey::read(&args.key)?;
    if !args.checkpoint.is_dir() {
        return Err(Usage(format!("{} is not a directory", args.checkpoint.display())).into());
    }
    let checkpoint = Checkpoint::read(&args.checkpoint)?;
    let input = PackInput {
        name: args.name.clone(),
        version: args.model_version.clone(),
        security_epoch: args.epoch,
        device_classes: args.device_class.clone(),
        detectors: checkpoint.detectors,
        graphs: checkpoint.graphs,
        golden: checkpoint.golden,
        provenance: checkpoint.provenance,
        tolerances: Tolerances::default(),
    };
    let options = BackendOptions {
        ort_library: args.ort_library.clone(),
        threads: 0,
    };
    let bytes = pack(&input, &key, &options)?;
    write_file(&args.out, &bytes)?;
    print(&format!(
        "{}: {} {}, {} graphs, {} bytes, signed by key {}\n",
        args.out.display(),
        input.name,
        input.version,
        input.graphs.len(),
        bytes.len(),
        key.public().id()
    ))
}
