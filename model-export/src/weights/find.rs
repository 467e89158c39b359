//! Where fetched weights lie.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Error;

/// Environment variable that names the directory of the weights files.
pub const DIRECTORY_VARIABLE: &str = "PAVAD_WEIGHTS";

/// Path of the weights file called `name`.
///
/// If [`DIRECTORY_VARIABLE`] is set, that directory alone is looked into; otherwise
/// `target/weights` of the current directory and its ancestors, then of the executable's.
///
/// # Errors
/// [`Error::NotFound`] with the directories looked into.
pub fn find(name: &str) -> Result<PathBuf, Error> {
    let set = env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty());
    let directories = match set {
        Some(directory) => vec![PathBuf::from(directory)],
        None => {
            let starts = [env::current_dir().ok(), env::current_exe().ok()];
            starts.iter().flatten().flat_map(|start| candidates(start)).collect()
        }
    };
    look(name, &directories)
}

/// `target/weights` of a directory and of all above it.
fn candidates(start: &Path) -> Vec<PathBuf> {
    start.ancestors().map(|directory| directory.join("target/weights")).collect()
}

fn look(name: &str, directories: &[PathBuf]) -> Result<PathBuf, Error> {
    let paths = directories.iter().map(|directory| directory.join(name));
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let mut searched: Vec<_> = directories.iter().filter(|d| d.is_dir()).collect();
        searched.dedup();
        let searched: Vec<_> = searched.iter().map(|d| d.display().to_string()).collect();
        let searched =
            if searched.is_empty() { "any target/weights".into() } else { searched.join(", ") };
        Error::NotFound { name: name.to_owned(), searched }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_searched_upwards() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        let near = root.path().join("a/target/weights");
        let far = root.path().join("target/weights");
        for directory in [&deep, &near, &far] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(far.join("w.pth"), b"far").unwrap();
        assert_eq!(look("w.pth", &candidates(&deep)).unwrap(), far.join("w.pth"));
        std::fs::write(near.join("w.pth"), b"near").unwrap();
        assert_eq!(look("w.pth", &candidates(&deep)).unwrap(), near.join("w.pth"));
        let text = look("other.pth", &candidates(&deep)).unwrap_err().to_string();
        assert!(text.contains("other.pth") && text.contains("cargo xtask weights"), "{text}");
    }
}
