//! The programs that make a bundle and watch with it: those that users run, so that what is measured is
//! what a camera does.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::commands::NoDevice;

/// The two programs.
#[derive(Debug)]
pub struct Programs {
    camera: PathBuf,
    export: PathBuf,
}

impl Programs {
    /// In a folder; without one, in that of this program.
    pub fn find(folder: Option<&Path>) -> Result<Self> {
        let own = std::env::current_exe().context("finding this program")?;
        let folder = folder.or(own.parent()).unwrap_or(Path::new("."));
        let program = |name: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            if !path.is_file() {
                bail!(NoDevice(format!(
                    "{}: not there; name the folder of the programs with --programs",
                    path.display()
                )));
            }
            Ok(path)
        };
        Ok(Self { camera: program("edge-runtime")?, export: program("model-export")? })
    }

    /// The bundle of a model: a file is one, a checkpoint becomes one below `out`.
    pub fn bundle(&self, model: &Path, name: &str, out: &Path) -> Result<PathBuf> {
        if model.is_file() {
            return Ok(model.to_path_buf());
        }
        let folder = out.join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (key, bundle) = (folder.join("cross"), folder.join("model.pavad"));
        let secret = key.with_extension("key");
        if !secret.exists() {
            call(Command::new(&self.export).args(["keygen", "--out"]).arg(&key))?;
        }
        let mut pack = Command::new(&self.export);
        pack.arg("pack").arg(model).arg("--key").arg(secret);
        call(pack.args(["--name", name, "--out"]).arg(&bundle))?;
        Ok(bundle)
    }

    /// Watches videos with a bundle; `folder` gets `scores` and `events.jsonl`.
    pub fn replay(&self, bundle: &Path, videos: &Path, folder: &Path) -> Result<()> {
        let scores = folder.join("scores");
        // Scores of clips that are no longer there would be left over.
        if scores.exists() {
            std::fs::remove_dir_all(&scores).with_context(|| scores.display().to_string())?;
        }
        std::fs::create_dir_all(&scores).with_context(|| scores.display().to_string())?;
        let mut replay = Command::new(&self.camera);
        replay.arg("replay").arg("--bundle").arg(bundle).arg("--input").arg(videos);
        replay.arg("--detectors").arg("--scores").arg(&scores);
        call(replay.arg("--events").arg(folder.join("events.jsonl")))
    }
}

/// Runs a program; what it prints goes to standard error, for standard output is the matrix's.
fn call(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({}); see above", output.status);
    }
    Ok(())
}
