//! The kinds of processors that programs are run on.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::hiding;
use crate::emulator;
use crate::shell::{Failure, command};
use crate::weights;

/// A kind of processor, and how to run a program on it.
pub struct Kind {
    pub name: &'static str,
    /// QEMU and its arguments; none to run on this processor.
    emulator: Vec<String>,
    /// Variables for the program.
    environment: Vec<(&'static str, PathBuf)>,
    /// What it must have and must not have, in the words of `processor`.
    has: &'static [&'static str],
    lacks: &'static [&'static str],
}

/// What saturates nothing: products of bytes added in 32 bits.
const VNNI: &[&str] = &["avx512vnni", "avxvnni", "avxvnniint8"];
const NO_AVX512: &[&str] = &["avx512f", "avx512vnni", "avxvnni", "avxvnniint8"];

impl Kind {
    /// This processor as it is.
    pub fn this() -> Self {
        Self {
            name: "this processor",
            emulator: Vec::new(),
            environment: weights::environment().into(),
            has: &[],
            lacks: &[],
        }
    }

    /// This processor with instructions hidden.
    fn hidden(
        name: &'static str,
        which: &'static str,
        has: &'static [&'static str],
        lacks: &'static [&'static str],
    ) -> Self {
        let mut kind = Self { name, has, lacks, ..Self::this() };
        kind.environment.push(("LESSER_PROCESSOR", which.into()));
        kind.environment.push(("LD_PRELOAD", hiding()));
        kind
    }

    /// One of QEMU's processors for 64-bit ARM, whose libraries lie in a folder.
    pub fn arm64(
        name: &'static str,
        processor: &str,
        qemu: &Path,
        libraries: &Path,
        has: &'static [&'static str],
        lacks: &'static [&'static str],
    ) -> Self {
        let words = [&*qemu.to_string_lossy(), "-cpu", processor, "-L"];
        let mut emulator: Vec<String> = words.map(str::to_owned).into();
        emulator.push(libraries.to_string_lossy().into_owned());
        let environment = weights::environment().map(|(name, path)| match name {
            "ORT_DYLIB_PATH" => (name, weights::onnx_runtime(true).path()),
            _ => (name, path),
        });
        Self { name, emulator, environment: environment.into(), has, lacks }
    }

    /// Whether programs are emulated on it, and slow.
    pub fn is_emulated(&self) -> bool {
        !self.emulator.is_empty()
    }

    /// A program on this processor.
    pub fn command(&self, program: &Path) -> Command {
        let mut words = self.emulator.iter();
        let mut command = match words.next() {
            Some(qemu) => {
                let mut command = command(qemu, words);
                command.arg(program);
                command
            }
            None => command(&program.to_string_lossy(), [""; 0]),
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What programs find that it has; why it cannot be had here.
    pub fn check(&self, processor: &Path) -> Result<String, String> {
        let out = self.command(processor).output().map_err(|e| e.to_string())?;
        if out.status.success() {
            let has = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            // Hiding cannot add what this processor has not.
            if !self.is_emulated()
                && let Some(missing) = self.has.iter().find(|word| !contains(&has, word))
            {
                return Err(format!("this processor has no {missing}"));
            }
            return Ok(has);
        }
        let why = String::from_utf8_lossy(&out.stderr);
        Err(why.lines().last().unwrap_or("it could not be started").to_owned())
    }

    /// How it differs from what it should be.
    pub fn wrong(&self, has: &str) -> Option<String> {
        let missing = self.has.iter().find(|word| !contains(has, word));
        let surplus = self.lacks.iter().find(|word| contains(has, word));
        let missing = missing.map(|word| format!("it should have {word}"));
        missing.or_else(|| surplus.map(|word| format!("it should not have {word}")))
    }
}

fn contains(has: &str, word: &str) -> bool {
    has.split_whitespace().any(|other| other == word)
}

/// Kinds of x86-64 other than this one. QEMU has no AVX-512, so that is only had on a processor that
/// has it.
pub fn amd64(no_install: bool) -> Result<Vec<Kind>, Failure> {
    let qemu = emulator::program("x86_64", no_install)?;
    let words = [&*qemu.to_string_lossy(), "-cpu", "Haswell-noTSX"].map(str::to_owned);
    Ok(vec![
        Kind::hidden("AVX-512 without VNNI", "avx512", &["avx2", "avx512bw"], VNNI),
        Kind::hidden("AVX2 without VNNI", "avx2", &["avx2"], NO_AVX512),
        Kind {
            name: "AVX2 without VNNI, emulated (Haswell)",
            emulator: words.into(),
            has: &["avx2"],
            lacks: NO_AVX512,
            ..Kind::this()
        },
    ])
}
