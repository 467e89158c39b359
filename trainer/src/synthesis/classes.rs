//! The class file: what anomalies there are, and how a plan of clips is made of them.
//!
//! TOML that a person edits. Every setting is checked while it is read, so that an error names line
//! and field.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{CompositeConfig, Error, KindRates};

/// The built-in class file: UCF-Crime's thirteen classes.
pub const BUILT_IN: &str = include_str!("classes.toml");

/// A class file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ClassesError {
    /// The file; `built-in` for the built-in one.
    pub path: PathBuf,
    /// Line, field and what is wrong.
    pub problem: String,
}

/// A class file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Which frames may be chosen.
    pub pool: PoolSettings,
    /// Which of them are.
    pub selection: Selection,
    /// What is asked of the generator.
    pub prompt: PromptSettings,
    /// Sizes of diffusion's clips.
    pub diffusion: Diffusion,
    /// Sizes and kinds of composite clips.
    pub composite: CompositeSettings,
    /// The classes.
    #[serde(rename = "class", deserialize_with = "some")]
    pub classes: Vec<Class>,
}

/// How frames enter the pool.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// Seconds of video between two frames.
    #[serde(deserialize_with = "positive")]
    pub every_seconds: f64,
    /// Levels by which a part of the picture must differ from every other frame of the scene.
    #[serde(deserialize_with = "not_negative")]
    pub difference: f64,
    /// What a scene is.
    pub scenes: Scenes,
}

/// What makes videos belong to one scene, which shares the budget of clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenes {
    /// They show the same background.
    Background,
    /// Their names agree up to the first `_`, as ShanghaiTech's do.
    Name,
    /// Each is its own.
    Video,
}

/// CLIP selection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// K, clips of a class that does not say otherwise.
    #[serde(deserialize_with = "count")]
    pub per_class: usize,
    /// λ, weight of the negative texts.
    #[serde(deserialize_with = "not_negative")]
    pub lambda: f64,
    /// How the negative texts' similarities become one.
    pub aggregation: Aggregation,
    /// α of the scene balance; none: the best frames of whatever scene.
    #[serde(default, deserialize_with = "maybe_share")]
    pub alpha: Option<f64>,
    /// g_pos, phrases added to every positive text.
    pub positive: Vec<String>,
    /// g_neg, the negative texts of all classes.
    pub negative: Vec<String>,
}

/// How the negative texts' similarities become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Their mean.
    Mean,
    /// The largest.
    Max,
}

/// What is asked of the generator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSettings {
    /// Phrases appended to every prompt.
    pub templates: Vec<String>,
    /// The negative prompt.
    pub negative: String,
    /// Longest description that a language model may write, in characters.
    #[serde(deserialize_with = "count")]
    pub max_characters: usize,
    /// What the language model is told; `{class}` and `{phrase}` are filled in.
    #[serde(deserialize_with = "instruction")]
    pub instruction: String,
}

/// Sizes of diffusion's clips; their rate is the model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diffusion {
    /// Width in pixels, a multiple of 16.
    #[serde(deserialize_with = "side")]
    pub width: usize,
    /// Height in pixels, a multiple of 16.
    #[serde(deserialize_with = "side")]
    pub height: usize,
    /// Frames, 4 n + 1.
    #[serde(deserialize_with = "latent_frames")]
    pub frames: usize,
    /// Denoising steps.
    #[serde(deserialize_with = "count")]
    pub steps: usize,
    /// Classifier-free guidance, of both experts or of each.
    #[serde(deserialize_with = "guidance")]
    pub guidance: Vec<f64>,
    /// Shift of the flow's noise levels.
    #[serde(deserialize_with = "positive")]
    pub flow_shift: f64,
}

/// Sizes and kinds of composite clips.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositeSettings {
    /// Largest height in pixels.
    #[serde(deserialize_with = "count")]
    pub height: usize,
    /// Frames in a clip.
    pub frames: usize,
    /// Different kinds of events in a clip.
    pub events: usize,
    /// Shortest and longest event in frames.
    pub event_frames: [usize; 2],
    /// Least and most benign pastes.
    pub benign: [usize; 2],
    /// Kinds of a class that has none of its own; what is not named does not occur.
    #[serde(deserialize_with = "kinds")]
    pub kinds: KindRates,
}

/// A class of anomaly.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name, letters, digits, `-` and `_`.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// x_c, what one would see.
    #[serde(deserialize_with = "text")]
    pub phrase: String,
    /// K of this class.
    #[serde(default, deserialize_with = "maybe_count")]
    pub per_class: Option<usize>,
    /// Negative texts of this class, beside those of all.
    #[serde(default)]
    pub negative: Vec<String>,
    /// Kinds of the composite synthesizer and their rates.
    #[serde(default, deserialize_with = "maybe_kinds")]
    pub kinds: Option<KindRates>,
}

