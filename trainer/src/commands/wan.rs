//! `trainer wan`: a clip from a picture and a prompt, by a Wan 2.2 model.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use candle_core::{DType, Device, Tensor};
use clap::Args;
use trainer::device::DeviceChoice;
use trainer::files;
use trainer::wan::vae::Tiling;
use trainer::wan::{
    Clip, Error, MAX_SEQUENCE_LENGTH, Options, Pipeline, Progress, Prompt, Request,
};
use video::{Frame, Writer};

use super::Usage;
use super::train::{progress, stop_when_asked};

/// Generates a clip from a picture and a prompt with a Wan 2.2 image-to-video model.
///
/// The model is a directory in diffusers' layout, such as Wan-AI/Wan2.2-TI2V-5B-Diffusers or
/// Wan-AI/Wan2.2-I2V-A14B-Diffusers. With given latents the result is that of diffusers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    trainer wan --model Wan2.2-TI2V-5B-Diffusers --image frame.png --prompt 'A man runs away.' \\\n    \
      --frames 81 --size 832x480 --steps 50 --guidance 5 --device cuda --out clip.mp4\n  \
    trainer wan --model Wan2.2-I2V-A14B-Diffusers --image frame.png --prompt 'A man falls.' \\\n    \
      --frames 81 --size 832x480 --steps 40 --guidance 3.5,3.5 --device cuda --out clip.mp4\n  \
    trainer wan --model tiny --image frame.png --prompt 'A man falls.' --frames 9 --size 64x32 \\\n    \
      --steps 25 --guidance 5 --latents noise.safetensors --out frames.safetensors")]
pub struct WanArgs {
    /// The model: a directory with `model_index.json`.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The first frame; it is stretched to the clip's size.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// What shall happen.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_embeds")]
    prompt: Option<String>,
    /// What shall not be seen; counts if the guidance is above 1.
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,
    /// Frames, one more than a multiple of four.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frames: u32,
    /// Size of the clip in pixels.
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: (usize, usize),
    /// Denoising steps.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steps: u32,
    /// Weight of the prompt; of two values the second is for the transformer of low noise.
    #[arg(long, value_name = "G[,G2]", value_parser = guidance)]
    guidance: (f64, Option<f64>),
    /// Moves the steps towards the noise, instead of the scheduler's own value.
    #[arg(long, value_name = "S")]
    flow_shift: Option<f64>,
    /// Of the noise: same seed, same noise, on every device.
    #[arg(long, value_name = "K", default_value_t = 0)]
    seed: u64,
    /// The noise: a safetensors file with `latents`, [1, C, T, H, W].
    #[arg(long, value_name = "FILE")]
    latents: Option<PathBuf>,
    /// States of the text encoder instead of a prompt: a safetensors file with `prompt_embeds` and
    /// maybe `negative_prompt_embeds`, [1, tokens, channels].
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_embeds: Option<PathBuf>,
    /// Longest text in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = MAX_SEQUENCE_LENGTH as u32,
          value_parser = clap::value_parser!(u32).range(1..=8192))]
    max_sequence_length: u32,
    /// The clip: a video (.mp4), a safetensors file with `frames` ([1, T, 3, H, W] from 0 to 1), or a
    /// folder for PNG files.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Frames per second of a video; without it 24 for TI2V-5B and 16 for I2V-A14B.
    #[arg(long, value_name = "FPS")]
    fps: Option<f64>,
    /// Encode and decode in tiles of 256 pixels: less memory, slightly other pixels.
    #[arg(long)]
    tiling: bool,
    /// Where it is computed: in bf16 on a GPU, in fp32 on the CPU.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

/// `WxH`.
fn size(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once(['x', 'X', '×']).and_then(|(w, h)| {
        let side = |s: &str| s.trim().parse::<usize>().ok().filter(|n| (1..=16_384).contains(n));
        Some((side(w)?, side(h)?))
    });
    parsed.ok_or_else(|| "WxH is expected, such as 832x480".into())
}

/// `G` or `G,G2`.
fn guidance(text: &str) -> Result<(f64, Option<f64>), String> {
    let number = |s: &str| match s.trim().parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err("G or G,G2 is expected, such as 3.5,3.5".to_string()),
    };
    match text.split_once(',') {
        Some((first, second)) => Ok((number(first)?, Some(number(second)?))),
        None => Ok((number(text)?, None)),
    }
}

/// What the clip is written as.
enum Format {
    Video,
    Tensors,
    Folder,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()).map(str::to_lowercase).as_deref() {
            Some("mp4" | "mkv" | "mov") => Ok(Self::Video),
            Some("safetensors") => Ok(Self::Tensors),
            None => Ok(Self::Folder),
            _ if path.is_dir() => Ok(Self::Folder),
            Some(other) => {
                let text =
                    format!("--out: .{other} is not known; .mp4, .safetensors or a folder is");
                Err(Usage(text).into())
            }
        }
    }
}

