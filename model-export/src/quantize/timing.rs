//! Size and speed of a quantized graph beside the float one.

use std::time::{Duration, Instant};

use inference::{Backend, Graph};
use serde::Serialize;

use super::Error;

/// Runs of each graph that are timed, at most.
const RUNS: usize = 25;
/// After this long no further pair of runs is started, once there are three.
const TIME: Duration = Duration::from_secs(20);

/// The float graph beside the quantized one, on one engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// Engine, where it was found, threads.
    pub engine: String,
    /// Runs of each that the medians are of; one before them is not counted.
    pub runs: usize,
    /// Size of the float graph in bytes.
    pub float_bytes: usize,
    /// Size of the quantized graph in bytes.
    pub int8_bytes: usize,
    /// Median of a run of the float graph in milliseconds.
    pub float_ms: f64,
    /// Median of a run of the quantized graph in milliseconds.
    pub int8_ms: f64,
}

/// Runs both graphs in turn, so that what else the machine does meets both alike.
///
/// # Errors
/// If a graph does not load or run.
pub fn time(
    float: &[u8],
    int8: &[u8],
    sample: &[Vec<f32>],
    backend: &dyn Backend,
) -> Result<Timing, Error> {
    let mut graphs = [backend.load("fp32", float)?, backend.load("int8", int8)?];
    let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
    let mut outputs = graphs.each_ref().map(|g| vec![Vec::new(); g.outputs().len()]);
    let run = |graph: &mut Box<dyn Graph>, outputs: &mut Vec<Vec<f32>>| {
        let start = Instant::now();
        graph.run(&inputs, outputs)?;
        Ok::<f64, Error>(1000.0 * start.elapsed().as_secs_f64())
    };
    let mut times = [Vec::new(), Vec::new()];
    let end = Instant::now() + TIME;
    for round in 0..=RUNS {
        for ((graph, outputs), times) in graphs.iter_mut().zip(&mut outputs).zip(&mut times) {
            let milliseconds = run(graph, outputs)?;
            if round > 0 {
                times.push(milliseconds);
            }
        }
        if round >= 3 && Instant::now() >= end {
            break;
        }
    }
    let runs = times[0].len();
    let [float_ms, int8_ms] = times.map(median);
    let (engine, float_bytes, int8_bytes) = (backend.describe(), float.len(), int8.len());
    Ok(Timing { engine, runs, float_bytes, int8_bytes, float_ms, int8_ms })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
