//! What is in the package: files, scripts, and what dpkg is told of them.

use std::path::Path;

use super::{Arch, NAME, execute_quietly, io, write};
use crate::shell::{Failure, command, output, root};

/// What its scripts and its unit need: the latter `/bin/kill`.
pub const DEPENDS: [&str; 3] = ["adduser", "openssl", "procps"];

/// The project has no address of its own; this one is meant to be refused.
const MAINTAINER: &str = "The PA-VAD edge authors <pavad-edge@users.noreply.invalid>";

/// The workspace's version.
pub fn version() -> Result<String, Failure> {
    let manifest = root().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|e| io(&manifest, &e))?;
    text.lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .ok_or_else(|| Failure::work(format!("{}: no version", manifest.display())))
}

/// Puts every file where it goes.
pub fn lay_out(
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
pub fn control(tree: &Path, arch: Arch, version: &str, libraries: &str) -> Result<(), Failure> {
    let size = output(command("du", ["-sk", "--exclude=DEBIAN"]).arg(tree))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let video = match arch {
        Arch::Amd64 => "cameras, video files and folders of pictures",
        Arch::Arm64 => "cameras and folders of pictures, not video files",
    };
    let text = format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {size}\nDepends: {libraries}, {}\n\
         Recommends: v4l-utils, gpiod\nSection: video\nPriority: optional\n\
         Description: camera program of the PA-VAD video anomaly detector\n \
         Watches {video}.\n \
         Scores them with a signed model bundle and announces anomalies over MQTT\n \
         without losing any. Drives a siren, a status LED and the watchdog of the\n board.\n",
        arch.name(),
        DEPENDS.join(", ")
    );
    write(&tree.join("DEBIAN/control"), &text)?;
    write(&tree.join("DEBIAN/conffiles"), "/etc/pavad/edge.toml\n")
}
