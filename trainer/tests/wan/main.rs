//! Wan 2.2 against diffusers (`tests/reference/wan.py`): every part of it, the whole pipeline, the
//! program, and what it says of models and requests that do not serve.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

mod parts;
mod program;
mod refused;
mod whole;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use trainer::wan::{Options, Pipeline, Prompt, Request};

/// The model directories: TI2V-5B and I2V-A14B in small.
const CASES: [&str; 2] = ["ti2v", "i2v"];

/// A model directory and what diffusers computes with it.
struct Golden {
    folder: PathBuf,
    run: Run,
    tensors: HashMap<String, Tensor>,
}

/// The request that the golden files were made with.
#[derive(Deserialize)]
struct Run {
    size: (usize, usize),
    frames: usize,
    steps: usize,
    guidance: Vec<f64>,
    max_sequence_length: usize,
    prompt: String,
    negative: String,
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wan")
}

impl Golden {
    fn load(name: &str) -> Self {
        let folder = golden_folder().join(name);
        let run = std::fs::read(folder.join("run.json")).unwrap();
        let file = folder.join("expected.safetensors");
        Self {
            run: serde_json::from_slice(&run).unwrap(),
            tensors: candle_core::safetensors::load(file, &Device::Cpu).unwrap(),
            folder,
        }
    }

    fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::load(&self.folder, &Device::Cpu, DType::F32, Options::default()).unwrap()
    }

    fn request(&self) -> Request {
        let run = &self.run;
        let (prompt, negative) = (run.prompt.clone(), run.negative.clone());
        Request {
            prompt: Prompt::Text { prompt, negative },
            width: run.size.0,
            height: run.size.1,
            frames: run.frames,
            steps: run.steps,
            guidance: run.guidance[0],
            guidance_2: run.guidance.get(1).copied(),
            latents: Some(self.tensor("latents").clone()),
            max_sequence_length: run.max_sequence_length,
            ..Request::new(video::read_image(&self.folder.join("image.png")).unwrap(), "")
        }
    }

    /// Largest and mean difference of `got` to what is expected.
    fn difference(&self, name: &str, got: &Tensor) -> (f32, f32) {
        difference(self.tensor(name), got)
    }
}

/// Largest and mean absolute difference; the shapes must agree but for ones in front.
fn difference(expected: &Tensor, got: &Tensor) -> (f32, f32) {
    let long = |t: &Tensor| t.dims().iter().copied().skip_while(|n| *n == 1).collect::<Vec<_>>();
    assert_eq!(long(expected), long(got));
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
    let gaps = (flat(expected) - flat(got)).unwrap().abs().unwrap();
    let gaps: Vec<f32> = gaps.to_vec1().unwrap();
    // A maximum would pass over what is not a number.
    assert!(gaps.iter().all(|gap| gap.is_finite()));
    let largest = gaps.iter().fold(0.0f32, |m, gap| m.max(*gap));
    (largest, gaps.iter().sum::<f32>() / gaps.len() as f32)
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// A copy of a model directory that a test may damage.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else if entry.file_name().unwrap() != "expected.safetensors" {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}
