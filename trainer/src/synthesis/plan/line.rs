//! The plan's lines and their ids.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use crate::hash::hex;
use crate::synthesis::classes::Diffusion;
use crate::synthesis::{CompositeConfig, KindRates};

/// Longest line that is read, in bytes.
const LONGEST: usize = 1 << 20;
/// Hex digits of an id: 80 bits, so that millions of clips do not collide.
const ID: usize = 20;

/// One clip to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanLine {
    /// Hash of what makes the clip; computed if it is left out.
    #[serde(default)]
    pub id: String,
    /// The class of anomaly.
    pub class: String,
    /// The normal video, relative to the footage's folder.
    pub video: String,
    /// The scene it belongs to, a name of `scenes.json`.
    pub scene: String,
    /// The initial frame's number in the video, from 0.
    pub frame: u64,
    /// The initial frame as a PNG, relative to the plan's folder.
    pub image: String,
    /// SHA-256 of that file, in hex.
    pub image_sha256: String,
    /// What the generator is asked for.
    pub prompt: String,
    /// What it is asked to avoid.
    pub negative_prompt: String,
    /// Where the prompt is from.
    pub prompt_from: PromptFrom,
    /// Why the prompt is a fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// Why the frame was chosen; none if it was drawn without CLIP.
    #[serde(default)]
    pub scores: Option<Scores>,
    /// How diffusion makes the clip.
    pub diffusion: DiffusionJob,
    /// How the composite synthesizer makes it.
    pub composite: CompositeJob,
}

/// Where a prompt is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptFrom {
    /// The class phrase, as was asked for.
    Phrase,
    /// A language model that saw the frame.
    Refined,
    /// The class phrase, because the language model gave nothing usable.
    Fallback,
}

/// CLIP's scores of a frame for a class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// s(I, c).
    pub score: f64,
    /// Similarity to the positive text.
    pub positive: f64,
    /// Aggregated similarity to the negative texts.
    pub negative: f64,
    /// Place among the class's chosen frames, from 1.
    pub rank: usize,
}

/// How diffusion makes a clip.
pub type DiffusionJob = Diffusion;

/// How the composite synthesizer makes a clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositeJob {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second, about: the video is thinned to it.
    pub frame_rate: f64,
    /// Frames; a shorter video is used whole.
    pub frames: usize,
    /// Different kinds of events.
    pub events: usize,
    /// Shortest and longest event in frames.
    pub event_frames: [usize; 2],
    /// Least and most benign pastes.
    pub benign: [usize; 2],
    /// Kinds and their rates.
    pub kinds: BTreeMap<String, f64>,
}

impl CompositeJob {
    /// The synthesizer's settings.
    ///
    /// # Errors
    /// [`crate::synthesis::Error::Config`] naming a setting that is out of range.
    pub fn config(&self) -> Result<CompositeConfig, crate::synthesis::Error> {
        let config = CompositeConfig {
            kinds: KindRates::only(self.kinds.iter().map(|(name, rate)| (name.as_str(), *rate)))?,
            frames: self.frames,
            events: self.events,
            event_frames: self.event_frames,
            benign: self.benign,
        };
        config.validate()?;
        Ok(config)
    }
}

/// Videos that show one scene; `scenes.json` maps names to these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// SHA-256, in hex, of each video, by its path relative to the footage's folder.
    pub videos: BTreeMap<String, String>,
}

/// A plan: its lines, in order, and the scenes they name.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The lines.
    pub lines: Vec<PlanLine>,
    /// The scenes by name.
    pub scenes: BTreeMap<String, Scene>,
}

