//! `trainer scene`: films the procedural site.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use rayon::prelude::*;
use trainer::scene::{Event, FRAME_RATE, Scene};
use video::{Frame, Writer};

use super::write_file;

/// Films a procedural surveillance scene: normal clips, and held-out clips with and without events.
///
/// DIR gets normal/*.mp4, test/*.mp4, labels.json (1-based, inclusive frame ranges) and kinds.json, the
/// same with the kind of each event.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer scene --out site --seed 1")]
pub struct SceneArgs {
    /// Folder for the videos.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The same seed films the same scene.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Width in pixels, even.
    #[arg(long, default_value_t = 320)]
    width: usize,
    /// Height in pixels, even.
    #[arg(long, default_value_t = 240)]
    height: usize,
    /// Normal clips for training, 18 seconds each.
    #[arg(long, default_value_t = 32)]
    normal_clips: u64,
    /// Seconds of each event clip; one clip for each kind of event.
    #[arg(long, default_value_t = 45)]
    event_seconds: usize,
    /// Minutes of normal held-out footage, in clips of five.
    #[arg(long, default_value_t = 10)]
    normal_minutes: usize,
}

/// A clip to be filmed.
struct Take {
    folder: &'static str,
    name: String,
    index: u64,
    frames: usize,
    event: Option<Event>,
}

/// Runs the command.
pub fn run(args: &SceneArgs) -> Result<()> {
    let scene = Scene::new(args.width, args.height, args.seed);
    let rate = FRAME_RATE as usize;
    let mut takes: Vec<Take> = (0..args.normal_clips)
        .map(|i| Take {
            folder: "normal",
            name: format!("normal-{:02}", i + 1),
            index: i,
            frames: 18 * rate,
            event: None,
        })
        .collect();
    takes.extend(Event::ALL.iter().zip(100..).map(|(&event, index)| Take {
        folder: "test",
        name: event.name().to_string(),
        index,
        frames: args.event_seconds * rate,
        event: Some(event),
    }));
    takes.extend((0..args.normal_minutes.div_ceil(5)).map(|i| Take {
        folder: "test",
        name: format!("normal-{}", i + 1),
        index: 200 + i as u64,
        frames: 60 * rate * (args.normal_minutes - 5 * i).min(5),
        event: None,
    }));
    for folder in ["normal", "test"] {
        let folder = args.out.join(folder);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let filmed: Vec<_> =
        takes.par_iter().map(|take| film(&scene, take, &args.out)).collect::<Result<_>>()?;
    let labels: BTreeMap<&str, &Vec<(u64, u64)>> = takes
        .iter()
        .zip(&filmed)
        .filter(|(take, _)| take.folder == "test")
        .map(|(take, ranges)| (take.name.as_str(), ranges))
        .collect();
    let path = args.out.join("labels.json");
    write_file(&path, serde_json::to_string_pretty(&labels)?.as_bytes())?;
    // The same with the kind of each event, which not every reader of labels takes.
    let kinds: BTreeMap<&str, Vec<(u64, u64, &str)>> = labels
        .iter()
        .map(|(name, ranges)| (*name, ranges.iter().map(|(f, l)| (*f, *l, *name)).collect()))
        .collect();
    let path = args.out.join("kinds.json");
    write_file(&path, serde_json::to_string_pretty(&kinds)?.as_bytes())?;
    log::info!("filmed {} clips into {}", takes.len(), args.out.display());
    Ok(())
}

/// Films one clip; the abnormal ranges, 1-based and inclusive.
fn film(scene: &Scene, take: &Take, out: &Path) -> Result<Vec<(u64, u64)>> {
    let mut clip = scene.clip(take.index, take.frames, take.event);
    let path = out.join(take.folder).join(format!("{}.mp4", take.name));
    let mut frame = Frame::default();
    let mut writer: Option<Writer> = None;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut number = 0;
    while let Some(abnormal) = clip.film(&mut frame) {
        number += 1;
        if writer.is_none() {
            writer = Some(Writer::create(&path, frame.width(), frame.height(), FRAME_RATE)?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&frame)?;
        }
        match ranges.last_mut() {
            _ if !abnormal => {}
            Some(range) if range.1 + 1 == number => range.1 = number,
            _ => ranges.push((number, number)),
        }
    }
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(ranges)
}
