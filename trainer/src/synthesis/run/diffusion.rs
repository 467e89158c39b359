//! Image-to-video diffusion as a renderer: one pipeline on one device.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use video::Frame;

use super::{RenderError, Rendered, Renderer, RunError, Step};
use crate::device::peak_memory;
use crate::hash::hex;
use crate::synthesis::plan::{DiffusionJob, PlanLine, content_hash};
use crate::wan::transformer::TransformerConfig;
use crate::wan::vae::VaeConfig;
use crate::wan::{Error, Options, Pipeline, Progress, Prompt, Request};

/// Makes clips with Wan 2.2.
pub struct DiffusionRenderer {
    name: String,
    pipeline: Pipeline,
    device: Device,
}

impl DiffusionRenderer {
    /// A renderer on a device called `name`, in bfloat16 on a GPU and in float32 on the CPU; reads the
    /// model's configurations, and its weights with the first clip.
    ///
    /// # Errors
    /// [`crate::wan::Error`] naming file and field.
    pub fn new(
        folder: &Path,
        name: String,
        device: &Device,
        options: Options,
    ) -> Result<Self, Error> {
        let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
        Ok(Self {
            name,
            pipeline: Pipeline::load(folder, device, dtype, options)?,
            device: device.clone(),
        })
    }
}

impl Renderer for DiffusionRenderer {
    fn device(&self) -> &str {
        &self.name
    }

    fn render(
        &mut self,
        line: &PlanLine,
        initial: &Frame,
        progress: &mut dyn FnMut(Step),
        stop: &AtomicBool,
    ) -> Result<Rendered, RenderError> {
        let job = &line.diffusion;
        let experts = self.pipeline.index().boundary_ratio.is_some();
        let request = Request {
            width: job.width,
            height: job.height,
            frames: job.frames,
            steps: job.steps,
            guidance: job.guidance[0],
            // One value stands for both experts.
            guidance_2: job.guidance.get(1).copied().filter(|_| experts),
            flow_shift: Some(job.flow_shift),
            seed: line.seed,
            ..Request::new(initial.clone(), "")
        };
        let (prompt, negative) = (line.prompt.clone(), line.negative_prompt.clone());
        let request = Request { prompt: Prompt::Text { prompt, negative }, ..request };
        let mut tell = |step: Progress| {
            if let Progress::Denoising { done, total } = step {
                progress(Step { done, of: total, memory: peak_memory(&self.device) });
            }
        };
        let clip = self.pipeline.generate(&request, stop, &mut tell).and_then(|clip| {
            let frames = clip.pictures()?;
            Ok((frames, clip.frame_rate))
        });
        let (frames, frame_rate) = clip.map_err(|error| match error {
            Error::Interrupted => RenderError::Interrupted,
            // A GPU's errors outlast the call that meets them; the processor's are the program's own.
            Error::Compute(_) if !self.device.is_cpu() => RenderError::Device {
                device: self.name.clone(),
                problem: error.to_string().replace('\n', " "),
            },
            error => RenderError::Failed(error.to_string()),
        })?;
        Ok(Rendered {
            frames,
            frame_rate,
            labels: None,
            kinds: Vec::new(),
            events: Vec::new(),
            start: line.frame,
        })
    }
}

/// SHA-256, in hex, over names and content of all files of a model's folder.
///
/// # Errors
/// [`RunError::Input`] if a file cannot be read.
pub fn fingerprint(folder: &Path) -> Result<String, RunError> {
    let mut files = Vec::new();
    let read = |e: std::io::Error, path: &Path| RunError::Input {
        id: "model".into(),
        problem: format!("{}: {e}", path.display()),
    };
    let mut folders: Vec<PathBuf> = vec![folder.into()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| read(e, &folder))? {
            let path = entry.map_err(|e| read(e, &folder))?.path();
            if path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    files.sort();
    let hashes: Vec<String> = files
        .par_iter()
        .map(|path| {
            content_hash(path)
                .map_err(|e| RunError::Input { id: "model".into(), problem: e.to_string() })
        })
        .collect::<Result<_, _>>()?;
    let mut hash = Sha256::new();
    for (path, content) in files.iter().zip(&hashes) {
        let name = path.strip_prefix(folder).unwrap_or(path);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

/// Floating-point operations of a clip's denoising, multiplication and addition counted each: the
/// linear layers and attention of all blocks, twice where there is guidance. Text encoder and
/// autoencoder, some percent of it, are left out.
///
/// # Errors
/// [`crate::wan::Error`] naming file and field of the model.
pub fn operations(folder: &Path, job: &DiffusionJob) -> Result<f64, Error> {
    let first = folder.join("transformer/config.json");
    let second = folder.join("transformer_2/config.json");
    let config = TransformerConfig::read(if first.exists() { &first } else { &second })?;
    let vae = VaeConfig::read(&folder.join("vae/config.json"))?;
    let [t, h, w] = config.patch;
    let tokens = ((job.frames.saturating_sub(1) / vae.temporal_factor + 1) / t)
        * (job.height / vae.spatial_factor / h)
        * (job.width / vae.spatial_factor / w);
    let (n, d) = (tokens as f64, (config.heads * config.head_dim) as f64);
    let text = crate::wan::MAX_SEQUENCE_LENGTH as f64;
    let linear = 2.0 * n * (4.0 * d * d + 2.0 * d * config.ffn_dim as f64);
    let own = 4.0 * n * n * d;
    let cross = 2.0 * n * 2.0 * d * d + 2.0 * text * 2.0 * d * d + 4.0 * n * text * d;
    let guided = job.guidance.iter().any(|g| *g > 1.0);
    let passes = job.steps as f64 * if guided { 2.0 } else { 1.0 };
    Ok(passes * config.layers as f64 * (linear + own + cross))
}
