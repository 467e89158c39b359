//! Proving that a graph computes here what it computed on the host.

use model_bundle::Contents;
use model_bundle::manifest::{GoldenEntry, GoldenTensor};

use crate::{BackendKind, Error, Graph, TensorInfo};

/// Runs a golden entry of a bundle on its graph.
pub(crate) fn check(
    bundle: &dyn Contents,
    entry: &GoldenEntry,
    graph: &mut dyn Graph,
    backend: BackendKind,
) -> Result<(), Error> {
    let inputs: Vec<&GoldenTensor> = std::iter::once(&entry.input).chain(&entry.states).collect();
    let outputs: Vec<&GoldenTensor> = std::iter::once(&entry.output).chain(&entry.next).collect();
    matches(&entry.graph, "input", &inputs, graph.inputs())?;
    matches(&entry.graph, "output", &outputs, graph.outputs())?;
    let tensor = |tensor: &GoldenTensor| bundle.tensor(&tensor.blob).map_err(Error::Bundle);
    let values = inputs.iter().map(|input| tensor(input)).collect::<Result<Vec<_>, _>>()?;
    let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
    let mut found = vec![Vec::new(); outputs.len()];
    graph.run(&values, &mut found)?;
    let mut largest = 0.0f64;
    for (found, expected) in found.iter().zip(outputs) {
        let measured = difference(found, &tensor(expected)?);
        // Also refuses a difference that is not a number.
        if measured.is_nan() || measured > entry.tolerance {
            return Err(Error::Golden {
                graph: entry.graph.clone(),
                backend: backend.name(),
                measured,
                tolerance: entry.tolerance,
            });
        }
        largest = largest.max(measured);
    }
    log::debug!("golden {} on {backend}: {largest:.2e}", entry.graph);
    Ok(())
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

/// Checks that golden tensors are the graph's inputs or outputs.
fn matches(
    graph: &str,
    what: &str,
    golden: &[&GoldenTensor],
    infos: &[TensorInfo],
) -> Result<(), Error> {
    let size = |n: &u64| usize::try_from(*n).unwrap_or(usize::MAX);
    let expected: Vec<TensorInfo> = golden
        .iter()
        .map(|g| TensorInfo { name: g.name.clone(), shape: g.shape.iter().map(size).collect() })
        .collect();
    if infos == expected {
        return Ok(());
    }
    Err(Error::Shape {
        graph: graph.into(),
        tensor: what.into(),
        found: describe(infos),
        expected: describe(&expected),
    })
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