impl Classes {
    /// Reads a class file, or the built-in one.
    ///
    /// # Errors
    /// [`ClassesError`] with line and field.
    pub fn read(path: Option<&Path>) -> Result<Self, ClassesError> {
        let Some(path) = path else {
            return Self::parse(BUILT_IN, Path::new("built-in"));
        };
        let text = std::fs::read_to_string(path).map_err(|e| ClassesError {
            path: path.into(),
            problem: format!("{e}; check the path"),
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of the class file `path`.
    ///
    /// # Errors
    /// [`ClassesError`] with line and field.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ClassesError> {
        let fail = |problem: String| ClassesError { path: path.into(), problem };
        let classes: Self = toml::from_str(text).map_err(|e| {
            let before = e.span().map_or("", |span| &text[..span.start.min(text.len())]);
            fail(format!("line {}: {}", before.matches('\n').count() + 1, e.message()))
        })?;
        let mut names = BTreeSet::new();
        for class in &classes.classes {
            if !names.insert(&class.name) {
                return Err(fail(format!("class {:?} is there twice", class.name)));
            }
            classes
                .composite_config(class)
                .validate()
                .map_err(|e| fail(format!("[composite] for class {:?}: {e}", class.name)))?;
        }
        Ok(classes)
    }

    /// The composite settings of a class.
    pub fn composite_config(&self, class: &Class) -> CompositeConfig {
        let common = &self.composite;
        CompositeConfig {
            kinds: class.kinds.clone().unwrap_or_else(|| common.kinds.clone()),
            frames: common.frames,
            events: common.events,
            event_frames: common.event_frames,
            benign: common.benign,
        }
    }

    /// t_c, the positive text of a class.
    pub fn positive_text(&self, class: &Class) -> String {
        let phrases = std::iter::once(&class.phrase).chain(&self.selection.positive);
        phrases.map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The negative texts of a class.
    pub fn negative_texts<'c>(&'c self, class: &'c Class) -> impl Iterator<Item = &'c str> {
        self.selection.negative.iter().chain(&class.negative).map(String::as_str)
    }

    /// The prompt for a description: the templates appended.
    pub fn prompt(&self, description: &str) -> String {
        let description = description.trim().trim_end_matches(['.', ',']);
        let phrases =
            std::iter::once(description).chain(self.prompt.templates.iter().map(String::as_str));
        phrases.collect::<Vec<_>>().join(", ")
    }
}

impl KindRates {
    /// Kinds of a map from name to rate; what is not named does not occur.
    ///
    /// # Errors
    /// [`Error::Config`] naming an unknown kind or an impossible rate.
    pub fn only<'k>(rates: impl IntoIterator<Item = (&'k str, f64)>) -> Result<Self, Error> {
        let mut kinds = Self::default();
        let names = kinds.entries().map(|(name, _)| name);
        for name in names {
            if let Some(rate) = kinds.rate_mut(name) {
                *rate = 0.0;
            }
        }
        let fail = |problem| Error::Config { field: "kinds", problem };
        for (name, rate) in rates {
            let Some(slot) = kinds.rate_mut(name) else {
                return Err(fail(format!("no kind {name:?}; there are {}", names.join(", "))));
            };
            if !(rate.is_finite() && rate >= 0.0) {
                return Err(fail(format!("rate {rate} of {name} must be 0 or more")));
            }
            *slot = rate;
        }
        Ok(kinds)
    }

    /// The kinds that occur.
    pub fn occurring(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        self.entries().into_iter().filter(|(_, rate)| *rate > 0.0)
    }
}

fn check<'de, D: Deserializer<'de>, T: Deserialize<'de> + std::fmt::Debug>(
    deserializer: D,
    fits: impl Fn(&T) -> bool,
    wanted: &str,
) -> Result<T, D::Error> {
    let value = T::deserialize(deserializer)?;
    if fits(&value) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!("{value:?} must be {wanted}")))
    }
}

fn positive<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    check(d, |v: &f64| v.is_finite() && *v > 0.0, "greater than 0")
}

fn not_negative<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    check(d, |v: &f64| v.is_finite() && *v >= 0.0, "0 or more")
}

fn maybe_share<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    check(d, |v: &f64| (0.0..=1.0).contains(v), "0 to 1").map(Some)
}

fn count<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    check(d, |v: &usize| (1..=100_000).contains(v), "1 to 100000")
}

fn maybe_count<'de, D: Deserializer<'de>>(d: D) -> Result<Option<usize>, D::Error> {
    check(d, |v: &usize| *v <= 100_000, "0 to 100000").map(Some)
}

