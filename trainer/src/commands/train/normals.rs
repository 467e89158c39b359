//! The site's normal footage, and its split: most for training, some for calibration.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use inference::sampled_rate;
use model_bundle::manifest::InputSpec;
use sha2::{Digest, Sha256};
use trainer::footage;
use trainer::hash::hex;
use trainer::synthesis::NormalClip;
use trainer::synthesis::composite::MIN_CLIP_FRAMES;
use video::{Clip, Frame, Reader, VideoInfo, list_clips};

use super::config::TrainConfig;
use super::stretches::spread;
use crate::commands::Usage;

/// Shortest run of frames that is of use, in model frames: a snippet.
const SHORTEST: usize = MIN_CLIP_FRAMES;

/// Normal footage at the model's rate, and at its size or, where that is made smaller, as large as it could be.
pub struct Normals {
    /// Size of the frames, and rate.
    pub input: InputSpec,
    pub training: Vec<NormalClip>,
    pub held_out: Vec<NormalClip>,
    /// SHA-256 over all frames read, for the record.
    pub hash: String,
}

/// Shorter clips show nobody's whole way through a picture, in seconds.
const SHORT_CLIP: f64 = 5.0;
/// So many clips are of many kinds, and so are those that are held out of them.
const MANY: usize = 20;
/// The end of a clip that is worth holding out, in seconds: a score smooths over three.
const END: f64 = 5.0;
/// Sides whose ratios differ by less are of one camera in two sizes.
const ASPECT_TOLERANCE: f64 = 0.02;

/// Reads the footage of a folder and splits it. Of more than `max_normal_frames` stretches are used
/// that lie evenly over all of it.
pub fn read(folder: &Path, config: &TrainConfig) -> Result<Normals> {
    let found = list_clips(folder)?;
    let Some(first) = found.first() else {
        bail!(Usage(format!("{}: no clips", folder.display())));
    };
    let infos: Vec<VideoInfo> =
        found.iter().map(|clip| Ok(*Reader::open(&clip.path)?.info())).collect::<Result<_>>()?;
    let info = infos[0];
    one_shape(folder, &found, &infos, config.several_sites)?;
    let input = footage::input_spec(info.width, info.height, config.input_height);
    let lengths: Vec<usize> = found
        .iter()
        .zip(&infos)
        .map(|(clip, info)| model_frames(clip, info, &input))
        .collect::<Result<_>>()?;
    let plan = spread(&lengths, config.max_normal_frames, SHORTEST);
    let mut clips = Vec::new();
    let mut room = config.max_normal_frames;
    let mut hash = Sha256::new();
    let mut short = Vec::new();
    for ((clip, ranges), length) in found.iter().zip(&plan).zip(&lengths) {
        let whole = ranges.len() == 1 && ranges[0] == (0..*length);
        // What a file declares of its length is not always so: a whole clip is read to its end.
        let found = if whole {
            vec![footage::read(clip, &input, room)?]
        } else {
            pieces(clip, ranges, &input)?
        };
        for piece in found {
            room = room.saturating_sub(piece.frames.len());
            if piece.frames.len() < SHORTEST {
                short.push(format!("{} ({} frames)", piece.name, piece.frames.len()));
                continue;
            }
            piece.frames.iter().for_each(|frame| hash.update(frame.rgb()));
            clips.push(piece);
        }
    }
    if !short.is_empty() {
        log::warn!(
            "{} left out, shorter than the {SHORTEST} frames at {} a second that are of use: {}",
            short.len(),
            footage::MODEL_RATE,
            short.join(", ")
        );
    }
    if clips.is_empty() {
        bail!(Usage(format!(
            "{}: no clip has {SHORTEST} frames at {} frames a second; record more normal footage",
            folder.display(),
            footage::MODEL_RATE
        )));
    }
    say_what_is_used(&clips, &lengths, first, config.max_normal_frames);
    let (training, held_out) = split(clips, config.held_out);
    let frames = |clips: &[NormalClip]| clips.iter().map(|c| c.frames.len()).sum::<usize>();
    log::info!(
        "normal footage: {} frames for training, {} for calibration, {}x{}",
        frames(&training),
        frames(&held_out),
        input.width,
        input.height
    );
    let hash = hex(&hash.finalize());
    Ok(Normals { input, training, held_out, hash })
}

