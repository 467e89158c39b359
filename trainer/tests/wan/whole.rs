//! The pipeline as a library.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device};
use trainer::wan::vae::Tiling;
use trainer::wan::{Error, Options, Pipeline, Progress, Prompt};

use super::{CASES, Golden, difference, never};

#[test]
fn frames_agree_after_25_steps() {
    for case in CASES {
        let golden = Golden::load(case);
        let clip = golden.pipeline().generate(&golden.request(), &never(), &mut |_| ()).unwrap();
        let (worst, mean) = golden.difference("frames", &clip.frames);
        println!("{case}: largest difference {worst:e}, mean {mean:e}");
        assert!(worst < 1e-2 && mean < 1e-3, "{case}: {worst} {mean}");
        assert_eq!(clip.frame_rate, if case == "ti2v" { 24.0 } else { 16.0 });
        let pictures = clip.pictures().unwrap();
        assert_eq!(pictures.len(), golden.run.frames);
        let first: f32 =
            clip.frames.get(0).unwrap().flatten_all().unwrap().get(0).unwrap().to_scalar().unwrap();
        assert_eq!(pictures[0].rgb()[0], (first * 255.0).round_ties_even() as u8);
    }
}

#[test]
fn kept_parts_give_the_same_clip_again() {
    for case in CASES {
        let golden = Golden::load(case);
        let mut request = golden.request();
        request.steps = 3;
        let once = golden.pipeline().generate(&request, &never(), &mut |_| ()).unwrap();
        let options = Options { keep_text_encoder: true, keep_transformers: true, tiling: None };
        let mut kept = Pipeline::load(&golden.folder, &Device::Cpu, DType::F32, options).unwrap();
        let mut loaded = Vec::new();
        for _ in 0..2 {
            loaded.clear();
            let clip = kept
                .generate(&request, &never(), &mut |progress| {
                    if let Progress::Loading(part) = progress {
                        loaded.push(part);
                    }
                })
                .unwrap();
            assert_eq!(difference(&once.frames, &clip.frames).0, 0.0, "{case}");
        }
        assert_eq!(loaded, ["vae", "vae"], "{case}: what was kept is not loaded again");
    }
}

#[test]
fn embeddings_stand_for_the_prompt() {
    for case in CASES {
        let golden = Golden::load(case);
        let mut request = golden.request();
        request.prompt = Prompt::Embeddings {
            prompt: golden.tensor("prompt_embeds").clone(),
            negative: Some(golden.tensor("negative_prompt_embeds").clone()),
        };
        let mut parts = Vec::new();
        let clip = golden
            .pipeline()
            .generate(&request, &never(), &mut |progress| {
                if let Progress::Loading(part) = progress {
                    parts.push(part);
                }
            })
            .unwrap();
        let (worst, mean) = golden.difference("frames", &clip.frames);
        assert!(worst < 1e-2 && mean < 1e-3, "{case}: {worst} {mean}");
        let experts = ["vae", "transformer", "transformer_2", "vae"];
        let expected: Vec<&str> =
            experts.into_iter().filter(|p| case == "i2v" || *p != "transformer_2").collect();
        assert_eq!(parts, expected, "{case}");
    }
}

#[test]
fn half_precision_gives_about_the_same_clip() {
    // The type of a GPU's text encoder and transformers, here on the CPU.
    for case in CASES {
        let golden = Golden::load(case);
        let mut request = golden.request();
        request.steps = 4;
        let full = golden.pipeline().generate(&request, &never(), &mut |_| ()).unwrap();
        let options = Options::default();
        let mut half = Pipeline::load(&golden.folder, &Device::Cpu, DType::BF16, options).unwrap();
        let half = half.generate(&request, &never(), &mut |_| ()).unwrap();
        let (worst, mean) = difference(&full.frames, &half.frames);
        println!("{case}: bf16 differs by {worst:e}, mean {mean:e}");
        assert!(worst > 0.0 && mean < 2e-2, "{case}: {worst} {mean}");
    }
}

#[test]
fn the_seed_decides_the_noise() {
    let golden = Golden::load("ti2v");
    let mut request = golden.request();
    (request.latents, request.steps) = (None, 2);
    let mut make = |seed| {
        request.seed = seed;
        golden.pipeline().generate(&request, &never(), &mut |_| ()).unwrap().frames
    };
    let (first, again, other) = (make(7), make(7), make(8));
    assert_eq!(difference(&first, &again).0, 0.0);
    assert!(difference(&first, &other).0 > 1e-2);
}

#[test]
fn tiling_changes_little_but_something() {
    let golden = Golden::load("i2v");
    let mut request = golden.request();
    request.steps = 2;
    let whole = golden.pipeline().generate(&request, &never(), &mut |_| ()).unwrap();
    let options = Options { tiling: Some(Tiling { size: 32, stride: 16 }), ..Options::default() };
    let mut tiled = Pipeline::load(&golden.folder, &Device::Cpu, DType::F32, options).unwrap();
    let tiled = tiled.generate(&request, &never(), &mut |_| ()).unwrap();
    let (worst, _) = difference(&whole.frames, &tiled.frames);
    assert!(worst > 1e-4, "{worst}");
}

#[test]
fn a_stop_ends_the_work() {
    let golden = Golden::load("i2v");
    let stop = AtomicBool::new(false);
    let mut steps = 0;
    let result = golden.pipeline().generate(&golden.request(), &stop, &mut |progress| {
        if let Progress::Denoising { done, .. } = progress {
            steps = done;
            stop.store(done == 3, Ordering::Relaxed);
        }
    });
    assert!(matches!(result, Err(Error::Interrupted)));
    assert_eq!(steps, 3);
}