fn side<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    check(
        d,
        |v: &usize| (16..=8192).contains(v) && v.is_multiple_of(16),
        "a multiple of 16 up to 8192",
    )
}

fn latent_frames<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    check(d, |v: &usize| (1..=4097).contains(v) && v % 4 == 1, "4 n + 1, such as 81")
}

fn guidance<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
    let fits = |v: &Vec<f64>| (1..=2).contains(&v.len()) && v.iter().all(|g| *g >= 1.0);
    check(d, fits, "one or two values of at least 1")
}

fn text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    check(d, |v: &String| !v.trim().is_empty(), "a text")
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let fits = |v: &String| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=64).contains(&v.len()) && v.chars().all(letter)
    };
    check(d, fits, "1 to 64 letters, digits, - and _")
}

fn instruction<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    check(
        d,
        |v: &String| v.contains("{class}") || v.contains("{phrase}"),
        "a text with {class} or {phrase}",
    )
}

fn some<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Class>, D::Error> {
    let classes = Vec::<Class>::deserialize(d)?;
    if classes.is_empty() {
        Err(D::Error::custom("at least one class is needed"))
    } else {
        Ok(classes)
    }
}

fn kinds<'de, D: Deserializer<'de>>(d: D) -> Result<KindRates, D::Error> {
    let rates = std::collections::BTreeMap::<String, f64>::deserialize(d)?;
    let rates = KindRates::only(rates.iter().map(|(name, rate)| (name.as_str(), *rate)))
        .map_err(D::Error::custom)?;
    if rates.occurring().next().is_none() {
        return Err(D::Error::custom("every rate is 0; give at least one kind a rate"));
    }
    Ok(rates)
}

fn maybe_kinds<'de, D: Deserializer<'de>>(d: D) -> Result<Option<KindRates>, D::Error> {
    kinds(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_has_the_thirteen_classes() {
        let classes = Classes::read(None).unwrap();
        let names: Vec<&str> = classes.classes.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "Abuse",
                "Arrest",
                "Arson",
                "Assault",
                "Burglary",
                "Explosion",
                "Fighting",
                "RoadAccidents",
                "Robbery",
                "Shooting",
                "Shoplifting",
                "Stealing",
                "Vandalism"
            ]
        );
        let fighting = &classes.classes[6];
        assert_eq!(
            classes.positive_text(fighting),
            "several people fighting, punching and kicking each other, CCTV footage, surveillance \
             camera view"
        );
        assert_eq!(classes.negative_texts(fighting).next(), Some("black screen"));
        assert!(
            classes.prompt(" Two men fight. ").starts_with("Two men fight, fixed surveillance")
        );
        // The kinds of the built-in default are those that training uses.
        assert_eq!(classes.composite.kinds, KindRates::default());
        assert_eq!(classes.composite_config(fighting).kinds.crowd_rush, 1.0);
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_field() {
        let broken = |from: &str, to: &str| {
            assert!(BUILT_IN.contains(from), "{from}");
            let text = BUILT_IN.replacen(from, to, 1);
            let line = BUILT_IN[..BUILT_IN.find(from).unwrap()].matches('\n').count() + 1;
            let error = Classes::parse(&text, Path::new("c.toml")).unwrap_err().to_string();
            (line, error)
        };
        for (from, to, field) in [
            ("lambda = 0.5", "lamda = 0.5", "`lamda`"),
            ("lambda = 0.5", "lambda = -1.0", "-1.0 must be 0 or more"),
            ("aggregation = \"mean\"", "aggregation = \"median\"", "`median`"),
            ("alpha = 0.5", "alpha = 1.5", "1.5 must be 0 to 1"),
            ("frames = 81", "frames = 80", "80 must be 4 n + 1"),
            ("name = \"Abuse\"", "name = \"Ab use\"", "letters, digits"),
            ("phrase = \"police", "prase = \"police", "`prase`"),
            ("kinds = { fall = 2.0,", "kinds = { fal = 2.0,", "no kind \"fal\""),
            ("width = 832", "width = \"832\"", "expected usize"),
        ] {
            let (line, error) = broken(from, to);
            assert!(error.starts_with(&format!("c.toml: line {line}: ")), "{to}: {error}");
            assert!(error.contains(field), "{to}: {error}");
        }
        let (_, error) = broken("name = \"Arrest\"", "name = \"Abuse\"");
        assert!(error.contains("\"Abuse\" is there twice"), "{error}");
        let (_, error) = broken("events = 2 ", "events = 0 ");
        assert!(error.contains("events: 0 must be 1 to 16"), "{error}");
        let (_, error) = broken("[pool]", "[pol]");
        assert!(error.contains("pol"), "{error}");
    }
}
