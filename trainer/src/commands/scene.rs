//! `trainer scene`: films a procedural site.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use rayon::prelude::*;
use trainer::scene::{DRAWN, DrawnSite, Event, FRAME_RATE, Scene};
use video::{Frame, Writer};

use super::{Usage, write_file};

/// The square that is filmed unless another site is named.
const PLAZA: &str = "plaza";

/// Films a procedural surveillance scene: normal clips, and held-out clips with and without events.
///
/// DIR gets normal/*.mp4, test/*.mp4, labels.json (1-based, inclusive frame ranges) and kinds.json, the
/// same with the kind of each event.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainer scene --out site --seed 1\n  trainer scene --site night --seed 3 --out night"
)]
pub struct SceneArgs {
    /// Folder for the videos.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which site: plaza, near (one person in a room), far (a square from a roof), top-down (a shop from
    /// its ceiling), corridor, night (a street with lamps and head lights), crowd.
    #[arg(long, value_name = "NAME", default_value = PLAZA)]
    site: String,
    /// The same seed films the same scene.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Width in pixels, even.
    #[arg(long, default_value_t = 320)]
    width: usize,
    /// Height in pixels, even.
    #[arg(long, default_value_t = 240)]
    height: usize,
    /// Normal clips for training, 18 seconds each [default: 32; of other sites than the plaza 20].
    #[arg(long)]
    normal_clips: Option<u64>,
    /// Seconds of each event clip, one for each kind of event [default: 45; of other sites than the
    /// plaza 60].
    #[arg(long)]
    event_seconds: Option<usize>,
    /// Minutes of normal held-out footage, in clips of five [default: 10; of other sites than the plaza 6].
    #[arg(long)]
    normal_minutes: Option<usize>,
}

/// What is filmed.
enum Site {
    Plaza(Scene),
    Drawn(DrawnSite),
}

impl Site {
    fn new(args: &SceneArgs) -> Result<Self> {
        if args.site == PLAZA {
            return Ok(Self::Plaza(Scene::new(args.width, args.height, args.seed)));
        }
        let site = DrawnSite::new(&args.site, args.width, args.height, args.seed);
        let known = || format!("{PLAZA}, {}", DRAWN.join(", "));
        Ok(Self::Drawn(site.ok_or_else(|| {
            Usage(format!("--site {}: no such site; there are: {}", args.site, known()))
        })?))
    }

    /// The names of the kinds of event.
    fn events(&self) -> Vec<&'static str> {
        match self {
            Self::Plaza(_) => Event::ALL.iter().map(|event| event.name()).collect(),
            Self::Drawn(site) => site.events().to_vec(),
        }
    }

    /// The frames of a clip, one after another: each is put into the frame; whether it shows an event.
    fn clip<'a>(&'a self, take: &Take) -> Film<'a> {
        match self {
            Self::Plaza(scene) => {
                let event = Event::ALL.into_iter().find(|event| Some(event.name()) == take.event);
                let mut clip = scene.clip(take.index, take.frames, event);
                Box::new(move |frame| clip.film(frame))
            }
            Self::Drawn(site) => {
                let mut clip = site.clip(take.index, take.frames, take.event);
                Box::new(move |frame| clip.film(frame))
            }
        }
    }
}

/// Puts the next frame of a clip into the frame, and says whether it shows an event; `None` after the last.
type Film<'a> = Box<dyn FnMut(&mut Frame) -> Option<bool> + 'a>;

/// A clip to be filmed.
struct Take {
    folder: &'static str,
    name: String,
    index: u64,
    frames: usize,
    event: Option<&'static str>,
}

/// Runs the command.
pub fn run(args: &SceneArgs) -> Result<()> {
    let scene = Site::new(args)?;
    // Other sites take longer to draw.
    let (clips, seconds, minutes) = match scene {
        Site::Plaza(_) => (32, 45, 10),
        Site::Drawn(_) => (20, 60, 6),
    };
    let clips = args.normal_clips.unwrap_or(clips);
    let event_seconds = args.event_seconds.unwrap_or(seconds);
    let minutes = args.normal_minutes.unwrap_or(minutes);
    let rate = FRAME_RATE as usize;
    let mut takes: Vec<Take> = (0..clips)
        .map(|i| Take {
            folder: "normal",
            name: format!("normal-{:02}", i + 1),
            index: i,
            frames: 18 * rate,
            event: None,
        })
        .collect();
    takes.extend(scene.events().into_iter().zip(100..).map(|(event, index)| Take {
        folder: "test",
        name: event.to_string(),
        index,
        frames: event_seconds * rate,
        event: Some(event),
    }));
    takes.extend((0..minutes.div_ceil(5)).map(|i| Take {
        folder: "test",
        name: format!("normal-{}", i + 1),
        index: 200 + i as u64,
        frames: 60 * rate * (minutes - 5 * i).min(5),
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
fn film(scene: &Site, take: &Take, out: &Path) -> Result<Vec<(u64, u64)>> {
    let mut clip = scene.clip(take);
    let path = out.join(take.folder).join(format!("{}.mp4", take.name));
    let mut frame = Frame::default();
    let mut writer: Option<Writer> = None;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut number = 0;
    while let Some(abnormal) = clip(&mut frame) {
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
