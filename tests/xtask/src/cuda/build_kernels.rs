//! Build script of the changed candle-kernels: every kernel of `src` as PTX.
//!
//! `NVCC`, `CUDA_COMPUTE_CAP` and `PTX_VERSION` come from `cargo xtask cuda`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

/// Compiled into the static library that is left out.
const LEFT_OUT: &str = "mmvq_gguf.cu";

fn main() {
    println!("cargo::rerun-if-changed=src");
    let [nvcc, capability, version] = ["NVCC", "CUDA_COMPUTE_CAP", "PTX_VERSION"].map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        env::var(name)
            .unwrap_or_else(|_| panic!("{name} is not set: build with 'cargo xtask cuda'"))
    });
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut kernels: Vec<PathBuf> = fs::read_dir("src")
        .expect("the crate has its sources")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .filter(|path| !path.ends_with(LEFT_OUT))
        .collect();
    kernels.sort();
    let compile = |kernel: &Path| {
        let ptx = out.join(kernel.with_extension("ptx").file_name().expect("it has a name"));
        // The options are those of candle's own build script.
        let done = Command::new(&nvcc)
            .args(["--ptx", "--default-stream", "per-thread", "--expt-relaxed-constexpr"])
            .args(["-std=c++17", "-O3", &format!("-arch=compute_{capability}"), "-o"])
            .arg(&ptx)
            .arg(kernel)
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{}: nvcc failed", kernel.display());
        let text = fs::read_to_string(&ptx).expect("nvcc has written it");
        let older: Vec<String> = text
            .lines()
            .map(|line| match line.strip_prefix(".version ") {
                Some(_) => format!(".version {version}"),
                None => line.to_owned(),
            })
            .collect();
        fs::write(&ptx, older.join("\n") + "\n").expect("it can be written again");
    };
    for some in kernels.chunks(jobs) {
        thread::scope(|scope| {
            some.iter().for_each(|kernel| {
                scope.spawn(|| compile(kernel));
            });
        });
    }
    let constants: String = kernels
        .iter()
        .map(|kernel| {
            let name = kernel.file_stem().expect("it has a name").to_string_lossy().into_owned();
            let constant = name.to_uppercase();
            format!("pub const {constant}: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/{name}.ptx\"));\n")
        })
        .collect();
    fs::write(out.join("ptx.rs"), constants).expect("the build's folder can be written");
}
