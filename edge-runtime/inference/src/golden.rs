//! Proving that a graph computes here what it computed on the host.

use model_bundle::Bundle;
use model_bundle::manifest::{GoldenEntry, GoldenTensor};

use crate::{BackendKind, Error, Graph, TensorInfo};

/// Runs a golden entry of a bundle on its graph.
pub(crate) fn check(
    bundle: &Bundle,
    entry: &GoldenEntry,
    graph: &mut dyn Graph,
    backend: BackendKind,
) -> Result<(), Error> {
    matches(&entry.graph, "input", &entry.input, graph.inputs())?;
    matches(&entry.graph, "output", &entry.output, graph.outputs())?;
    let input = bundle.tensor(&entry.input.blob);
    let expected = bundle.tensor(&entry.output.blob);
    let mut outputs = vec![Vec::new()];
    graph.run(&[&input], &mut outputs)?;
    let measured = difference(&outputs[0], &expected);
    // Also refuses a difference that is not a number.
    if measured <= entry.tolerance {
        log::debug!("golden {} on {backend}: {measured:.2e}", entry.graph);
        return Ok(());
    }
    Err(Error::Golden {
        graph: entry.graph.clone(),
        backend: backend.name(),
        measured,
        tolerance: entry.tolerance,
    })
}

/// Mean absolute difference divided by the mean absolute expected value; by one if that is zero.
/// Infinite if the lengths differ.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() || found.is_empty() {
        return f64::INFINITY;
    }
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let off = sum(&mut found.iter().zip(expected).map(|(&a, &b)| (a as f64 - b as f64).abs()));
    let size = sum(&mut expected.iter().map(|&b| (b as f64).abs()));
    if size > 0.0 { off / size } else { off / found.len() as f64 }
}

/// Checks that a golden tensor is the graph's one input or output.
fn matches(
    graph: &str,
    what: &str,
    golden: &GoldenTensor,
    infos: &[TensorInfo],
) -> Result<(), Error> {
    let shape: Vec<usize> =
        golden.shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    match infos {
        [info] if info.name == golden.name && info.shape == shape => Ok(()),
        infos => Err(Error::Shape {
            graph: graph.into(),
            tensor: what.into(),
            found: describe(infos),
            expected: format!("`{}` {shape:?}", golden.name),
        }),
    }
}

/// Names and shapes, for messages.
pub(crate) fn describe(infos: &[TensorInfo]) -> String {
    let one = |info: &TensorInfo| format!("`{}` {:?}", info.name, info.shape);
    match infos {
        [] => "none".into(),
        infos => infos.iter().map(one).collect::<Vec<_>>().join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_is_relative() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(difference(&[1.0, -2.0], &[2.0, -2.0]), 0.25);
        assert_eq!(difference(&[1.0, 2.0], &[0.0, 0.0]), 1.5);
        assert_eq!(difference(&[1.0], &[1.0, 2.0]), f64::INFINITY);
        assert!(difference(&[f32::NAN], &[1.0]).is_nan());
    }
}
