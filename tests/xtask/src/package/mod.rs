//! `cargo xtask package`: the camera program as a Debian package.

mod arm64;

use std::path::{Path, PathBuf};

use crate::install::{self, Package};
use crate::shell::{Failure, command, execute, output, quiet, root};
use crate::weights;

/// To make and check a package.
const PACKAGES: &[Package] = &[
    Package("binutils", "leaving debugging information out of the package"),
    Package("dpkg-dev", "the libraries that the program needs"),
    Package("lintian", "checking the package"),
];

/// Name of the package.
const NAME: &str = "pavad-edge";

/// The project has no address of its own; this one is meant to be refused.
const MAINTAINER: &str = "The PA-VAD edge authors <pavad-edge@users.noreply.invalid>";

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// `cargo xtask package [--arch amd64|arm64] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut arch = Arch::Amd64;
    let mut no_install = false;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-install" => no_install = true,
            "--arch" => {
                arch = match words.next().map(String::as_str) {
                    Some("amd64") => Arch::Amd64,
                    Some("arm64") => Arch::Arm64,
                    _ => return Err(Failure::usage("package: --arch can be amd64 or arm64")),
                }
            }
            other => return Err(Failure::usage(format!("package: no option '{other}'"))),
        }
    }
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::unavailable("package: packages are made on x86-64 only"));
    }
    install::ensure(&[install::BUILD, PACKAGES], no_install)?;
    let runtime = weights::onnx_runtime(arch == Arch::Arm64);
    runtime.ensure(no_install)?;
    let folder = root().join("target/package");
    std::fs::create_dir_all(&folder).map_err(|e| io(&folder, &e))?;
    let (program, depends) = match arch {
        Arch::Amd64 => {
            // Of the whole workspace, so that dependencies have the features that everything else
            // was built with.
            let build = ["build", "--release", "--locked", "--workspace", "--bin", "edge-runtime"];
            execute(&mut command("cargo", build))?;
            let program = crate::shell::target().join("release/edge-runtime");
            let depends = libraries(&program, &folder)?;
            (program, depends)
        }
        // Linked against nothing but the C library of the floor.
        Arch::Arm64 => (arm64::build(&folder, no_install)?, arm64::DEPENDS.to_owned()),
    };
    let tree = folder.join(format!("{NAME}-{}", arch.name()));
    let version = version()?;
    lay_out(&tree, &program, &runtime.path(), arch, &version)?;
    control(&tree, arch, &version, &depends)?;
    let package = folder.join(format!("{NAME}_{version}_{}.deb", arch.name()));
    let mut build = command("dpkg-deb", ["--build", "--root-owner-group", "-Zxz"]);
    execute(build.arg(&tree).arg(&package))?;
    check(&package)?;
    println!("{}", package.display());
    Ok(())
}

/// The workspace's version.
fn version() -> Result<String, Failure> {
    let manifest = root().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|e| io(&manifest, &e))?;
    text.lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .ok_or_else(|| Failure::work(format!("{}: no version", manifest.display())))
}

/// The packages of the libraries that a program is linked with.
fn libraries(program: &Path, folder: &Path) -> Result<String, Failure> {
    let debian = folder.join("shlibs/debian");
    std::fs::create_dir_all(&debian).map_err(|e| io(&debian, &e))?;
    write(
        &debian.join("control"),
        &format!("Source: {NAME}\n\nPackage: {NAME}\nArchitecture: any\n"),
    )?;
    let mut shlibdeps = command("dpkg-shlibdeps", ["-O", "-e"]);
    let said = output(shlibdeps.arg(program).current_dir(folder.join("shlibs")))?;
    said.trim()
        .strip_prefix("shlibs:Depends=")
        .map(str::to_owned)
        .ok_or_else(|| Failure::work(format!("dpkg-shlibdeps says '{}'", said.trim())))
}

