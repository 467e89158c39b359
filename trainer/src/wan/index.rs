//! `model_index.json`: of what parts a pipeline consists.

use std::path::Path;

use super::error::Result;
use super::fields::Fields;

/// What the pipeline's own file says.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelIndex {
    /// Share of the training's time steps from which on the transformer of high noise works; below
    /// it, the second one does. None if there is one transformer.
    pub boundary_ratio: Option<f64>,
    /// TI2V-5B: the first latent frame is the picture, and its tokens have time step 0.
    pub expand_timesteps: bool,
    /// Whether there is the transformer of high noise, or the only one.
    pub transformer: bool,
    /// Whether there is the transformer of low noise.
    pub transformer_2: bool,
}

impl ModelIndex {
    /// Reads `model_index.json`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_fields(&Fields::read(path)?)
    }

    /// Parses what was read from `path`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::from_fields(&Fields::parse(path, bytes)?)
    }

    fn from_fields(fields: &Fields) -> Result<Self> {
        // TI2V-5B is published under the name of the text-to-video pipeline.
        let class = fields.text("_class_name", "")?;
        if !["WanImageToVideoPipeline", "WanPipeline"].contains(&class.as_str()) {
            let problem = format!("`{class}` is not supported, WanImageToVideoPipeline is");
            return Err(fields.problem("_class_name", problem));
        }
        require(fields, "scheduler", &["UniPCMultistepScheduler"])?;
        require(fields, "text_encoder", &["UMT5EncoderModel"])?;
        require(fields, "vae", &["AutoencoderKLWan"])?;
        let transformer = part(fields, "transformer", &["WanTransformer3DModel"])?;
        let transformer_2 = part(fields, "transformer_2", &["WanTransformer3DModel"])?;
        // Any class: the folder says what the tokenizer is. The image encoder is Wan 2.1's, and not
        // used unless the transformer's configuration asks for it, which is refused there.
        fields.ignore(&["tokenizer", "image_encoder", "image_processor"]);
        let index = Self {
            boundary_ratio: fields.optional_number("boundary_ratio")?,
            expand_timesteps: fields.flag("expand_timesteps", false)?,
            transformer,
            transformer_2,
        };
        if index.boundary_ratio.is_some_and(|b| !(0.0..=1.0).contains(&b)) {
            return Err(fields.problem("boundary_ratio", "a number from 0 to 1 is expected"));
        }
        if !transformer && (index.boundary_ratio.is_none() || !transformer_2) {
            return Err(fields.problem("transformer", "there is none"));
        }
        fields.finish()?;
        Ok(index)
    }
}

/// Whether the pipeline has a part; its class must be one of `classes`.
fn part(fields: &Fields, name: &str, classes: &[&str]) -> Result<bool> {
    let Some(value) = fields.value(name).filter(|v| !v.is_null()) else { return Ok(false) };
    match value.get(1) {
        Some(class) if class.is_null() => Ok(false),
        Some(class) if class.as_str().is_some_and(|c| classes.contains(&c)) => Ok(true),
        _ => {
            let problem = format!("{value} is not supported, {} is", classes.join(" or "));
            Err(fields.problem(name, problem))
        }
    }
}

fn require(fields: &Fields, name: &str, classes: &[&str]) -> Result<()> {
    if part(fields, name, classes)? { Ok(()) } else { Err(fields.problem(name, "there is none")) }
}
