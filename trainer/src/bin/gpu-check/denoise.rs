//! A denoising step of Wan 2.2 at the size that synthesis uses, with random weights: time and memory do
//! not depend on their values.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rand::RngExt;
use trainer::detector::noise::{Purpose, stream};
use trainer::device::{free_memory, peak_memory, release_memory, reset_peak_memory};
use trainer::wan::transformer::{Run, TimeSteps, Transformer, TransformerConfig};

use crate::Context;
use crate::pytorch::median;
use crate::report::Outcome;

/// Tokens of the text, padded.
const WORDS: usize = 512;
/// Weight of the prompt.
const GUIDANCE: f64 = 5.0;

/// A published model at 832 × 480 pixels and 81 frames.
struct Model {
    /// As `denoise.py` calls it.
    name: &'static str,
    config: TransformerConfig,
    /// Latent frames, rows and columns.
    size: [usize; 3],
    /// Whether the first frame is given, with time step 0.
    first_frame: bool,
    /// Bytes that must be free: weights in bf16, activations, 1 GiB of attention scores a few times.
    needs: u64,
    /// Steps that are timed.
    steps: usize,
}

fn ti2v_5b() -> Model {
    let config = TransformerConfig {
        heads: 24,
        in_channels: 48,
        out_channels: 48,
        ffn_dim: 14_336,
        layers: 30,
        ..i2v_a14b().config
    };
    Model { name: "5b", config, size: [21, 30, 52], first_frame: true, needs: 20 << 30, steps: 3 }
}

/// One of its two transformers, as at any step only one is used.
fn i2v_a14b() -> Model {
    let config = TransformerConfig {
        patch: [1, 2, 2],
        heads: 40,
        head_dim: 128,
        in_channels: 36,
        out_channels: 16,
        text_dim: 4096,
        freq_dim: 256,
        ffn_dim: 13_824,
        layers: 40,
        cross_attn_norm: true,
        eps: 1e-6,
        rope_max: 1024,
    };
    Model {
        name: "a14b",
        config,
        size: [21, 60, 104],
        first_frame: false,
        needs: 44 << 30,
        steps: 1,
    }
}

impl Model {
    /// The same in small.
    fn small(self) -> Self {
        let config = TransformerConfig {
            heads: 3,
            head_dim: 32,
            text_dim: 64,
            freq_dim: 64,
            ffn_dim: 192,
            layers: 2,
            ..self.config
        };
        Self { config, size: [3, 12, 16], ..self }
    }

    /// Of the published width of a head, so that the GPU's kernels are those of the published model.
    fn wide(self) -> Self {
        let config = TransformerConfig { heads: 6, head_dim: 128, ffn_dim: 2048, ..self.config };
        Self { config, ..self }
    }

    fn time_steps(&self) -> TimeSteps {
        let [frames, rows, columns] = [0, 1, 2].map(|i| self.size[i] / self.config.patch[i]);
        let area = rows * columns;
        let run = |tokens, step| Run { tokens, step };
        TimeSteps(if self.first_frame {
            vec![run(area, 0.0), run((frames - 1) * area, 805.0)]
        } else {
            vec![run(frames * area, 805.0)]
        })
    }

    /// Latents, and the texts with and without the prompt.
    fn inputs(&self, words: usize, device: &Device) -> Result<[Tensor; 3]> {
        let normal = |shape: &[usize], index: u64| -> Result<Tensor> {
            let mut rng = stream(9, Purpose::Init, index);
            // The sum of twelve uniform numbers less six has mean 0 and variance 1.
            let mut value = |_| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
            let values: Vec<f32> = (0..shape.iter().product()).map(&mut value).collect();
            Ok(Tensor::from_vec(values, shape, device)?)
        };
        let [frames, rows, columns] = self.size;
        let text = [words, self.config.text_dim];
        Ok([
            normal(&[self.config.in_channels, frames, rows, columns], 0)?,
            normal(&text, 1)?,
            normal(&text, 2)?,
        ])
    }
}

