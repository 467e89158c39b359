//! `cargo xtask package`: the camera program as a Debian package.

pub mod arm64;
mod check;
mod golden;
mod service;
mod tree;
mod unit;

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

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// Debian's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// What was asked for.
struct Options {
    arch: Arch,
    check: bool,
    no_install: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut options = Self { arch: Arch::Amd64, check: false, no_install: false };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--check" => options.check = true,
                "--no-install" => options.no_install = true,
                "--arch" => {
                    options.arch = match words.next().map(String::as_str) {
                        Some("amd64") => Arch::Amd64,
                        Some("arm64") => Arch::Arm64,
                        _ => return Err(Failure::usage("package: --arch can be amd64 or arm64")),
                    }
                }
                other => return Err(Failure::usage(format!("package: no option '{other}'"))),
            }
        }
        Ok(options)
    }
}

/// `cargo xtask package [--arch amd64|arm64] [--check] [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(args)?;
    let Options { arch, no_install, .. } = options;
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::unavailable("package: packages are made on x86-64 only"));
    }
    let built = build(arch, no_install)?;
    if options.check {
        check::run(&built, no_install)?;
    }
    println!("{}", built.package.display());
    Ok(())
}

/// A package that has just been built.
pub struct Built {
    pub arch: Arch,
    /// What is in it.
    pub tree: PathBuf,
    pub package: PathBuf,
    /// What the program needs, in the words of a package's `Depends`.
    pub libraries: String,
}

impl Built {
    /// Names of the packages that it depends on.
    pub fn dependencies(&self) -> Vec<String> {
        let name = |part: &str| part.split_whitespace().next().map(str::to_owned);
        let mut names: Vec<String> = self.libraries.split(',').filter_map(name).collect();
        names.extend(tree::DEPENDS.iter().map(|name| (*name).to_owned()));
        names
    }
}

/// Builds the package and asks lintian about it.
pub fn build(arch: Arch, no_install: bool) -> Result<Built, Failure> {
    install::ensure(&[install::BUILD, PACKAGES], no_install)?;
    let runtime = weights::onnx_runtime(arch == Arch::Arm64);
    runtime.ensure(no_install)?;
    let folder = root().join("target/package");
    std::fs::create_dir_all(&folder).map_err(|e| io(&folder, &e))?;
    let (program, libraries) = match arch {
        Arch::Amd64 => {
            // Of the whole workspace, so that dependencies have the features that everything else
            // was built with.
            let build = ["build", "--release", "--locked", "--workspace", "--bin", "edge-runtime"];
            execute(&mut command("cargo", build))?;
            let program = crate::shell::target().join("release/edge-runtime");
            let libraries = libraries(&[&program, &runtime.path()], &folder)?;
            (program, libraries)
        }
        Arch::Arm64 => {
            let program = arm64::build(&folder, no_install)?;
            arm64::floor(&runtime.path())?;
            (program, arm64::DEPENDS.to_owned())
        }
    };
    let tree = folder.join(format!("{NAME}-{}", arch.name()));
    let version = tree::version()?;
    tree::lay_out(&tree, &program, &runtime.path(), arch, &version)?;
    tree::control(&tree, arch, &version, &libraries)?;
    let package = folder.join(format!("{NAME}_{version}_{}.deb", arch.name()));
    let mut build = command("dpkg-deb", ["--build", "--root-owner-group", "-Zxz"]);
    execute(build.arg(&tree).arg(&package))?;
    lintian(&package)?;
    Ok(Built { arch, tree, package, libraries })
}

/// The packages of the libraries that programs and libraries are linked with.
fn libraries(files: &[&Path], folder: &Path) -> Result<String, Failure> {
    let debian = folder.join("shlibs/debian");
    std::fs::create_dir_all(&debian).map_err(|e| io(&debian, &e))?;
    write(
        &debian.join("control"),
        &format!("Source: {NAME}\n\nPackage: {NAME}\nArchitecture: any\n"),
    )?;
    let mut shlibdeps = command("dpkg-shlibdeps", ["-O"]);
    let said = output(shlibdeps.args(files).current_dir(folder.join("shlibs")))?;
    said.trim()
        .strip_prefix("shlibs:Depends=")
        .map(str::to_owned)
        .ok_or_else(|| Failure::work(format!("dpkg-shlibdeps says '{}'", said.trim())))
}

/// Lintian's errors and warnings are failures.
fn lintian(package: &Path) -> Result<(), Failure> {
    let mut lintian = command("lintian", ["--fail-on", "error,warning"]);
    if output(&mut command("id", ["-u"])).is_ok_and(|id| id.trim() == "0") {
        lintian.arg("--allow-root");
    }
    execute(lintian.arg(package))
}

fn execute_quietly(command: &mut std::process::Command) -> Result<(), Failure> {
    if quiet(command) { Ok(()) } else { Err(Failure::work(format!("{command:?} failed"))) }
}

pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| io(folder, &e))?;
    }
    std::fs::write(path, text).map_err(|e| io(path, &e))
}

pub fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}

/// A folder of the workspace's `target`.
pub fn tool(name: &str) -> PathBuf {
    root().join("target/tools").join(name)
}