/// Runs the command.
pub fn run(args: &WanArgs) -> Result<()> {
    let format = Format::of(&args.out)?;
    if args.fps.is_some_and(|fps| !(0.001..=1000.0).contains(&fps)) {
        return Err(Usage("--fps: 0.001 to 1000 is expected".into()).into());
    }
    if args.out.parent().is_some_and(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        return Err(Usage(format!("{}: its folder does not exist", args.out.display())).into());
    }
    let request = request(args)?;
    let device = args.device.open()?;
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    let options = Options { tiling: args.tiling.then(Tiling::default), ..Options::default() };
    let mut pipeline = Pipeline::load(&args.model, &device, dtype, options)?;
    let stop = stop_when_asked()?;
    let shown = Shown::default();
    let clip = pipeline.generate(&request, &stop, &mut |progress| shown.show(progress))?;
    drop(shown);
    write(&args.out, &format, &clip, args.fps)?;
    let (frames, _, height, width) = clip.frames.dims4()?;
    log::info!("{}: {frames} frames of {width}x{height}", args.out.display());
    Ok(())
}

fn request(args: &WanArgs) -> Result<Request> {
    let picture = video::read_image(&args.image)?;
    let prompt = match (&args.prompt, &args.prompt_embeds) {
        (_, Some(path)) => {
            let mut tensors = read_tensors(path)?;
            let prompt = take(&mut tensors, path, "prompt_embeds")?;
            let negative = tensors.remove("negative_prompt_embeds");
            if negative.is_some() && args.negative.is_some() {
                let text = "--negative: the file of --prompt-embeds has negative_prompt_embeds";
                return Err(Usage(text.into()).into());
            }
            Prompt::Embeddings { prompt, negative }
        }
        (prompt, None) => Prompt::Text {
            prompt: prompt.clone().unwrap_or_default(),
            negative: args.negative.clone().unwrap_or_default(),
        },
    };
    let latents = match &args.latents {
        Some(path) => Some(take(&mut read_tensors(path)?, path, "latents")?),
        None => None,
    };
    let (guidance, guidance_2) = args.guidance;
    Ok(Request {
        image: picture,
        prompt,
        width: args.size.0,
        height: args.size.1,
        frames: args.frames as usize,
        steps: args.steps as usize,
        guidance,
        guidance_2,
        flow_shift: args.flow_shift,
        seed: args.seed,
        latents,
        max_sequence_length: args.max_sequence_length as usize,
    })
}

fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Missing { path: path.into(), hint: "an option names it".into() }
        }
        _ => Error::Read { path: path.into(), source },
    })?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| {
        Error::Damaged { path: path.into(), problem: format!("no safetensors file ({e})") }
    })?;
    Ok(tensors)
}

fn take(tensors: &mut HashMap<String, Tensor>, path: &Path, name: &str) -> Result<Tensor> {
    let missing = || {
        let mut there: Vec<&String> = tensors.keys().collect();
        there.sort();
        let problem = format!("is missing; the file has {there:?}");
        Error::Tensor { path: path.into(), tensor: name.into(), problem }
    };
    let error = missing();
    Ok(tensors.remove(name).ok_or(error)?)
}

fn write(path: &Path, format: &Format, clip: &Clip, fps: Option<f64>) -> Result<()> {
    let failed = || format!("{}: cannot be written", path.display());
    match format {
        Format::Tensors => {
            let frames = clip.frames.unsqueeze(0)?.contiguous()?; // [1, T, 3, H, W]
            let bytes = safetensors::serialize([("frames", &frames)], None).with_context(failed)?;
            files::replace(path, &bytes).with_context(failed)
        }
        Format::Video => {
            let rate = fps.unwrap_or(clip.frame_rate);
            // Written beside the target: what is there is a whole video or none.
            let part = part_of(path);
            let written = write_video(&part, &clip.pictures()?, rate)
                .and_then(|()| std::fs::rename(&part, path).with_context(failed));
            // What is half written helps nobody; that it cannot be removed either changes nothing.
            written.inspect_err(|_| drop(std::fs::remove_file(&part)))
        }
        Format::Folder => {
            std::fs::create_dir_all(path).with_context(failed)?;
            for (i, frame) in clip.pictures()?.iter().enumerate() {
                let path = path.join(format!("{i:05}.png"));
                files::replace(&path, &png(frame)?)
                    .with_context(|| format!("{}: cannot be written", path.display()))?;
            }
            Ok(())
        }
    }
}

/// The name beside `path` under which it is written; the extension stays, it chooses the container.
fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{}.part.{name}", std::process::id()))
}

fn write_video(path: &Path, frames: &[Frame], rate: f64) -> Result<()> {
    let size = frames.first().map_or((0, 0), |f| (f.width(), f.height()));
    let mut writer = Writer::create(path, size.0, size.1, rate)?;
    for frame in frames {
        writer.write(frame)?;
    }
    Ok(writer.finish()?)
}

fn png(frame: &Frame) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    image::ImageEncoder::write_image(
        encoder,
        frame.rgb(),
        frame.width() as u32,
        frame.height() as u32,
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// A bar for each stage with more than one piece of work.
#[derive(Default)]
struct Shown(RefCell<Option<(&'static str, progress::Progress)>>);

impl Shown {
    fn show(&self, progress: Progress) {
        let (what, done, total) = match progress {
            Progress::Loading(part) => return log::info!("loading {part}"),
            Progress::Text => return log::debug!("encoding the text"),
            Progress::Encoding { done, total } => ("encoding the picture", done, total),
            Progress::Denoising { done, total } => ("denoising", done, total),
            Progress::Decoding { done, total } => ("decoding", done, total),
        };
        let mut shown = self.0.borrow_mut();
        if shown.as_ref().is_none_or(|(stage, _)| *stage != what) {
            *shown = Some((what, progress::Progress::new(what, total)));
        }
        if let Some((_, bar)) = shown.as_ref() {
            bar.at(done, "");
        }
    }
}