/// The velocity that a small transformer predicts, against the processor's in `f32`.
pub fn velocity(context: &Context) -> Result<Outcome> {
    let model = if context.quick { ti2v_5b().small() } else { ti2v_5b().small().wide() };
    let predict = |dtype: DType, device: &Device| -> Result<Tensor> {
        let transformer = Transformer::random(model.config.clone(), device, dtype)?;
        let [latents, text, _] = model.inputs(32, device)?;
        let velocity = transformer.forward(&latents, &model.time_steps(), &text, &|| Ok(()))?;
        Ok(velocity.to_dtype(DType::F32)?.to_device(&Device::Cpu)?)
    };
    let length = |x: &Tensor| -> Result<f64> {
        Ok(x.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?.to_scalar()?)
    };
    let expected = predict(DType::F32, &Device::Cpu)?;
    let scale = length(&expected)?;
    // candle has no products in bf16 on the processor.
    let types: &[(DType, f64)] = match context.device {
        Device::Cpu => &[(DType::F32, 1e-3)],
        _ => &[(DType::F32, 1e-3), (DType::BF16, 5e-2)],
    };
    let (mut holds, mut why) = (scale.is_normal(), Vec::new());
    for (dtype, allowed) in types {
        let difference = length(&(predict(*dtype, &context.device)? - &expected)?)? / scale;
        holds &= difference <= *allowed;
        why.push(format!("{} off by {difference:.1e}, allowed {allowed:.0e}", dtype.as_str()));
    }
    Ok(Outcome::of(holds, why.join("; ")))
}

/// TI2V-5B.
pub fn step_5b(context: &Context) -> Result<Outcome> {
    step(context, ti2v_5b())
}

/// I2V-A14B.
pub fn step_a14b(context: &Context) -> Result<Outcome> {
    step(context, i2v_a14b())
}

/// Times steps with guidance: the transformer with the prompt, without it, and both put together.
fn step(context: &Context, model: Model) -> Result<Outcome> {
    let device = &context.device;
    let model = if context.quick { model.small() } else { model };
    if device.is_cpu() && !context.quick {
        return Ok(Outcome::skipped(
            "a step takes the processor the better part of an hour".into(),
        ));
    }
    if let Some(free) = free_memory(device).filter(|free| !context.quick && *free < model.needs) {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let why =
            format!("{:.0} GB are free, {:.0} needed", gigabytes(free), gigabytes(model.needs));
        return Ok(Outcome::skipped(why));
    }
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    let words = if context.quick { 32 } else { WORDS };
    reset_peak_memory(device);
    let transformer = Transformer::random(model.config.clone(), device, dtype)?;
    let ([latents, text, negative], times) = (model.inputs(words, device)?, model.time_steps());
    let mut seconds = Vec::with_capacity(model.steps);
    let mut finite = true;
    // The first compiles kernels and fills the pool.
    for round in 0..=model.steps {
        let start = Instant::now();
        let with = transformer.forward(&latents, &times, &text, &|| Ok(()))?;
        let without = transformer.forward(&latents, &times, &negative, &|| Ok(()))?;
        let velocity = (&without + ((with - &without)? * GUIDANCE)?)?.to_dtype(DType::F32)?;
        finite &= velocity.sqr()?.mean_all()?.to_scalar::<f32>()?.is_finite();
        if round > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let count: usize = times.0.iter().map(|run| run.tokens).sum();
    let passes = if model.steps == 1 { "1 step" } else { "median of 3 steps" };
    let why = format!("{passes} of 2 passes, {count} tokens, {}", dtype.as_str());
    let mut outcome = Outcome {
        seconds: Some(median(seconds)),
        peak_bytes: peak_memory(device),
        ..Outcome::of(finite, if finite { why } else { "the velocity is not finite".into() })
    };
    // PyTorch is another process and wants the same memory.
    drop((transformer, latents, text, negative));
    release_memory(device);
    if !context.quick {
        context.pytorch.beside("denoise.py", model.name, (1, model.steps), &mut outcome);
    }
    Ok(outcome)
}
