//! The folder that goes to the machine with the GPU.

use std::fs;
use std::path::Path;

use super::capability::Capability;
use super::workspace::Built;
use crate::shell::{Failure, command, execute, output, root};

/// What the folder may weigh: it is copied over slow lines.
const LIMIT: u64 = 60_000_000;

/// What the folder has.
const NAMES: [&str; 5] = ["trainer.gz", "gpu-check.gz", "check.sh", "reference", "README.txt"];

/// What comes of it by use, and may be written over as well.
const UNPACKED: [&str; 3] = ["trainer", "gpu-check", "gpu-check.json"];

/// The PyTorch side of the timed steps.
const REFERENCE: [&str; 3] = ["denoise.py", "training_step.py", "urdmu.py"];

const CHECK: &str = include_str!("check.sh");
const README: &str = include_str!("README.txt");

/// Refuses a folder that holds other things than an earlier build's.
pub fn may_be_written(out: &Path) -> Result<(), Failure> {
    if !out.exists() {
        return Ok(());
    }
    let entries =
        fs::read_dir(out).map_err(|e| Failure::usage(format!("{}: {e}", out.display())))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !NAMES.iter().chain(&UNPACKED).any(|ours| name == *ours) {
            return Err(Failure::usage(format!(
                "{}: holds {}, which is no part of a build; choose another folder",
                out.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

/// Writes the folder and has its programs start here; gives its size in megabytes.
pub fn write(out: &Path, built: &Built, capability: Capability) -> Result<f64, Failure> {
    // Made beside it and moved, so that a half folder is never taken for a whole one.
    let partial = out.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let reference = partial.join("reference");
    fs::create_dir_all(&reference).map_err(|e| io(&reference, &e))?;
    let programs = [(&built.trainer, "trainer"), (&built.check, "gpu-check")];
    let mut symbols = String::new();
    for (program, name) in programs {
        let stripped = partial.join(name);
        execute(command("strip", ["-o"]).arg(&stripped).arg(program))?;
        symbols += &output(command("objdump", ["-T"]).arg(&stripped))?;
    }
    for name in REFERENCE {
        let from = root().join("tests/reference").join(name);
        fs::copy(&from, reference.join(name)).map_err(|e| io(&from, &e))?;
    }
    let text = |name: &str, text: &str| {
        let path = partial.join(name);
        fs::write(&path, text).map_err(|e| io(&path, &e))
    };
    text("check.sh", CHECK)?;
    text("README.txt", &readme(capability, &newest_glibc(&symbols)))?;

    starts_without_cuda(&partial)?;
    // Mostly kernels as text and tables: a quarter is left.
    let mut gzip = command("gzip", ["-9", "--no-name"]);
    execute(gzip.args(["trainer", "gpu-check"].map(|name| partial.join(name))))?;
    let bytes = size(&partial)?;
    if bytes > LIMIT {
        return Err(Failure::work(format!(
            "{}: {:.1} MB, more than {:.0}",
            partial.display(),
            megabytes(bytes),
            megabytes(LIMIT)
        )));
    }
    if out.exists() {
        fs::remove_dir_all(out).map_err(|e| io(out, &e))?;
    }
    fs::rename(&partial, out).map_err(|e| io(out, &e))?;
    Ok(megabytes(bytes))
}

fn readme(capability: Capability, glibc: &str) -> String {
    README
        .replace("@CAPABILITY@", &capability.with_point())
        .replace("@PTX@", capability.ptx_version())
        .replace("@DRIVER@", capability.driver())
        .replace("@GLIBC@", glibc)
}

/// The newest version of the C library that a symbol of the programs is of.
fn newest_glibc(symbols: &str) -> String {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].split('.').map(|n| n.parse().ok()).collect::<Option<Vec<u32>>>()
    });
    let newest: Vec<String> =
        versions.max().unwrap_or_default().iter().map(u32::to_string).collect();
    newest.join(".")
}

/// That neither program is linked to CUDA, that the check is not linked to FFmpeg, and that both start.
fn starts_without_cuda(folder: &Path) -> Result<(), Failure> {
    for (name, foreign) in [
        ("trainer", &["libcu", "libnv"][..]),
        ("gpu-check", &["libcu", "libnv", "libav", "libsw"][..]),
    ] {
        let program = folder.join(name);
        let linked = output(command("ldd", [] as [&str; 0]).arg(&program))?;
        if let Some(library) = linked_to(&linked, foreign) {
            return Err(Failure::work(format!("{name} is linked to {library}")));
        }
        let program = program.to_string_lossy().into_owned();
        output(&mut command(&program, ["--version"]))?;
    }
    Ok(())
}

/// The first library of `ldd`'s list whose name begins with one of the given.
fn linked_to<'a>(list: &'a str, foreign: &[&str]) -> Option<&'a str> {
    list.split_whitespace().find(|word| foreign.iter().any(|name| word.starts_with(name)))
}

