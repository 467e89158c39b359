//! A bundle and a clip by which a camera program elsewhere is compared with the one here.
//!
//! The bundle is made as a site's is, by the programs that users run, but of a minute of a procedural
//! scene and with few steps: it need not be good, it must have every kind of graph that a camera runs.
//! The clip is a folder of pictures, for camera programs without FFmpeg.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use tests::programs;
use trainer::scene::{Event, Scene};
use video::Frame;

/// A bundle and a clip by which camera programs are compared.
#[derive(Debug, Parser)]
#[command(name = "golden")]
struct Args {
    /// Folder that gets model.pavad, model.pub and clip/.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Frames of the clip, ten a second: people walk, then a vehicle crosses.
const FRAMES: usize = 80;
/// Index of the clip in the scene; those of training are lower.
const CLIP: u64 = 101;
/// The size that `trainer scene` films in.
const SIZE: (usize, usize) = (320, 240);
const SEED: u64 = 1;

/// A local network and a semantic detector with the light backbone, both in INT8.
const CONFIG: &str = "\
pseudo_clips = 16

[local]
steps = 60

[semantic]
backbone = \"mobilenetv2\"

[semantic.detector]
segments = 32
batch = 4
steps = 10
";

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("golden: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let path = |name: &str| args.out.join(name).display().to_string();
    if args.out.exists() {
        std::fs::remove_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    }
    clip(&args.out.join("clip"))?;
    let config = args.out.join("train.toml");
    std::fs::write(&config, CONFIG).with_context(|| config.display().to_string())?;
    let seed = SEED.to_string();
    let (site, checkpoint) = (path("site"), path("checkpoint"));
    let few = ["--normal-clips", "4", "--event-seconds", "1", "--normal-minutes", "0"];
    program("trainer", &[&["scene", "--seed", &seed, "--out", &site], &few[..]].concat())?;
    let normal = path("site/normal");
    let config = path("train.toml");
    let train = ["train", "--seed", &seed, "--config", &config, "--normal", &normal];
    program("trainer", &[&train[..], &["--out", &checkpoint]].concat())?;
    program("model-export", &["keygen", "--out", &path("model")])?;
    let (key, partial) = (path("model.key"), path("partial.pavad"));
    let pack = ["pack", &checkpoint, "--key", &key, "--name", "golden", "--out", &partial];
    program("model-export", &pack)?;
    for scratch in ["site", "checkpoint"] {
        std::fs::remove_dir_all(args.out.join(scratch)).context(scratch)?;
    }
    // Last: whoever finds the bundle finds everything.
    std::fs::rename(&partial, args.out.join("model.pavad")).context("model.pavad")
}

/// Films the clip as a folder of portable pixmaps.
fn clip(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let scene = Scene::new(SIZE.0, SIZE.1, SEED);
    let (mut clip, mut frame) = (scene.clip(CLIP, FRAMES, Some(Event::Vehicle)), Frame::default());
    let mut number = 0;
    while clip.film(&mut frame).is_some() {
        let path = folder.join(format!("{number:04}.ppm"));
        let mut picture = format!("P6\n{} {}\n255\n", frame.width(), frame.height()).into_bytes();
        picture.extend_from_slice(frame.rgb());
        std::fs::write(&path, picture).with_context(|| path.display().to_string())?;
        number += 1;
    }
    Ok(())
}

fn program(name: &str, words: &[&str]) -> Result<()> {
    let mut command = programs::command(name).map_err(|e| anyhow!(e))?;
    let status = command.args(words).status().with_context(|| name.to_owned())?;
    if !status.success() {
        bail!("{name} {} failed ({status})", words.join(" "));
    }
    Ok(())
}
