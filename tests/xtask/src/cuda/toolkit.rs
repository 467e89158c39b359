//! NVIDIA's compiler for CUDA without root: wheels of PyPI unpacked into one tree.
//!
//! The kernels are compiled to PTX and everything of CUDA is loaded at run time, so the compiler and
//! its headers are all that a build needs. cuBLAS, cuRAND and NVRTC, hundreds of megabytes, are wanted
//! where the program runs, and there they come with the driver's CUDA or with PyTorch.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::capability::Capability;
use crate::fetch::Wheel;
use crate::shell::{Failure, target};

/// CUDA 13.0's compiler, x86-64.
const X86_64: [Wheel; 5] = [
    Wheel {
        package: "nvidia-cuda-nvcc==13.0.88",
        archive: "nvidia_cuda_nvcc-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
    },
    Wheel {
        package: "nvidia-nvvm==13.0.88",
        archive: "nvidia_nvvm-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256: "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0",
    },
    Wheel {
        package: "nvidia-cuda-crt==13.0.88",
        archive: "nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
    },
    Wheel {
        package: "nvidia-cuda-runtime==13.0.96",
        archive: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    },
    Wheel {
        package: "nvidia-cuda-cccl==13.0.85",
        archive: "nvidia_cuda_cccl-13.0.85-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
    },
];

/// The same for aarch64.
const AARCH64: [Wheel; 5] = [
    Wheel {
        package: "nvidia-cuda-nvcc==13.0.88",
        archive: "nvidia_cuda_nvcc-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        sha256: "c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f",
    },
    Wheel {
        package: "nvidia-nvvm==13.0.88",
        archive: "nvidia_nvvm-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        sha256: "c4376a291d72d22a315d9d2f69bdae8f8cd83a627f75bad395cee49a0fe65dc1",
    },
    Wheel {
        package: "nvidia-cuda-crt==13.0.88",
        archive: "nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        sha256: "ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003",
    },
    Wheel {
        package: "nvidia-cuda-runtime==13.0.96",
        archive: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        sha256: "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
    },
    Wheel {
        package: "nvidia-cuda-cccl==13.0.85",
        archive: "nvidia_cuda_cccl-13.0.85-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
        sha256: "6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c",
    },
];

/// Where the wheels keep what belongs into the tree.
const PREFIX: &str = "nvidia/cu13/";

/// The unpacked compiler.
pub struct Toolkit {
    root: PathBuf,
}

impl Toolkit {
    /// Fetches what is missing.
    pub fn ensure(no_install: bool) -> Result<Self, Failure> {
        let root = target().join("cuda/toolkit");
        let wheels = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
        for wheel in &wheels {
            wheel.ensure(PREFIX, &root, no_install)?;
        }
        let toolkit = Self { root };
        for file in toolkit.needed() {
            if !file.exists() {
                return Err(Failure::damaged(format!(
                    "{}: missing; delete {} and try again",
                    file.display(),
                    toolkit.root.display()
                )));
            }
        }
        Ok(toolkit)
    }

    /// What nvcc runs and includes; in one of the wheels each.
    fn needed(&self) -> [PathBuf; 6] {
        [
            "bin/nvcc",
            "nvvm/bin/cicc",
            "nvvm/libdevice/libdevice.10.bc",
            "include/crt/host_config.h",
            "include/cuda_runtime.h",
            "include/cccl/cub/cub.cuh",
        ]
        .map(|file| self.root.join(file))
    }

    /// The assembler, which checks PTX.
    pub fn ptxas(&self) -> PathBuf {
        self.root.join("bin/ptxas")
    }

    /// Sets what the build scripts of candle and cudarc look for.
    pub fn environment(&self, command: &mut Command, capability: Capability) {
        for variable in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"] {
            command.env(variable, &self.root);
        }
        command.env("NVCC", self.root.join("bin/nvcc"));
        command.env("CUDA_COMPUTE_CAP", capability.number());
        command.env("PTX_VERSION", capability.ptx_version());
        command.env("PATH", before(&self.root.join("bin"), std::env::var_os("PATH")));
        // A host compiler of another CUDA's build must not get in.
        command.env_remove("NVCC_PREPEND_FLAGS").env_remove("NVCC_APPEND_FLAGS");
    }
}

/// A search path with a folder before all others.
fn before(folder: &Path, path: Option<OsString>) -> OsString {
    let mut out = folder.as_os_str().to_owned();
    if let Some(path) = path {
        out.push(":");
        out.push(path);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_pinned_for_its_machine() {
        for (wheels, machine) in [(X86_64, "x86_64"), (AARCH64, "aarch64")] {
            for wheel in wheels {
                let (name, version) = wheel.package.split_once("==").unwrap();
                let file = format!("{}-{version}-", name.replace('-', "_"));
                assert!(wheel.archive.starts_with(&file), "{}", wheel.archive);
                assert!(wheel.archive.ends_with(&format!("{machine}.whl")), "{}", wheel.archive);
                assert!(version.starts_with("13.0."), "{version}");
                let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                assert!(wheel.sha256.len() == 64 && wheel.sha256.chars().all(hex));
            }
        }
    }

    #[test]
    fn the_environment_names_the_tree() {
        let toolkit = Toolkit { root: "/tree".into() };
        let mut command = Command::new("cargo");
        toolkit.environment(&mut command, Capability::parse("87").unwrap());
        let value = |name: &str| {
            let found = command.get_envs().find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value).unwrap().to_string_lossy().into_owned()
        };
        assert_eq!(value("CUDA_HOME"), "/tree");
        assert_eq!(value("NVCC"), "/tree/bin/nvcc");
        assert_eq!(value("CUDA_COMPUTE_CAP"), "87");
        assert_eq!(value("PTX_VERSION"), "8.1");
        assert!(value("PATH").starts_with("/tree/bin:"), "{}", value("PATH"));
        assert_eq!(before(Path::new("/a"), None), "/a");
    }
}