fn size(path: &Path) -> Result<u64, Failure> {
    let metadata = fs::metadata(path).map_err(|e| io(path, &e))?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let entries = fs::read_dir(path).map_err(|e| io(path, &e))?;
    entries.map(|entry| size(&entry.map_err(|e| io(path, &e))?.path())).sum()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::target;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = target().join("xtask-tests").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_folder_of_other_things_is_not_written_over() {
        let folder = folder("out");
        may_be_written(&folder.join("new")).unwrap();
        may_be_written(&folder).unwrap();
        fs::write(folder.join("trainer.gz"), "").unwrap();
        fs::write(folder.join("gpu-check"), "").unwrap();
        fs::create_dir(folder.join("reference")).unwrap();
        may_be_written(&folder).unwrap();
        fs::write(folder.join("thesis.tex"), "").unwrap();
        let error = may_be_written(&folder).unwrap_err();
        assert_eq!(error.code, 2);
        assert!(error.message.contains("thesis.tex"), "{}", error.message);
    }

    #[test]
    fn the_newest_symbol_says_which_c_library_is_needed() {
        let symbols = "DF *UND* (GLIBC_2.9) accept4\nDF *UND* (GLIBC_2.34) dlopen\n\
                       DF *UND* (GLIBC_2.2.5) free\nDF *UND* (GCC_3.0) _Unwind\n";
        assert_eq!(newest_glibc(symbols), "2.34");
        assert_eq!(newest_glibc(""), "");
    }

    #[test]
    fn linked_libraries_are_told_from_paths_and_addresses() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibavcodec.so.59 => /usr/lib/libavcodec.so.59 \
                    (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n";
        assert_eq!(linked_to(list, &["libcu", "libnv"]), None);
        assert_eq!(linked_to(list, &["libcu", "libav"]), Some("libavcodec.so.59"));
    }

    #[test]
    fn the_readme_and_the_script_say_what_is_there() {
        let text = readme(Capability::HOPPER, "2.34");
        assert!(!text.contains('@') && text.contains("glibc 2.34 or newer"), "{text}");
        for name in NAMES.iter().filter(|name| **name != "README.txt") {
            assert!(text.contains(name), "{name}");
        }
        assert!(CHECK.contains("gpu-check.gz") && CHECK.contains("--reference"));
        let folder = folder("size");
        fs::write(folder.join("a"), [0; 1000]).unwrap();
        fs::create_dir(folder.join("b")).unwrap();
        fs::write(folder.join("b/c"), [0; 24]).unwrap();
        assert_eq!(size(&folder).unwrap(), 1024);
    }

    #[test]
    fn the_script_finds_libraries_passes_options_on_and_keeps_the_exit_code() {
        let folder = folder("check");
        fs::write(folder.join("check.sh"), CHECK).unwrap();
        // A program in place of gpu-check that says what it was given.
        let program = "#!/bin/sh\n[ \"$1\" = --version ] && exit\n\
                       echo \"$LD_LIBRARY_PATH|$*\"\nexit 4\n";
        fs::write(folder.join("gpu-check"), program).unwrap();
        assert!(crate::shell::quiet(
            command("gzip", [] as [&str; 0]).arg(folder.join("gpu-check"))
        ));
        let cuda = folder.join("cuda/lib64");
        fs::create_dir_all(&cuda).unwrap();
        fs::write(cuda.join("libcublas.so.13"), "").unwrap();
        let mut sh = std::process::Command::new("sh");
        sh.arg(folder.join("check.sh")).arg("--steps").arg("5").current_dir(&folder);
        sh.env("CUDA_HOME", folder.join("cuda")).env("PYTHON", "no-such-python");
        let out = sh.output().unwrap();
        assert_eq!(out.status.code(), Some(4), "{}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let (libraries, given) = said.trim().split_once('|').unwrap();
        assert!(libraries.split(':').any(|path| Path::new(path) == cuda), "{libraries}");
        assert!(given.ends_with("--steps 5") && given.contains("--json gpu-check.json"), "{given}");
    }
}
