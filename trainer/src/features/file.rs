//! One file of features: its axes by its header, and its values.

use std::path::Path;

use super::crops::{Axes, axes};
use super::{CropLayout, Crops, Error};
use crate::npy;

/// Reads one file of features and checks its values. `layout` says the order of the axes where the
/// shape alone does not.
///
/// # Errors
/// [`Error::Missing`], [`Error::Io`]; [`Error::Damaged`] and [`Error::Shape`] if it does not serve or a
/// value is not finite.
pub fn read(
    path: &Path,
    name: &str,
    crops: usize,
    layout: Option<CropLayout>,
) -> Result<Crops, Error> {
    let (shape, axes) = check(path, crops, layout)?;
    let Some(layout) = axes.layout.or(layout).or((crops == 1).then_some(CropLayout::CropsFirst))
    else {
        let problem = "either of the first two dimensions may be the crops; say which with \
                       --crop-layout"
            .to_string();
        return Err(Error::Shape { path: path.to_path_buf(), shape, problem });
    };
    let array = npy::read(path)?;
    if array.shape != shape {
        let problem = "has changed while it was in use; run again".to_string();
        return Err(Error::Damaged { path: path.to_path_buf(), problem });
    }
    if let Some(at) = array.values.iter().position(|v| !v.is_finite()) {
        let mut rest = at;
        let mut place: Vec<usize> = (shape.iter().rev())
            .map(|&size| {
                let index = rest % size;
                rest /= size;
                index
            })
            .collect();
        place.reverse();
        let problem = format!("value {} at {place:?}; extract it again", array.values[at]);
        return Err(Error::Shape { path: path.to_path_buf(), shape, problem });
    }
    Ok(Crops::new(name, &axes, layout, array.values))
}

/// Shape and axes of a file by its header.
///
/// # Errors
/// As [`read`], but for the values.
pub(super) fn check(
    path: &Path,
    crops: usize,
    layout: Option<CropLayout>,
) -> Result<(Vec<usize>, Axes), Error> {
    let header = npy::header(path)?;
    let shape = header.shape;
    let fail = |problem| Error::Shape { path: path.to_path_buf(), shape: shape.clone(), problem };
    if !header.dtype.is_float() {
        return Err(fail(format!("{:?} values; features are float16, 32 or 64", header.dtype)));
    }
    let axes = axes(&shape, crops).map_err(fail)?;
    match (axes.layout, layout) {
        // What was said counts only against a shape that says otherwise.
        (Some(found), Some(said)) if found != said && crops > 1 => {
            Err(fail(format!("does not have its {crops} crops where --crop-layout says")))
        }
        _ => Ok((shape, axes)),
    }
}
