//! Packages of another Debian release, fetched and unpacked without being installed.
//!
//! apt does it, in folders of its own below `target/`, so that the machine's package lists stay as
//! they are. What is fetched is checked as apt always does: by Debian's signature on the release.

use std::path::{Path, PathBuf};

use crate::shell::{Failure, command, execute, output, root};

/// Debian's keys.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package lists of a release.
pub struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Fetches the package lists of a release for an architecture.
    pub fn update(suite: &str, arch: &str) -> Result<Self, Failure> {
        let folder = root().join(format!("target/tools/apt-{suite}-{arch}"));
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(|e| io(&path, &e))?;
        }
        let line = format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main\n");
        let at = |name: &str| folder.join(name);
        let settings = format!(
            "Dir::State::lists \"{}\";\nDir::State::status \"{}\";\nDir::Cache \"{}\";\n\
             Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"{arch}\";\nAPT::Architectures \"{arch}\";\n\
             APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n",
            at("lists").display(),
            at("status").display(),
            at("cache").display(),
            at("sources.list").display(),
        );
        for (name, text) in [("sources.list", &*line), ("apt.conf", &*settings), ("status", "")] {
            std::fs::write(at(name), text).map_err(|e| io(&at(name), &e))?;
        }
        let debian = Self { folder };
        execute(&mut debian.command("apt-get", &["update", "-qq"]))
            .map_err(|e| Failure::unavailable(format!("{e}; is Debian's archive within reach?")))?;
        Ok(debian)
    }

    fn command(&self, program: &str, words: &[&str]) -> std::process::Command {
        let mut command = command(program, words);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// The packages that a package depends on whose names begin so.
    pub fn depends(&self, package: &str, prefix: &str) -> Result<Vec<String>, Failure> {
        let said = output(&mut self.command("apt-cache", &["depends", package]))?;
        let names = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let wanted = names.filter(|name| name.starts_with(prefix)).map(str::to_owned);
        Ok(wanted.collect())
    }

    /// A package in the upstream version asked for, as `name=version`.
    pub fn version(&self, package: &str, upstream: &str) -> Result<String, Failure> {
        let said = output(&mut self.command("apt-cache", &["madison", package]))?;
        let mut versions = said.lines().filter_map(|line| line.split('|').nth(1).map(str::trim));
        let wanted = |version: &&str| {
            version.strip_prefix(upstream).is_some_and(|rest| rest.starts_with(['+', '-']))
        };
        versions.find(wanted).map(|version| format!("{package}={version}")).ok_or_else(|| {
            Failure::unavailable(format!("Debian has no {package} of version {upstream}"))
        })
    }

    /// Fetches packages and unpacks them into a folder, which appears only when it is complete.
    pub fn unpack(&self, packages: &[String], to: &Path) -> Result<PathBuf, Failure> {
        let downloads = self.folder.join("downloads");
        let partial = to.with_extension("partial");
        for path in [&downloads, &partial] {
            if path.exists() {
                std::fs::remove_dir_all(path).map_err(|e| io(path, &e))?;
            }
            std::fs::create_dir_all(path).map_err(|e| io(path, &e))?;
        }
        let mut words = vec!["download", "-qq"];
        words.extend(packages.iter().map(String::as_str));
        execute(self.command("apt-get", &words).current_dir(&downloads))
            .map_err(|e| Failure::unavailable(e.message))?;
        for entry in std::fs::read_dir(&downloads).map_err(|e| io(&downloads, &e))? {
            let path = entry.map_err(|e| io(&downloads, &e))?.path();
            execute(command("dpkg-deb", ["-x"]).arg(&path).arg(&partial))?;
        }
        std::fs::remove_dir_all(&downloads).map_err(|e| io(&downloads, &e))?;
        std::fs::rename(&partial, to).map_err(|e| io(to, &e))?;
        Ok(to.to_path_buf())
    }
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::work(format!("{}: {error}", path.display()))
}
