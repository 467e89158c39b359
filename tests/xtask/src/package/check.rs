//! The package in a Debian system: everything that a device will live through with it, from the first
//! installation to the purge.

use std::path::{Path, PathBuf};

use super::golden::Golden;
use super::{Arch, Built, NAME, io, service, unit, write};
use crate::debian_root::{DebianRoot, as_root, done};
use crate::install::{self, Package};
use crate::shell::{Failure, command, output, root as workspace};

/// To check a package.
const PACKAGES: &[Package] = &[
    Package("mmdebstrap", "a Debian system to install the package in"),
    Package("debian-archive-keyring", "checking what comes from Debian"),
    Package("systemd", "judging the service's unit"),
];
/// The release with the C library of the arm64 package's floor, that of JetPack 5.
const OLDEST: &str = "bullseye";
/// Of the package that there was before.
const OLDER: &str = "0.0.1";
const CONFIG: &str = "/etc/pavad/edge.toml";
/// What dpkg does where nobody can be asked: a changed configuration file stays.
const DPKG: [&str; 4] = ["dpkg", "--force-confdef", "--force-confold", "--install"];

/// A site's configuration: a folder of pictures instead of a camera. One thread: emulated ones wait for
/// each other by turning in circles, which on a busy machine takes minutes for a frame.
const SITE: &str = "\
device = \"check\"

