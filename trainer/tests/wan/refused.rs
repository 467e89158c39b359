//! Models and requests that do not serve: named, with the documented exit code.

use std::path::Path;

use super::program::run;
use super::{Golden, copy};

/// What a change to a model directory must lead to.
struct Case {
    /// The file that is changed.
    file: &'static str,
    change: Change,
    code: i32,
    /// What the message must have in it.
    said: &'static [&'static str],
}

enum Change {
    /// A text is replaced by another.
    Text(&'static str, &'static str),
    /// The file is cut to this many bytes.
    Cut(u64),
    Remove,
}

const CASES: &[Case] = &[
    Case {
        file: "model_index.json",
        change: Change::Remove,
        code: 2,
        said: &["model_index.json", "not found"],
    },
    Case {
        file: "model_index.json",
        change: Change::Text("WanImageToVideoPipeline", "FluxPipeline"),
        code: 3,
        said: &["model_index.json", "_class_name", "FluxPipeline"],
    },
    Case {
        file: "model_index.json",
        change: Change::Text("\"boundary_ratio\": null", "\"boundary_ratio\": 0.9"),
        code: 3,
        said: &["model_index.json", "transformer_2", "boundary_ratio"],
    },
    Case {
        file: "model_index.json",
        change: Change::Text("\"expand_timesteps\": true", "\"expand_timesteps\": false"),
        code: 3,
        said: &["transformer/config.json", "in_channels", "image-to-video"],
    },
    Case {
        file: "transformer/config.json",
        change: Change::Text("\"num_layers\": 2", "\"num_layers\": \"2\""),
        code: 3,
        said: &["transformer/config.json", "num_layers", "whole number"],
    },
    Case {
        file: "transformer/config.json",
        change: Change::Text("\"num_layers\": 2", "\"num_layers\": 3"),
        code: 3,
        said: &["transformer", "blocks.2.", "is missing"],
    },
    Case {
        file: "transformer/config.json",
        change: Change::Text("\"num_layers\": 2", "\"num_layers\": 2, \"sparse\": 4"),
        code: 3,
        said: &["transformer/config.json", "sparse", "not known"],
    },
    Case {
        file: "transformer/config.json",
        change: Change::Text("\"added_kv_proj_dim\": null", "\"added_kv_proj_dim\": 16"),
        code: 3,
        said: &["transformer/config.json", "added_kv_proj_dim", "Wan 2.1"],
    },
    Case {
        file: "transformer/config.json",
        change: Change::Text("rms_norm_across_heads", "layer_norm"),
        code: 3,
        said: &["transformer/config.json", "qk_norm"],
    },
    Case {
        file: "transformer/config.json",
        change: Change::Text("\"ffn_dim\": 70", "\"ffn_dim\": 71"),
        code: 3,
        said: &["diffusion_pytorch_model-0000", "ffn.net.0.proj.weight", "[70, 48]", "[71, 48]"],
    },
    Case {
        file: "transformer/diffusion_pytorch_model-00002-of-00003.safetensors",
        change: Change::Cut(40_000),
        code: 3,
        said: &["diffusion_pytorch_model-00002-of-00003.safetensors", "cut short"],
    },
    Case {
        file: "transformer/diffusion_pytorch_model-00002-of-00003.safetensors",
        change: Change::Remove,
        code: 2,
        said: &["diffusion_pytorch_model-00002-of-00003.safetensors", "not found"],
    },
    Case {
        file: "transformer/diffusion_pytorch_model.safetensors.index.json",
        change: Change::Text(
            "diffusion_pytorch_model-00003-of",
            "../diffusion_pytorch_model-00003-of",
        ),
        code: 3,
        said: &["index.json", "no file name"],
    },
    Case {
        file: "vae/config.json",
        change: Change::Text("\"scale_factor_spatial\": 16", "\"scale_factor_spatial\": 8"),
        code: 3,
        said: &["vae/config.json", "scale_factor_spatial", "16"],
    },
    Case {
        file: "vae/config.json",
        change: Change::Text("\"z_dim\": 6", "\"z_dim\": 7"),
        code: 3,
        said: &["vae/config.json", "latents_mean", "z_dim"],
    },
    Case {
        file: "vae/diffusion_pytorch_model.safetensors",
        change: Change::Cut(4),
        code: 3,
        said: &["vae/diffusion_pytorch_model.safetensors"],
    },
    Case {
        file: "scheduler/scheduler_config.json",
        change: Change::Text("flow_prediction", "epsilon"),
        code: 3,
        said: &["scheduler_config.json", "prediction_type", "flow matching"],
    },
    Case {
        file: "scheduler/scheduler_config.json",
        change: Change::Text("\"bh2\"", "\"bh1\""),
        code: 3,
        said: &["scheduler_config.json", "solver_type", "bh1"],
    },
    Case {
        file: "text_encoder/config.json",
        change: Change::Text("gated-gelu", "gated-mish"),
        code: 3,
        said: &["text_encoder/config.json", "feed_forward_proj", "mish"],
    },
    Case {
        file: "text_encoder/model.safetensors",
        change: Change::Remove,
        code: 2,
        said: &["text_encoder/model.safetensors", "not found"],
    },
    Case {
        file: "tokenizer/tokenizer.json",
        change: Change::Cut(100),
        code: 3,
        said: &["tokenizer.json", "no tokenizer"],
    },
    Case {
        file: "tokenizer/tokenizer.json",
        change: Change::Remove,
        code: 2,
        said: &["tokenizer.json", "spiece.model"],
    },
];

