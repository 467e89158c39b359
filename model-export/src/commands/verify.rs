//! `model-export verify`: is this file a whole, trusted bundle?

use std::path::PathBuf;

use model_bundle::Trust;
use serde_json::json;

use super::{TrustArgs, open, print};

/// Check a bundle's signature, checksums and manifest
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  model-export verify model.pavad --public-key site.pub\n  \
                        model-export verify model.pavad --device-class generic-linux --min-epoch 2")]
pub struct Args {
    /// The bundle.
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Refuse a bundle that is not for devices of this class.
    #[arg(long, value_name = "CLASS")]
    device_class: Option<String>,
    /// Refuse a bundle with a smaller security epoch.
    #[arg(long, value_name = "EPOCH")]
    min_epoch: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let trust = args.trust.trust()?;
    let bundle = open(&args.file, &trust)?;
    if let Some(class) = &args.device_class {
        bundle.check_device(class)?;
    }
    if let Some(epoch) = args.min_epoch {
        bundle.check_epoch(epoch)?;
    }
    let trusted = matches!(trust, Trust::Keys(_));
    if !trusted {
        log::warn!("no --public-key: the file is undamaged, but anyone may have signed it");
    }
    let manifest = bundle.manifest();
    if args.json {
        let report = json!({
            "file": args.file,
            "name": manifest.name,
            "version": manifest.version,
            "signer": bundle.signer().id(),
            "trusted": trusted,
            "sha256": bundle.digest_hex(),
        });
        return print(&format!("{report}\n"));
    }
    let signer = bundle.signer().id();
    let whose = if trusted { "trusted key" } else { "key (not checked)" };
    print(&format!(
        "{}: good, {} {}, signed by {whose} {signer}\n",
        args.file.display(),
        manifest.name,
        manifest.version
    ))
}