/// That all clips have pictures of one shape, or, if `several_sites` are wanted, what becomes of them.
fn one_shape(
    folder: &Path,
    clips: &[Clip],
    infos: &[VideoInfo],
    several_sites: bool,
) -> Result<()> {
    let shape = |info: &VideoInfo| info.width as f64 / info.height.max(1) as f64;
    let first = shape(&infos[0]);
    let differs = |info: &VideoInfo| (shape(info) / first - 1.0).abs() > ASPECT_TOLERANCE;
    let Some(other) = infos.iter().position(differs) else { return Ok(()) };
    let size = |at: usize| format!("{}x{}", infos[at].width, infos[at].height);
    if !several_sites {
        bail!(Usage(format!(
            "{}: pictures of different shapes: {} is {}, {} is {}; they are of several cameras. Train \
             each camera's clips on their own, or give --several-sites if one model for all is wanted",
            folder.display(),
            clips[0].name,
            size(0),
            clips[other].name,
            size(other)
        )));
    }
    let mut sizes = BTreeMap::new();
    for at in 0..infos.len() {
        *sizes.entry(size(at)).or_insert(0_usize) += 1;
    }
    let list: Vec<String> = sizes.iter().map(|(size, count)| format!("{size} ({count})")).collect();
    log::warn!(
        "several sites: pictures of {} sizes, number of clips: {}; all are brought to the shape of {}, \
         {}, people in the others get wider or narrower by up to {:.0} %",
        list.len(),
        list.join(", "),
        clips[0].name,
        size(0),
        100.0
            * infos
                .iter()
                .map(|i| (shape(i) / first).max(first / shape(i)) - 1.0)
                .fold(0.0, f64::max)
    );
    Ok(())
}

/// How many model frames a clip has, as its file declares; counted if it does not.
fn model_frames(clip: &Clip, info: &VideoInfo, input: &InputSpec) -> Result<usize> {
    let share = sampled_rate(input.frame_rate, info.frame_rate) / info.frame_rate;
    if let Some(frames) = info.frames
        && share.is_finite()
    {
        return Ok((frames as f64 * share).ceil() as usize);
    }
    let mut count = 0;
    footage::each(&clip.path, input, |_| {
        count += 1;
        true
    })?;
    Ok(count)
}

/// Some ranges of a clip's model frames, in order, each a clip of its own that is named after when it
/// begins.
fn pieces(clip: &Clip, ranges: &[Range<usize>], input: &InputSpec) -> Result<Vec<NormalClip>> {
    let Some(end) = ranges.last().map(|range| range.end) else { return Ok(Vec::new()) };
    let mut pieces: Vec<Vec<Frame>> = vec![Vec::new(); ranges.len()];
    let (mut at, mut piece) = (0, 0);
    let rate = footage::each(&clip.path, input, |frame| {
        while piece < ranges.len() && ranges[piece].end <= at {
            piece += 1;
        }
        if ranges.get(piece).is_some_and(|range| range.contains(&at)) {
            pieces[piece].push(frame.clone());
        }
        at += 1;
        at < end
    })?;
    let named = |(frames, range): (Vec<Frame>, &Range<usize>)| {
        let second = (range.start as f64 / rate) as u64;
        let (hours, minutes) = (second / 3600, second / 60 % 60);
        let name = format!("{}@{hours}:{minutes:02}:{:02}", clip.name, second % 60);
        NormalClip { name, frame_rate: rate, frames }
    };
    Ok(pieces.into_iter().zip(ranges).map(named).collect())
}

/// Says how much of the footage is used, and what its clips are too short for.
fn say_what_is_used(clips: &[NormalClip], lengths: &[usize], first: &Clip, limit: usize) {
    let minutes = |frames: usize| frames as f64 / footage::MODEL_RATE / 60.0;
    let (total, used) =
        (lengths.iter().sum::<usize>(), clips.iter().map(|clip| clip.frames.len()).sum::<usize>());
    if total > limit {
        let names: Vec<&str> = clips.iter().map(|clip| clip.name.as_str()).collect();
        log::warn!(
            "{:.1} of {:.1} minutes of normal footage are used (max_normal_frames = {limit}), {} stretches \
             spread over all of it from {} on: {}",
            minutes(used),
            minutes(total),
            clips.len(),
            first.name,
            names.join(", ")
        );
    }
    let mut seconds: Vec<f64> =
        clips.iter().map(|clip| clip.frames.len() as f64 / clip.frame_rate).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    let usual = seconds[seconds.len() / 2];
    if usual < SHORT_CLIP {
        log::warn!(
            "short clips: the usual one has {usual:.1} s, in which nobody is seen walking through; what \
             takes longer, how fast people are and how often alarms come cannot be learned from them"
        );
    }
}

/// Keeps footage out for calibration. Of many clips whole ones, evenly spread; of few, the end of each that is
/// long enough: two of eight clips may both show people who stand about, and then walking is an alarm.
fn split(clips: Vec<NormalClip>, share: f64) -> (Vec<NormalClip>, Vec<NormalClip>) {
    let end = |clip: &NormalClip| (clip.frames.len() as f64 * share) as usize;
    let long = |clip: &NormalClip| end(clip) as f64 >= END * clip.frame_rate;
    let all: usize = clips.iter().map(|clip| clip.frames.len()).sum();
    let in_long: usize = clips.iter().filter(|c| long(c)).map(|clip| clip.frames.len()).sum();
    if clips.len() == 1 || (clips.len() < MANY && 2 * in_long > all) {
        return split_ends(clips, share, long);
    }
    let count = ((clips.len() as f64 * share).round() as usize).clamp(1, clips.len() - 1);
    let total = clips.len();
    let chosen: Vec<usize> = (0..count).map(|i| (2 * i + 1) * total / (2 * count)).collect();
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for (i, clip) in clips.into_iter().enumerate() {
        if chosen.contains(&i) { held_out.push(clip) } else { training.push(clip) }
    }
    (training, held_out)
}