/// Puts every file where it goes.
fn lay_out(
    tree: &Path,
    program: &Path,
    runtime: &Path,
    arch: Arch,
    version: &str,
) -> Result<(), Failure> {
    if tree.exists() {
        std::fs::remove_dir_all(tree).map_err(|e| io(tree, &e))?;
    }
    let material = root().join("edge-runtime/packaging");
    let put = |from: &Path, to: &str, mode: &str| {
        let mut install = command("install", ["-D", "-m", mode]);
        execute_quietly(install.arg(from).arg(tree.join(to)))
    };
    put(program, "usr/bin/edge-runtime", "755")?;
    put(runtime, "usr/lib/pavad-edge/libonnxruntime.so", "644")?;
    if arch == Arch::Amd64 {
        let program = tree.join("usr/bin/edge-runtime");
        execute_quietly(command("strip", ["--strip-unneeded"]).arg(program))?;
    }
    put(&material.join("pavad-provision"), "usr/sbin/pavad-provision", "755")?;
    put(&material.join("edge.toml"), "etc/pavad/edge.toml", "644")?;
    put(&material.join("pavad-edge.service"), "lib/systemd/system/pavad-edge.service", "644")?;
    put(&material.join("60-pavad-edge.rules"), "lib/udev/rules.d/60-pavad-edge.rules", "644")?;
    let boards = root().join("boards/profiles");
    for entry in std::fs::read_dir(&boards).map_err(|e| io(&boards, &e))? {
        let path = entry.map_err(|e| io(&boards, &e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        put(&path, &format!("usr/share/pavad-edge/boards/{name}"), "644")?;
    }
    let licence = root().join("LICENSE-MIT");
    let mit = std::fs::read_to_string(&licence).map_err(|e| io(&licence, &e))?;
    // The permission, without the title and the copyright, which stand above it.
    let mit: String = mit
        .lines()
        .skip_while(|line| !line.starts_with("Permission"))
        .map(|line| if line.is_empty() { " .\n".into() } else { format!(" {line}\n") })
        .collect();
    let copyright = material.join("copyright");
    let text = std::fs::read_to_string(&copyright).map_err(|e| io(&copyright, &e))?;
    let documents = format!("usr/share/doc/{NAME}");
    write(&tree.join(&documents).join("copyright"), &text.replace("MITTEXT\n", &mit))?;
    let changes = root().join("CHANGELOG.md");
    put(&changes, &format!("{documents}/CHANGELOG.md"), "644")?;
    let overrides = material.join("lintian-overrides");
    put(&overrides, &format!("usr/share/lintian/overrides/{NAME}"), "644")?;
    write(&tree.join(&documents).join("changelog"), &changelog(version)?)?;
    put(&material.join("edge-runtime.1"), "usr/share/man/man1/edge-runtime.1", "644")?;
    put(&material.join("pavad-provision.8"), "usr/share/man/man8/pavad-provision.8", "644")?;
    for packed in [
        format!("{documents}/changelog"),
        format!("{documents}/CHANGELOG.md"),
        "usr/share/man/man1/edge-runtime.1".into(),
        "usr/share/man/man8/pavad-provision.8".into(),
    ] {
        execute_quietly(command("gzip", ["-9n"]).arg(tree.join(packed)))?;
    }
    for script in ["postinst", "prerm", "postrm"] {
        put(&material.join(script), &format!("DEBIAN/{script}"), "755")?;
    }
    Ok(())
}

/// The package's history in Debian's form, of the day of the last change: the same sources make the
/// same package.
fn changelog(version: &str) -> Result<String, Failure> {
    let date = output(&mut command("git", ["log", "-1", "--format=%cD"]))?;
    Ok(format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * What has changed is told in \
         CHANGELOG.md.gz beside this file.\n\n -- {MAINTAINER}  {}\n",
        date.trim()
    ))
}

/// Writes the package's own description.
fn control(tree: &Path, arch: Arch, version: &str, depends: &str) -> Result<(), Failure> {
    let size = output(command("du", ["-sk", "--exclude=DEBIAN"]).arg(tree))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let video = match arch {
        Arch::Amd64 => "cameras, video files and folders of pictures",
        Arch::Arm64 => "cameras and folders of pictures (this build reads no video files)",
    };
    let text = format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {size}\nDepends: {depends}, adduser, openssl\n\
         Recommends: v4l-utils, gpiod\nSection: video\nPriority: optional\n\
         Description: camera program of the PA-VAD video anomaly detector\n \
         Watches {video},\n scores them with a signed model bundle and announces anomalies over \
         MQTT without\n losing any. Drives a siren, a status LED and the watchdog of the board.\n",
        arch.name()
    );
    write(&tree.join("DEBIAN/control"), &text)?;
    write(&tree.join("DEBIAN/conffiles"), "/etc/pavad/edge.toml\n")
}

/// Lintian's errors and warnings are failures.
fn check(package: &Path) -> Result<(), Failure> {
    let mut lintian = command("lintian", ["--fail-on", "error,warning"]);
    if output(&mut command("id", ["-u"])).is_ok_and(|id| id.trim() == "0") {
        lintian.arg("--allow-root");
    }
    execute(lintian.arg(package))
}

fn execute_quietly(command: &mut std::process::Command) -> Result<(), Failure> {
    if quiet(command) { Ok(()) } else { Err(Failure::work(format!("{command:?} failed"))) }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| io(folder, &e))?;
    }
    std::fs::write(path, text).map_err(|e| io(path, &e))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}

/// A folder of the workspace's `target`.
fn tool(name: &str) -> PathBuf {
    root().join("target/tools").join(name)
}
