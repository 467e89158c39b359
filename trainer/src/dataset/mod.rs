//! Public video anomaly data sets, and a user's own, as one plain type.
//!
//! Each data set has its own file, which knows the folders it is published in, its protocol (which
//! videos train, which test) and how its ground truth counts frames. What comes out is a
//! [`Dataset`] in which all of that is settled: names, files, and frame labels in one convention,
//! 1-based with both ends included ([`Truth`]). `docs/reference/datasets.md` has the layouts, the
//! sources, and where the public files disagree with themselves.
//!
//! [`read`] wants everything that the protocol needs. [`check`](check::check) works with whatever
//! is there, annotations alone included, and compares it with the [`official`] totals.

pub mod arrays;
pub mod avenue;
pub mod check;
pub mod error;
pub mod folder;
pub mod folds;
mod known;
pub mod mask;
pub mod mat;
mod name;
pub mod official;
mod places;
pub mod ranges;
pub mod report;
pub mod shanghaitech;
pub mod survey;
pub mod truth;
pub mod ucf_crime;
pub mod ucsd;
pub mod xd_violence;

use std::path::Path;

use video::Clip;

pub use error::Error;
pub use mask::{Mask, Masks};
pub use name::Name;
pub use survey::Survey;
pub use truth::Truth;

/// A data set as its protocol divides it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// What it is, its split included: results under different titles are never comparable.
    pub title: String,
    /// Normal training videos: all that this project's method learns from.
    pub train_normal: Vec<Clip>,
    /// Abnormal training videos of the weakly supervised protocols, without frame labels. The
    /// method does not use them; comparisons with methods that do may.
    pub train_abnormal: Vec<Clip>,
    /// Test videos with their ground truth.
    pub test: Vec<TestClip>,
}

/// A test video and its ground truth.
#[derive(Debug, Clone, PartialEq)]
pub struct TestClip {
    /// The video.
    pub clip: Clip,
    /// Class as the data set names it, where it does: `Abuse`, `B2-G-0`.
    pub class: Option<String>,
    /// Which frames are abnormal.
    pub truth: Truth,
    /// Which pixels are, where the data set says.
    pub masks: Option<Masks>,
}

/// Reads a data set from the folder that holds it.
///
/// # Errors
/// [`Error`]: the first piece that the protocol needs and that is not there, with the documented
/// layout; a damaged annotation, with file and line.
pub fn read(name: Name, dir: &Path) -> Result<Dataset, Error> {
    survey(name, dir)?.complete()
}

/// What is there of a data set in a folder.
///
/// # Errors
/// [`Error`] if the folder is not there or an annotation is damaged; a missing piece is not one.
pub fn survey(name: Name, dir: &Path) -> Result<Survey, Error> {
    if !dir.is_dir() {
        return Err(Error::NoFolder { path: dir.into() });
    }
    match name {
        Name::Ped1 | Name::Ped2 => ucsd::survey(name, dir),
        Name::Avenue => avenue::survey(dir),
        Name::ShanghaiTech => shanghaitech::survey_original(dir),
        Name::ShanghaiTechWeak => shanghaitech::survey_weak(dir),
        Name::UcfCrime => ucf_crime::survey(dir),
        Name::XdViolence => xd_violence::survey(dir),
        Name::Folder => folder::survey(dir),
    }
}