/// Cuts off the ends of `long` clips, or of the only one.
fn split_ends(
    clips: Vec<NormalClip>,
    share: f64,
    long: impl Fn(&NormalClip) -> bool,
) -> (Vec<NormalClip>, Vec<NormalClip>) {
    let only = clips.len() == 1;
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for mut clip in clips {
        if only || long(&clip) {
            let total = clip.frames.len();
            let kept = ((total as f64 * (1.0 - share)) as usize).min(total - SHORTEST / 2);
            let frames = clip.frames.split_off(kept);
            let name = format!("{}-end", clip.name);
            held_out.push(NormalClip { name, frame_rate: clip.frame_rate, frames });
        }
        training.push(clip);
    }
    (training, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(name: &str, frames: usize) -> NormalClip {
        let frames = vec![Frame::new(8, 8); frames];
        NormalClip { name: name.into(), frame_rate: 10.0, frames }
    }

    #[test]
    fn whole_clips_are_held_out() {
        let clips = (0..16).map(|i| clip(&i.to_string(), 40)).collect();
        let (training, held_out) = split(clips, 0.15);
        assert_eq!((training.len(), held_out.len()), (14, 2));
        let names: Vec<_> = held_out.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["4", "12"]);
    }

    #[test]
    fn a_single_clip_loses_its_end() {
        let (training, held_out) = split(vec![clip("only", 100)], 0.2);
        assert_eq!((training[0].frames.len(), held_out[0].frames.len()), (80, 20));
    }

    #[test]
    fn few_long_clips_each_lose_their_end() {
        // Walking, standing, sitting, picking up: each is calibrated with, but the last, which is short.
        let clips = [450, 440, 450, 70].map(|n| clip(&n.to_string(), n));
        let (training, held_out) = split(clips.into(), 0.2);
        let lengths =
            |clips: &[NormalClip]| clips.iter().map(|c| c.frames.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&training), [360, 352, 360, 70]);
        assert_eq!(lengths(&held_out), [90, 88, 90]);
        assert!(held_out.iter().all(|clip| clip.name.ends_with("-end")));
    }

    #[test]
    fn two_clips_leave_one_for_each() {
        let (training, held_out) = split(vec![clip("a", 40), clip("b", 40)], 0.5);
        assert_eq!((training.len(), held_out.len()), (1, 1));
    }

    /// A folder of clips, each a folder of `frames` grey pictures.
    fn films(clips: &[(&str, usize, (u32, u32))]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, frames, (width, height)) in clips {
            let clip = folder.path().join(name);
            std::fs::create_dir(&clip).unwrap();
            for t in 0..*frames {
                let level = image::Luma([(255 * t / frames) as u8]);
                let picture = image::GrayImage::from_pixel(*width, *height, level);
                picture.save(clip.join(format!("{t:04}.png"))).unwrap();
            }
        }
        folder
    }

    #[test]
    fn a_long_video_is_sampled_over_its_whole_length() {
        let folder = films(&[("day", 600, (16, 16))]);
        let config = TrainConfig { max_normal_frames: 200, ..TrainConfig::default() };
        let Normals { training, held_out, .. } = read(folder.path(), &config).unwrap();
        let all: Vec<&NormalClip> = training.iter().chain(&held_out).collect();
        let frames: usize = all.iter().map(|clip| clip.frames.len()).sum();
        assert!((100..=200).contains(&frames), "{frames}");
        // The grey level says where in the film a frame is.
        let levels: Vec<u8> =
            all.iter().flat_map(|clip| &clip.frames).map(|frame| frame.rgb()[0]).collect();
        let (darkest, brightest) = (levels.iter().min().unwrap(), levels.iter().max().unwrap());
        assert!(*darkest < 90 && *brightest > 165, "{darkest} to {brightest}");
        assert!(all.iter().all(|clip| clip.name.starts_with("day@0:00:")), "{}", all[0].name);
    }

    #[test]
    fn a_folder_of_mixed_sizes_is_an_error_unless_several_sites_are_wanted() {
        let folder = films(&[("gate", 40, (64, 48)), ("yard", 40, (64, 36))]);
        let error = read(folder.path(), &TrainConfig::default()).err().unwrap();
        let message = error.to_string();
        assert!(error.is::<Usage>(), "{message}");
        for what in ["gate is 64x48", "yard is 64x36", "--several-sites"] {
            assert!(message.contains(what), "{message}");
        }
        let config = TrainConfig { several_sites: true, ..TrainConfig::default() };
        let both = read(folder.path(), &config).unwrap();
        assert_eq!((both.training.len(), both.held_out.len()), (1, 1));
        // Two sizes of one shape are one camera.
        let folder = films(&[("day", 40, (64, 48)), ("night", 40, (32, 24))]);
        read(folder.path(), &TrainConfig::default()).unwrap();
    }
}