[model]
bundle = \"/var/lib/pavad/model.pavad\"
public_keys = [\"/etc/pavad/model.pub\"]
backends = [\"ort\"]
threads = 1
ort_library = \"/usr/lib/pavad-edge/libonnxruntime.so\"

[spool]
dir = \"/var/lib/pavad/spool\"

[evidence]
dir = \"/var/lib/pavad/evidence\"

[[cameras]]
id = \"clip\"
source = { type = \"images\", path = \"/srv/clip\", at_end = \"loop\" }
";

/// What a purge may leave: what dpkg, its helpers and the check itself keep of any package, the groups,
/// which other programs may be in by now, and a mark that ONNX Runtime makes where files are temporary.
const LEFT: [&str; 11] = [
    "/var/lib/dpkg",
    "/var/log",
    "/var/cache",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/srv/clip",
    "/run/check",
    "/run/adduser",
    "/tmp/.ses",
];

/// Runs every check; a line for each, and an end at the first that fails.
pub fn run(built: &Built, no_install: bool) -> Result<(), Failure> {
    install::ensure(&[PACKAGES], no_install)?;
    step("unit-security", || unit::security(&built.tree))?;
    let golden = Golden::prepare(no_install)?;
    let older = older(built)?;
    let suite = match built.arch {
        // The package is linked with this machine's libraries.
        Arch::Amd64 => own_release()?,
        Arch::Arm64 => OLDEST.into(),
    };
    let folder = workspace().join("target/package");
    let path = folder.join(format!("root-{}", built.arch.name()));
    // The unit is judged among those of the system.
    let packages = [built.dependencies(), vec!["systemd".into()]].concat();
    let root = DebianRoot::unpack("package", &suite, built.arch, &packages, &path, no_install)?;
    eprintln!("Debian {suite} for {} in {}", built.arch.name(), path.display());
    // What fails is left as it is, to be looked at; the next check begins anew.
    Checks { arch: built.arch, root: &root, golden: &golden, newer: &built.package, older: &older }
        .all()?;
    root.remove()?;
    std::fs::remove_file(&older).map_err(|e| io(&older, &e))
}

/// Does one thing and says how it went.
fn step(name: &str, check: impl FnOnce() -> Result<String, Failure>) -> Result<(), Failure> {
    match check() {
        Ok(said) if said.is_empty() => println!("PASS {name}"),
        Ok(said) => println!("PASS {name}: {said}"),
        Err(failure) => {
            println!("FAIL {name}: {failure}");
            return Err(Failure { message: format!("package: {name} failed"), ..failure });
        }
    }
    Ok(())
}

struct Checks<'a> {
    arch: Arch,
    root: &'a DebianRoot,
    golden: &'a Golden,
    newer: &'a Path,
    older: &'a Path,
}

impl Checks<'_> {
    fn all(&self) -> Result<(), Failure> {
        let before = self.root.files()?;
        step("install", || self.install())?;
        step("unit-verify", || unit::verify(self.root))?;
        step("upgrade", || self.upgrade())?;
        step("config-kept", || self.config_kept())?;
        step("doctor", || self.doctor())?;
        step("service", || service::start_and_stop(self.root, self.arch))?;
        step("replay", || self.golden.compare(self.root))?;
        step("remove", || self.remove())?;
        step("purge", || self.purge(&before))
    }

    /// The first installation, of the older package.
    fn install(&self) -> Result<String, Failure> {
        self.dpkg(self.older, OLDER)?;
        for (path, expected) in [
            ("/var/lib/pavad", "pavad:pavad 750"),
            ("/etc/pavad", "root:pavad 750"),
            (CONFIG, "root:root 644"),
            ("/usr/bin/edge-runtime", "root:root 755"),
        ] {
            let found = self.root.run(&["stat", "-c", "%U:%G %a", path])?;
            self.expect(found.trim() == expected, || format!("{path}: {found}"))?;
        }
        let groups = self.root.run(&["id", "-Gn", "pavad"])?;
        for group in ["video", "render", "gpio"] {
            let is_in = groups.split_whitespace().any(|name| name == group);
            self.expect(is_in, || format!("pavad is not in {group}, only in {groups}"))?;
        }
        Ok(String::new())
    }

    /// A configuration that nobody has changed follows the package.
    fn upgrade(&self) -> Result<String, Failure> {
        let old = self.root.run(&["cat", CONFIG])?;
        self.dpkg(self.newer, &super::tree::version()?)?;
        let new = self.root.run(&["cat", CONFIG])?;
        self.expect(old != new && new == shipped(), || format!("{CONFIG} is not the newer one"))?;
        Ok(String::new())
    }

    /// One that has been changed stays, downwards and upwards, with everything beside it.
    fn config_kept(&self) -> Result<String, Failure> {
        let folder = workspace().join("target/package");
        let site = folder.join("site.toml");
        write(&site, SITE)?;
        self.root.put(&site, CONFIG)?;
        self.root.put(&self.golden.key(), "/etc/pavad/model.pub")?;
        self.root.put(&self.golden.bundle(), "/var/lib/pavad/model.pavad")?;
        self.root.put(&self.golden.clip(), "/srv/clip")?;
        let sums = || self.root.run(&["sha256sum", CONFIG, "/var/lib/pavad/model.pavad"]);
        let before = sums()?;
        for (package, version) in
            [(self.older, OLDER), (self.newer, super::tree::version()?.as_str())]
        {
            self.dpkg(package, version)?;
            let after = sums()?;
            self.expect(before == after, || format!("after {version}: {after}"))?;
        }
        Ok(format!("down to {OLDER} and up again"))
    }

    fn doctor(&self) -> Result<String, Failure> {
        let words = ["/usr/bin/edge-runtime", "doctor", "--config", CONFIG];
        let said = done(&mut self.root.command(Some("pavad"), &words))?;
        let lines = [
            ("configuration: ", ""),
            ("bundle: golden ", ""),
            ("backend: ort ", "golden vectors agree"),
            ("camera clip: ", ""),
        ];
        for (begin, end) in lines {
            let begin = format!("OK   {begin}");
            let found = said.lines().any(|line| line.starts_with(&begin) && line.ends_with(end));
            self.expect(found, || format!("it does not say '{begin}...{end}': {}", said.trim()))?;
        }
        Ok("ONNX Runtime gives the bundle's golden vectors".into())
    }

    fn remove(&self) -> Result<String, Failure> {
        self.root.run(&["dpkg", "--remove", NAME])?;
        let there = |path: &str| self.root.run(&["test", "-e", path]).is_ok();
        for path in ["/usr/bin/edge-runtime", "/lib/systemd/system/pavad-edge.service"] {
            self.expect(!there(path), || format!("{path} is still there"))?;
        }
        for path in [CONFIG, "/var/lib/pavad/model.pavad"] {
            self.expect(there(path), || format!("{path} is gone"))?;
        }
        Ok(String::new())
    }

    fn purge(&self, before: &[String]) -> Result<String, Failure> {
        self.root.run(&["dpkg", "--purge", NAME])?;
        let after = self.root.files()?;
        let counts = |path: &&String| !LEFT.iter().any(|left| path.starts_with(left));
        let left: Vec<&String> =
            after.iter().filter(|path| !before.contains(path)).filter(counts).collect();
        self.expect(left.is_empty(), || format!("it leaves {left:?}"))?;
        let lost: Vec<&String> =
            before.iter().filter(|path| !after.contains(path)).filter(counts).collect();
        self.expect(lost.is_empty(), || format!("it takes with it {lost:?}"))?;
        let user = self.root.run(&["getent", "passwd", "pavad"]);
        self.expect(user.is_err(), || "the user pavad is still there".into())?;
        Ok(String::new())
    }

    /// Installs a package and asks dpkg whether all is well with it.
    fn dpkg(&self, package: &Path, version: &str) -> Result<(), Failure> {
        self.root.put(package, "/run/package.deb")?;
        self.root.run(&[&DPKG[..], &["/run/package.deb"]].concat())?;
        self.root.run(&["rm", "/run/package.deb"])?;
        let status =
            self.root.run(&["dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", NAME])?;
        self.expect(status == format!("ii {version}"), || format!("dpkg says '{status}'"))?;
        let audit = self.root.run(&["dpkg", "--audit"])?;
        self.expect(audit.is_empty(), || audit.clone())?;
        // Its exit code also says that the configuration has been changed, which it may be.
        let mut verify = self.root.command(None, &["dpkg", "--verify", NAME]);
        let verify = verify.output().map_err(|e| Failure::unavailable(format!("dpkg: {e}")))?;
        let verify = String::from_utf8_lossy(&verify.stdout);
        let changed: Vec<&str> = verify.lines().filter(|line| !line.ends_with(CONFIG)).collect();
        self.expect(changed.is_empty(), || format!("not as in the package: {changed:?}"))
    }

    fn expect(&self, holds: bool, why: impl FnOnce() -> String) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(Failure::work(why())) }
    }
}