impl PlanLine {
    /// The id that belongs to the line's content: whatever the clip depends on, and nothing else.
    pub fn content_id(&self) -> String {
        // Arrays, not maps: the bytes hashed must not depend on anybody's order of keys.
        let content = serde_json::json!([
            "pavad-plan-1",
            self.class,
            self.video,
            self.scene,
            self.frame,
            self.image_sha256,
            self.prompt,
            self.negative_prompt,
            self.seed,
            [
                serde_json::json!(self.diffusion.width),
                serde_json::json!(self.diffusion.height),
                serde_json::json!(self.diffusion.frames),
                serde_json::json!(self.diffusion.steps),
                serde_json::json!(self.diffusion.guidance),
                serde_json::json!(self.diffusion.flow_shift),
            ],
            [
                serde_json::json!(self.composite.width),
                serde_json::json!(self.composite.height),
                serde_json::json!(self.composite.frame_rate),
                serde_json::json!(self.composite.frames),
                serde_json::json!(self.composite.events),
                serde_json::json!(self.composite.event_frames),
                serde_json::json!(self.composite.benign),
                serde_json::json!(self.composite.kinds.iter().collect::<Vec<_>>()),
            ],
        ]);
        hex(&Sha256::digest(content.to_string()))[..ID].to_owned()
    }
}

impl Plan {
    /// Reads a plan: `lines` is the text of `plan.jsonl`, `scenes` that of `scenes.json`. Empty lines
    /// are skipped, so that lines can be struck in any editor.
    ///
    /// # Errors
    /// [`Error::Damaged`] with file and line.
    pub fn parse(file: &str, lines: &str, scenes: &str) -> Result<Self, Error> {
        let scenes: BTreeMap<String, Scene> =
            serde_json::from_str(scenes).map_err(|e| Error::Damaged {
                file: "scenes.json".into(),
                line: Some(e.line()),
                problem: e.to_string(),
            })?;
        let mut ids = BTreeSet::new();
        let mut plan = Self { lines: Vec::new(), scenes };
        for (number, text) in (1..).zip(lines.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            let damaged =
                |problem: String| Error::Damaged { file: file.into(), line: Some(number), problem };
            if text.len() > LONGEST {
                return Err(damaged(format!("longer than {LONGEST} bytes")));
            }
            let line: PlanLine = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
            let line = plan.check(line).map_err(damaged)?;
            if !ids.insert(line.id.clone()) {
                return Err(damaged(format!("id {} is there twice; strike one line", line.id)));
            }
            plan.lines.push(line);
        }
        if plan.lines.is_empty() {
            let problem = "has no line: nothing is planned".into();
            return Err(Error::Damaged { file: file.into(), line: None, problem });
        }
        Ok(plan)
    }

    /// A line that can be carried out, with its id.
    fn check(&self, mut line: PlanLine) -> Result<PlanLine, String> {
        let id = line.content_id();
        if line.id.is_empty() {
            line.id = id;
        } else if line.id != id {
            return Err(format!(
                "id {} is not that of the line's content, {id}; who changes a line leaves its id out",
                line.id
            ));
        }
        for (field, path) in [("image", &line.image), ("video", &line.video)] {
            let plain = std::path::Path::new(path)
                .components()
                .all(|c| matches!(c, std::path::Component::Normal(_)));
            if !plain || path.is_empty() {
                return Err(format!("{field}: {path:?} is not a path below the folder"));
            }
        }
        let scene = self.scenes.get(&line.scene);
        if !scene.is_some_and(|scene| scene.videos.contains_key(&line.video)) {
            let (scene, video) = (&line.scene, &line.video);
            return Err(format!("scenes.json has no scene {scene:?} with video {video:?}"));
        }
        let job = &line.composite;
        let sizes = [job.width as usize, job.height as usize];
        if sizes.iter().any(|n| !(16..=8192).contains(n) || n % 2 != 0) {
            return Err(format!("composite: {sizes:?} must be even, 16 to 8192"));
        }
        if !(0.1..=1000.0).contains(&job.frame_rate) {
            return Err(format!("composite: frame_rate {} must be 0.1 to 1000", job.frame_rate));
        }
        job.config().map_err(|e| format!("composite: {e}"))?;
        Ok(line)
    }

    /// The text of `plan.jsonl`.
    pub fn to_jsonl(&self) -> String {
        let line = |line| serde_json::to_string(line).expect("strings, numbers and lists") + "\n";
        self.lines.iter().map(line).collect()
    }

