//! `model-export sign`: sign a bundle's payload again, with another key.

use std::path::PathBuf;

use model_bundle::Trust;
use model_export::pack::{SigningKey, signing};

use super::{TrustArgs, open, print, write_file};

/// Sign a bundle again with another key, for example a site's own
///
/// The content stays the same; the signature and the public key in the file are replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  model-export sign model.pavad --public-key vendor.pub --key \
                        site.key --out site.pavad")]
pub struct Args {
    /// The bundle.
    file: PathBuf,
    /// Secret key to sign with.
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the bundle; without it, FILE is replaced.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = SigningKey::read(&args.key)?;
    let trust = args.trust.trust()?;
    if matches!(trust, Trust::Embedded) {
        log::warn!("no --public-key: you sign whatever is in {}", args.file.display());
    }
    let bundle = open(&args.file, &trust)?;
    let bytes = key.finish(&bundle.payload(), &signing::comment(bundle.manifest()))?;
    let out = args.out.as_ref().unwrap_or(&args.file);
    write_file(out, &bytes)?;
    print(&format!("{}: signed by key {}\n", out.display(), key.public().id()))
}
