//! `trainer wan` as a program.

use std::path::Path;
use std::process::{Command, Output};

use candle_core::{Device, Tensor};

use super::{CASES, Golden, difference};

/// Runs the program on a golden case, with the latents of it, into `out`.
pub fn run(golden: &Golden, model: &Path, out: &Path, more: &[&str]) -> Output {
    let latents = out.parent().unwrap().join("noise.safetensors");
    golden.tensor("latents").save_safetensors("latents", &latents).unwrap();
    let run = &golden.run;
    let guidance: Vec<String> = run.guidance.iter().map(f64::to_string).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .args(["wan", "--frames", &run.frames.to_string(), "--guidance", &guidance.join(",")])
        .args(["--size", &format!("{}x{}", run.size.0, run.size.1)])
        .args(["--max-sequence-length", &run.max_sequence_length.to_string()])
        .arg("--model")
        .arg(model)
        .arg("--image")
        .arg(golden.folder.join("image.png"))
        .arg("--latents")
        .arg(&latents)
        .arg("--out")
        .arg(out)
        .args(more);
    command.output().unwrap()
}

fn frames(path: &Path) -> Tensor {
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    assert_eq!(tensors.len(), 1);
    tensors.remove("frames").unwrap()
}

#[test]
fn frames_as_tensors_of_a_prompt_and_of_its_embeddings() {
    for case in CASES {
        let golden = Golden::load(case);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("frames.safetensors");
        let prompt = [
            "--prompt",
            &golden.run.prompt,
            "--negative",
            &golden.run.negative,
            "--steps",
            &golden.run.steps.to_string(),
        ];
        let output = run(&golden, &golden.folder, &out, &prompt);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
        let got = frames(&out);
        assert_eq!(got.dims(), golden.tensor("frames").dims());
        let (worst, mean) = golden.difference("frames", &got);
        assert!(worst < 1e-2 && mean < 1e-3, "{case}: {worst} {mean}");

        let embeds = folder.path().join("embeds.safetensors");
        let names = ["prompt_embeds", "negative_prompt_embeds"];
        let tensors = names.map(|name| (name, golden.tensor(name)));
        let bytes = safetensors::serialize(tensors, None).unwrap();
        std::fs::write(&embeds, bytes).unwrap();
        let second = folder.path().join("second.safetensors");
        let steps = golden.run.steps.to_string();
        let embeds = ["--prompt-embeds", embeds.to_str().unwrap(), "--steps", &steps];
        let output = run(&golden, &golden.folder, &second, &embeds);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(difference(&got, &frames(&second)).0 < 1e-3, "{case}");
        // Nothing else is left.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}

#[test]
fn a_video_and_a_folder_of_pictures() {
    let golden = Golden::load("ti2v");
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--prompt", "a man runs", "--steps", "2"];
    let (video, pictures) = (folder.path().join("clip.mp4"), folder.path().join("pictures"));
    for out in [&video, &pictures] {
        let output = run(&golden, &golden.folder, out, &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut files: Vec<_> = std::fs::read_dir(&pictures)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files.len(), golden.run.frames);
    assert_eq!((files[0].as_str(), files[8].as_str()), ("00000.png", "00008.png"));

    let mut reader = video::Reader::open(&video).unwrap();
    assert_eq!(reader.info().frame_rate, 24.0);
    let mut frame = video::Frame::default();
    for name in files {
        assert!(reader.read(&mut frame).unwrap());
        let picture = video::read_image(&pictures.join(name)).unwrap();
        assert_eq!((frame.width(), frame.height()), (picture.width(), picture.height()));
        // H.264 keeps the levels, about.
        let gaps =
            frame.luma().iter().zip(picture.luma()).map(|(a, b)| a.abs_diff(b) as f64).sum::<f64>();
        assert!(gaps / (64.0 * 32.0) < 6.0, "{gaps}");
    }
    assert!(!reader.read(&mut frame).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