    /// The text of `scenes.json`.
    pub fn scenes_json(&self) -> String {
        serde_json::to_string_pretty(&self.scenes).expect("strings and maps") + "\n"
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::synthesis::classes::Classes;

    /// A plan of `count` lines for video `a.mp4`.
    pub(crate) fn plan(count: u64) -> Plan {
        let classes = Classes::read(None).unwrap();
        let videos = BTreeMap::from([("a.mp4".to_owned(), "00".to_owned())]);
        let scenes = BTreeMap::from([("a-1".to_owned(), Scene { videos })]);
        let lines = (0..count).map(|seed| {
            let mut line = PlanLine {
                id: String::new(),
                class: "Fighting".into(),
                video: "a.mp4".into(),
                scene: "a-1".into(),
                frame: 7,
                image: "frames/x.png".into(),
                image_sha256: "ab".into(),
                prompt: "two people fight".into(),
                negative_prompt: "blur".into(),
                prompt_from: PromptFrom::Phrase,
                fallback: None,
                seed,
                scores: None,
                diffusion: classes.diffusion.clone(),
                composite: CompositeJob {
                    width: 64,
                    height: 48,
                    frame_rate: 10.0,
                    frames: 16,
                    events: 1,
                    event_frames: [8, 16],
                    benign: [0, 0],
                    kinds: BTreeMap::from([("flash".to_owned(), 1.0)]),
                },
            };
            line.id = line.content_id();
            line
        });
        Plan { lines: lines.collect(), scenes }
    }

    #[test]
    fn a_plan_survives_writing_and_reading() {
        let plan = plan(3);
        let text = plan.to_jsonl();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(Plan::parse("plan.jsonl", &text, &plan.scenes_json()).unwrap(), plan);
        // A struck line is gone, the others keep their ids.
        let struck: String = text
            .lines()
            .enumerate()
            .map(|(i, l)| if i == 1 { "\n" } else { l }.to_owned() + "\n")
            .collect();
        let left = Plan::parse("plan.jsonl", &struck, &plan.scenes_json()).unwrap();
        assert_eq!(left.lines, [plan.lines[0].clone(), plan.lines[2].clone()]);
    }

    #[test]
    fn the_id_follows_what_the_clip_depends_on() {
        let line = plan(1).lines.remove(0);
        let changed = |change: fn(&mut PlanLine)| {
            let mut other = line.clone();
            change(&mut other);
            other.content_id() != line.id
        };
        assert!(changed(|l| l.seed += 1));
        assert!(changed(|l| l.prompt.push('!')));
        assert!(changed(|l| l.diffusion.steps += 1));
        assert!(changed(|l| *l.composite.kinds.get_mut("flash").unwrap() = 2.0));
        assert!(!changed(|l| l.image = "elsewhere.png".into()));
        assert!(!changed(|l| l.prompt_from = PromptFrom::Refined));
    }

    #[test]
    fn damaged_plans_are_named_with_their_line() {
        let plan = plan(2);
        let (text, scenes) = (plan.to_jsonl(), plan.scenes_json());
        for (from, to, expected) in [
            ("\"seed\":1", "\"seed\":5", "line 2: id "),
            ("\"seed\":1", "\"sed\":1", "line 2: unknown field `sed`"),
            ("two people", "two \u{1}people", "line 1: control character"),
            ("frames/x.png", "../x.png", "line 1: image: \"../x.png\" is not a path below"),
            ("\"frames\":16", "\"frames\":3", "line 1: id"),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text, "{from}");
            let error = Plan::parse("plan.jsonl", &broken, &scenes).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        let first = text.lines().next().unwrap();
        let twice = format!("{first}\n{first}\n");
        let error = Plan::parse("p", &twice, &scenes).unwrap_err().to_string();
        assert!(error.starts_with("p, line 2: id") && error.contains("twice"), "{error}");
        assert!(Plan::parse("p", "\n", &scenes).is_err());
        assert!(Plan::parse("p", &text, "{}").unwrap_err().to_string().contains("no scene"));
        // Without its id a changed line is another clip.
        let mut line = plan.lines[0].clone();
        line.id.clear();
        line.prompt = "three people fight".into();
        let text = serde_json::to_string(&line).unwrap();
        let read = Plan::parse("p", &text, &scenes).unwrap();
        assert_eq!(read.lines[0].id, line.content_id());
    }
}