/// The configuration that the package comes with.
fn shipped() -> String {
    std::fs::read_to_string(workspace().join("edge-runtime/packaging/edge.toml"))
        .unwrap_or_default()
}

/// The same package with a lower version and another default configuration: there is no release yet
/// to come from.
fn older(built: &Built) -> Result<PathBuf, Failure> {
    let tree = built.tree.with_extension("older");
    done(as_root("rm", &["-rf"]).arg(&tree))?;
    done(command("cp", ["-a"]).arg(&built.tree).arg(&tree))?;
    super::tree::control(&tree, built.arch, OLDER, &built.libraries)?;
    let config = tree.join(CONFIG.trim_start_matches('/'));
    write(&config, &format!("# Of version {OLDER}.\n{}", shipped()))?;
    let package = built.package.with_extension("older.deb");
    let mut build = command("dpkg-deb", ["--build", "--root-owner-group", "-Znone"]);
    done(build.arg(&tree).arg(&package))?;
    std::fs::remove_dir_all(&tree).map_err(|e| io(&tree, &e))?;
    Ok(package)
}

/// The name of this machine's Debian release.
fn own_release() -> Result<String, Failure> {
    let said =
        output(&mut command("sh", ["-c", ". /etc/os-release; echo \"$ID $VERSION_CODENAME\""]))?;
    match said.trim().split_once(' ') {
        Some(("debian", suite)) => Ok(suite.to_owned()),
        _ => Err(Failure::unavailable(format!(
            "package --check: the package for amd64 is checked on Debian only, this is '{}'",
            said.trim()
        ))),
    }
}
