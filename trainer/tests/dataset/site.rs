//! Making small files as the data sets have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use video::{Frame, Writer};

/// A folder that disappears with the test.
pub struct Site(TempDir);

impl Site {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file whose folder is there.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn text(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        let path = self.dir().join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// `frames` grey pictures of 8 × 6 pixels, `001.tif` and so on.
    pub fn pictures(&self, folder: &str, extension: &str, frames: usize) {
        for frame in 1..=frames {
            let path = self.path(&format!("{folder}/{frame:03}.{extension}"));
            image::GrayImage::from_pixel(8, 6, image::Luma([frame as u8])).save(path).unwrap();
        }
    }

    /// A mask for each frame: one white pixel where `abnormal`.
    pub fn masks(&self, folder: &str, extension: &str, abnormal: &[bool]) {
        for (frame, abnormal) in (1..).zip(abnormal) {
            let mut mask = image::GrayImage::new(8, 6);
            if *abnormal {
                mask.put_pixel(3, 2, image::Luma([255]));
            }
            mask.save(self.path(&format!("{folder}/{frame:03}.{extension}"))).unwrap();
        }
    }

    /// A video file.
    pub fn video(&self, name: &str, frames: usize) {
        let mut writer = Writer::create(&self.path(name), 32, 32, 10.0).unwrap();
        for frame in 0..frames {
            let luma = vec![40 + frame as u8; 32 * 32];
            writer.write(&Frame::from_luma(32, 32, &luma).unwrap()).unwrap();
        }
        writer.finish().unwrap();
    }

    /// Frame labels as NumPy writes them.
    pub fn npy(&self, name: &str, labels: &[u8]) {
        let shape = labels.len();
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape},), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(labels);
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

/// A file of the golden folder.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dataset").join(name)
}

/// The exit code, standard output and standard error of `trainer dataset check`.
pub fn run(name: &str, dir: &Path, options: &[&str]) -> (i32, String, String) {
    command("check", name, dir, options)
}

/// The same of another command of `trainer dataset`.
pub fn command(verb: &str, name: &str, dir: &Path, options: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["dataset", verb, name])
        .arg(dir)
        .args(options)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
