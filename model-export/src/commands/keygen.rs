//! `model-export keygen`: a key pair for signing bundles.

use std::path::PathBuf;

use anyhow::Context;
use model_export::pack::SigningKey;

use super::print;

/// Make a minisign key pair for signing bundles
///
/// The secret key is not encrypted, so that bundles can be signed unattended; its file has mode
/// 0600. Keep it off cameras and out of version control.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  model-export keygen --out keys/site      keys/site.key, \
                        keys/site.pub\n  model-export keygen --out keys/          keys/pavad.key, \
                        keys/pavad.pub")]
pub struct Args {
    /// Where to: a folder, or the path of both files without their extension.
    #[arg(short, long, value_name = "DIR|PREFIX")]
    out: PathBuf,
    /// Replace existing keys. Cameras that trust the old one will not trust the new one.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let is_dir = args.out.is_dir() || args.out.as_os_str().as_encoded_bytes().ends_with(b"/");
    let prefix = if is_dir { args.out.join("pavad") } else { args.out.clone() };
    if let Some(parent) = prefix.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let key = SigningKey::generate()?;
    let (secret, public) = key.write(&prefix, args.force)?;
    log::warn!(
        "{} is not encrypted: whoever reads it can sign bundles that your cameras accept",
        secret.display()
    );
    print(&format!(
        "secret key  {}\npublic key  {}\nkey id      {}\n",
        secret.display(),
        public.display(),
        key.public().id()
    ))
}