fn change(path: &Path, change: &Change) {
    match change {
        Change::Text(from, to) => {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(from), "{} has no {from}", path.display());
            std::fs::write(path, text.replace(from, to)).unwrap();
        }
        Change::Cut(length) => {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            assert!(file.metadata().unwrap().len() > *length);
            file.set_len(*length).unwrap();
        }
        Change::Remove => std::fs::remove_file(path).unwrap(),
    }
}

/// Runs the program; the exit code and the one line that it says at the end.
fn said(golden: &Golden, model: &Path, out: &Path, more: &[&str]) -> (i32, String) {
    let output = run(golden, model, out, more);
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(!text.contains("panicked"), "{text}");
    assert!(!out.exists(), "{text}");
    (output.status.code().unwrap(), text.lines().last().unwrap_or_default().to_string())
}

#[test]
fn damaged_and_foreign_models() {
    let golden = Golden::load("ti2v");
    for case in CASES {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        copy(&golden.folder, &model);
        change(&model.join(case.file), &case.change);
        let out = folder.path().join("frames.safetensors");
        let arguments = ["--prompt", "a man runs", "--steps", "2"];
        let (code, text) = said(&golden, &model, &out, &arguments);
        assert_eq!(code, case.code, "{}: {text}", case.file);
        for part in case.said {
            assert!(text.contains(part), "{}: `{part}` is not in: {text}", case.file);
        }
    }
}

#[test]
fn requests_that_do_not_fit() {
    let golden = Golden::load("ti2v");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("frames.safetensors");
    let other = folder.path().join("other.safetensors");
    golden.tensor("prompt_embeds").save_safetensors("other", &other).unwrap();
    let other = other.to_str().unwrap();
    let text = ["--prompt", "a man runs", "--steps", "2"];
    // A later option stands for the same one before it only where clap allows it; these are new.
    for (more, code, part) in [
        (vec!["--flow-shift", "0"], 2, "flow shift"),
        (vec!["--fps", "0"], 2, "--fps"),
        (vec!["--device", "cuda"], 4, "cuda"),
    ] {
        let (got, said) = said(&golden, &golden.folder, &out, &[&text[..], &more].concat());
        assert_eq!(got, code, "{said}");
        assert!(said.contains(part), "{said}");
    }
    let (code, text) =
        said(&golden, &golden.folder, &out, &["--prompt-embeds", other, "--steps", "2"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("other.safetensors") && text.contains("prompt_embeds"), "{text}");

    let mut changed = Golden::load("ti2v");
    changed.run.guidance = vec![5.0, 3.0];
    let arguments = ["--prompt", "a man runs", "--steps", "2"];
    let (code, text) = said(&changed, &golden.folder, &out, &arguments);
    assert_eq!((code, text.contains("one transformer")), (2, true), "{text}");
    let mut changed = Golden::load("ti2v");
    changed.run.frames = 13;
    let (code, text) = said(&changed, &golden.folder, &out, &arguments);
    assert_eq!((code, text.contains("[1, 6, 4, 2, 4] are needed")), (2, true), "{text}");
    let mut changed = Golden::load("ti2v");
    changed.run.size = (60, 32);
    let (code, text) = said(&changed, &golden.folder, &out, &arguments);
    assert_eq!((code, text.contains("multiples of 16")), (2, true), "{text}");
    let wrong = folder.path().join("frames.gif");
    let (code, text) = said(&golden, &golden.folder, &wrong, &arguments);
    assert_eq!((code, text.contains(".gif")), (2, true), "{text}");
}
