//! Each part of the pipeline by itself.

use candle_core::{DType, Device, Tensor};
use trainer::wan::scheduler::{SchedulerConfig, UniPc};
use trainer::wan::tokenizer::Tokenizer;
use trainer::wan::transformer::{Run, TimeSteps, Transformer};
use trainer::wan::umt5::Umt5;
use trainer::wan::vae::{Tiling, Vae};
use trainer::wan::{clean, image};

use super::{CASES, Golden, difference, golden_folder};

fn tokens(golden: &Golden) -> Vec<u32> {
    let tokens: Vec<i64> = golden.tensor("tokens").to_vec1().unwrap();
    tokens.into_iter().map(|t| t as u32).collect()
}

#[test]
fn tokens_are_the_same() {
    for case in CASES {
        let golden = Golden::load(case);
        let tokenizer = Tokenizer::load(&golden.folder.join("tokenizer")).unwrap();
        let prompt = clean::prompt(&golden.run.prompt);
        let got = tokenizer.encode(&prompt, golden.run.max_sequence_length).unwrap();
        assert_eq!(got, tokens(&golden), "{case}");
        // Cut, the mark of the end stays.
        let cut = tokenizer.encode(&prompt, 5).unwrap();
        assert_eq!(cut, [&got[..4], &[1]].concat(), "{case}");
    }
}

#[test]
fn tokens_of_a_sentencepiece_model_are_the_same() {
    let folder = golden_folder().join("sentencepiece");
    let tokenizer = Tokenizer::load(&folder).unwrap();
    let cases = std::fs::read(folder.join("tokens.json")).unwrap();
    let cases: std::collections::BTreeMap<String, Vec<u32>> =
        serde_json::from_slice(&cases).unwrap();
    assert_eq!(cases.len(), 4);
    for (text, expected) in cases {
        assert_eq!(tokenizer.encode(&text, 16).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn text_states_agree() {
    for case in CASES {
        let golden = Golden::load(case);
        let folder = golden.folder.join("text_encoder");
        let encoder = Umt5::load(&folder, &Device::Cpu, DType::F32).unwrap();
        let states = encoder.forward(&tokens(&golden), &|| Ok(())).unwrap();
        let (worst, _) = golden.difference("text_states", &states);
        assert!(worst < 1e-4, "{case}: {worst}");
    }
}

#[test]
fn picture_is_the_same() {
    for case in CASES {
        let golden = Golden::load(case);
        let picture = video::read_image(&golden.folder.join("image.png")).unwrap();
        for (name, (width, height)) in [("picture", golden.run.size), ("picture_tall", (16, 80))] {
            let got = image::preprocess(&picture, width, height).unwrap();
            let (worst, _) = golden.difference(name, &got);
            // One of 255 levels would be 8e-3.
            assert!(worst < 1e-6, "{case} {name}: {worst}");
        }
    }
}

#[test]
fn autoencoder_agrees_whole_and_in_tiles() {
    let tiles = Tiling { size: 32, stride: 16 };
    for case in CASES {
        let golden = Golden::load(case);
        let vae = Vae::load(&golden.folder.join("vae"), &Device::Cpu).unwrap();
        let video = golden.tensor("frames").squeeze(0).unwrap(); // [f, 3, h, w]
        let video = ((video * 2.0).unwrap() - 1.0).unwrap();
        let latents = golden.tensor("latents").squeeze(0).unwrap().transpose(0, 1).unwrap();
        let latents = latents.narrow(0, 0, 2).unwrap(); // [t, z, h, w]
        for (tiling, suffix) in [(None, ""), (Some(&tiles), "_tiled")] {
            let got = vae.encode(&video, tiling, &mut |_, _| Ok(())).unwrap();
            let got = got.transpose(0, 1).unwrap();
            let (worst, _) = golden.difference(&format!("vae_latents{suffix}"), &got);
            assert!(worst < 1e-4, "{case} encode{suffix}: {worst}");
            let mut last = (0, 0);
            let got = vae.decode(&latents, tiling, &mut |done, total| {
                last = (done, total);
                Ok(())
            });
            let got = got.unwrap().transpose(0, 1).unwrap();
            let (worst, _) = golden.difference(&format!("vae_decoded{suffix}"), &got);
            assert!(worst < 1e-4, "{case} decode{suffix}: {worst}");
            assert!(last.0 == last.1 && last.1 > 1, "{case}: {last:?}");
        }
        // The tiles were no copy of the whole.
        let (whole, tiled) = (golden.tensor("vae_decoded"), golden.tensor("vae_decoded_tiled"));
        assert!(difference(whole, tiled).0 > 1e-3, "{case}");
    }
}

#[test]
fn velocity_agrees() {
    for case in CASES {
        let golden = Golden::load(case);
        let folder = golden.folder.join("transformer");
        let transformer = Transformer::load(&folder, &Device::Cpu, DType::F32).unwrap();
        let input = golden.tensor("velocity_input").squeeze(0).unwrap();
        let text = golden.tensor("prompt_embeds").squeeze(0).unwrap();
        let (_, t, h, w) = input.dims4().unwrap();
        let area = h / 2 * (w / 2);
        // The tokens of TI2V-5B's first frame have time step 0.
        let first = if case == "ti2v" { 0.0 } else { 731.0 };
        let steps = TimeSteps(vec![
            Run { tokens: area, step: first },
            Run { tokens: (t - 1) * area, step: 731.0 },
        ]);
        let got = transformer.forward(&input, &steps, &text, &|| Ok(())).unwrap();
        let (worst, _) = golden.difference("velocity", &got);
        assert!(worst < 1e-4, "{case}: {worst}");
    }
}

#[test]
fn every_step_of_the_solver_agrees() {
    for case in CASES {
        let golden = Golden::load(case);
        let config = golden.folder.join("scheduler/scheduler_config.json");
        let config = SchedulerConfig::read(&config).unwrap();
        let mut solver = UniPc::new(&config, golden.run.steps).unwrap();
        assert_eq!(solver.timesteps(), golden.tensor("timesteps").to_vec1::<i64>().unwrap());
        assert_eq!(solver.sigmas(), golden.tensor("sigmas").to_vec1::<f32>().unwrap());
        let latents = golden.tensor("latents");
        let part = |first| latents.narrow(1, first, 2).unwrap().narrow(2, 0, 1).unwrap();
        let (mut sample, other) = (part(0), (part(2) * 0.3).unwrap());
        let expected = golden.tensor("unipc_steps");
        for i in 0..golden.run.steps {
            let pull = (sample.tanh().unwrap() * (0.5 + 0.02 * i as f64)).unwrap();
            let velocity: Tensor = (pull - &other).unwrap();
            sample = solver.step(&velocity, &sample).unwrap();
            let (worst, _) = difference(&expected.get(i).unwrap(), &sample);
            assert!(worst < 1e-4, "{case} step {i}: {worst}");
        }
    }
}
