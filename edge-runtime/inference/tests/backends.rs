//! The same small graph on every backend that this machine has.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::conv_model;
use inference::{
    Backend, BackendKind, BackendOptions, Error, Provider, best_backend, open_backend,
};

/// The backends of this machine, on a GPU too if it has one; says so where ONNX Runtime or its providers
/// are missing.
fn backends() -> Vec<Box<dyn Backend>> {
    let mut found = vec![open_backend(BackendKind::Tract, &BackendOptions::default()).unwrap()];
    for provider in Provider::ALL {
        let options = BackendOptions { provider, ..BackendOptions::default() };
        match open_backend(BackendKind::Ort, &options) {
            Ok(backend) => found.push(backend),
            Err(error) => eprintln!("skipped ort with {provider}: {error}"),
        }
    }
    found
}

fn weights() -> Vec<f32> {
    (0..54).map(|i| ((i * 7 % 11) as f32 - 5.0) / 4.0).collect()
}

/// The convolution by its definition.
fn expected(input: &[f32]) -> Vec<f32> {
    let weights = weights();
    let mut out = Vec::new();
    for o in 0..3 {
        for y in 0..4i32 {
            for x in 0..5i32 {
                let mut sum = 0.0;
                for c in 0..2 {
                    for k in 0..9 {
                        let (u, v) = (y + k / 3 - 1, x + k % 3 - 1);
                        if (0..4).contains(&u) && (0..5).contains(&v) {
                            let weight = weights[(o * 2 + c) * 9 + k as usize];
                            sum += weight * input[c * 20 + (u * 5 + v) as usize];
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

#[test]
fn a_convolution_is_right_on_every_backend() {
    for backend in backends() {
        let mut graph = backend.load("conv", &conv_model(&weights(), false)).unwrap();
        assert_eq!(graph.inputs()[0].name, "input");
        assert_eq!(graph.inputs()[0].shape, [1, 2, 4, 5]);
        assert_eq!((graph.outputs().len(), &graph.outputs()[0].shape[..]), (1, &[1, 3, 4, 5][..]));
        let mut outputs = vec![Vec::new()];
        // Several runs: each must see its own input, though the tensors are bound once.
        for run in 0..3 {
            let input: Vec<f32> = (0..40).map(|i| ((i * 5 + run) % 9) as f32 - 4.0).collect();
            graph.run(&[&input], &mut outputs).unwrap();
            let expected = expected(&input);
            assert_eq!(outputs[0].len(), 60);
            for (a, b) in outputs[0].iter().zip(&expected) {
                assert!((a - b).abs() < 1e-4, "{} run {run}: {a} {b}", backend.kind());
            }
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    for backend in backends() {
        let mut graph = backend.load("conv", &conv_model(&weights(), false)).unwrap();
        let mut outputs = vec![Vec::new()];
        for inputs in [&[&[0.0f32; 39][..]][..], &[], &[&[0.0; 40][..], &[0.0; 40][..]]] {
            let error = graph.run(inputs, &mut outputs).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
        }
        assert!(matches!(graph.run(&[&[0.0; 40]], &mut []), Err(Error::Shape { .. })));
    }
}

#[test]
fn damaged_and_dynamic_models_are_refused_by_name() {
    for backend in backends() {
        for bytes in [&b"not a model"[..], &conv_model(&weights(), false)[..300]] {
            let error = backend.load("conv", bytes).err().unwrap();
            let message = error.to_string();
            assert!(matches!(error, Error::Load { .. }), "{}: {message}", backend.kind());
            assert!(message.contains("`conv`") && !message.contains('\n'), "{message}");
        }
        let error = backend.load("conv", &conv_model(&weights(), true)).err().unwrap();
        assert!(matches!(error, Error::Shape { .. }), "{}: {error}", backend.kind());
    }
}

#[test]
fn a_library_that_is_not_there_is_an_error() {
    let options =
        BackendOptions { ort_library: Some("/nowhere/lib.so".into()), ..Default::default() };
    let error = open_backend(BackendKind::Ort, &options).err().unwrap();
    assert!(matches!(error, Error::NoLibrary { .. }));
    assert!(error.to_string().contains("/nowhere/lib.so"), "{error}");
    let backend = best_backend(&[BackendKind::Tract], &options).unwrap();
    assert_eq!(backend.kind(), BackendKind::Tract);
    assert!(matches!(best_backend(&[], &options), Err(Error::NoBackend { .. })));
}

#[test]
fn a_provider_that_is_not_there_is_named_with_the_reason() {
    let open = |provider| {
        let options = BackendOptions { provider, ..BackendOptions::default() };
        open_backend(BackendKind::Ort, &options)
    };
    if open(Provider::Cpu).is_err() {
        eprintln!("skipped: no ONNX Runtime here");
        return;
    }
    for provider in [Provider::TensorRt, Provider::Cuda] {
        // On a machine that has it, `a_convolution_is_right_on_every_backend` uses it.
        let Err(error) = open(provider) else { continue };
        let named = match &error {
            Error::NoProvider { provider, reason } => (*provider, reason.as_str()),
            other => panic!("{other}"),
        };
        assert!(named.0 == provider.name() && !named.1.is_empty(), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("install ONNX Runtime with") && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn names_of_providers() {
    for provider in Provider::ALL {
        assert_eq!(Provider::from_name(provider.name()), Some(provider));
    }
    assert_eq!(Provider::from_name("rocm"), None);
}

#[test]
fn a_broken_library_is_an_error_and_tract_takes_over() {
    // Its own process, because one that has loaded a library keeps it.
    let dir = tempfile::tempdir().unwrap();
    let broken: PathBuf = dir.path().join("libonnxruntime.so");
    std::fs::write(&broken, b"\x7fELF and nothing more").unwrap();
    let program = std::env::current_exe().unwrap();
    let run = std::process::Command::new(program)
        .args(["--ignored", "--exact", "child_with_a_broken_library"])
        .env("ORT_DYLIB_PATH", &broken)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}

#[test]
#[ignore = "run by a_broken_library_is_an_error_and_tract_takes_over in a process of its own"]
fn child_with_a_broken_library() {
    let options = BackendOptions::default();
    assert!(matches!(open_backend(BackendKind::Ort, &options), Err(Error::NoLibrary { .. })));
    let backend = best_backend(&[BackendKind::Ort, BackendKind::Tract], &options).unwrap();
    assert_eq!(backend.kind(), BackendKind::Tract);
}
