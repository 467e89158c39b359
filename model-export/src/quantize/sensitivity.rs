//! Which layers cost the graph's outputs most, and which of them to leave in float.
//!
//! Each layer is quantized alone, with all others in float, and the graph's outputs are measured on the
//! compared samples. Layers are ranked by that error; then the smallest number of the worst is looked
//! for that must stay in float for the outputs to reach a target, by doubling and then halving. Noise
//! of layers nearly adds up, so that the ranking holds for them together; the search measures the whole
//! graph each time and believes nothing else.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::graph::label;
use super::params::Flavour;
use super::plan::Plan;
use super::range::Method;
use super::work::Work;
use super::{Error, emit};

/// What the sensitivity pass is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// Signal to noise that the worst of the graph's outputs shall have, in dB. Without it,
    /// `max_float_layers` says how many layers stay in float. Default none.
    pub target_sqnr_db: Option<f64>,
    /// Most layers to leave in float. Default none: with a target as many as it needs, without one no
    /// layer.
    pub max_float_layers: Option<usize>,
    /// Seconds after which no further layer is measured. Those with the noisiest weights and inputs
    /// come first. Default 600.
    pub seconds: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self { target_sqnr_db: None, max_float_layers: None, seconds: 600 }
    }
}

/// What the sensitivity pass found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// What was asked for.
    pub search: Search,
    /// The measured layers, worst first.
    pub layers: Vec<LayerSensitivity>,
    /// Layers that the time did not suffice for.
    pub unmeasured: usize,
    /// The whole graph with the worst layers in float, in the order that it was tried.
    pub trials: Vec<FloatTrial>,
    /// Layers left in float, worst first.
    pub float_layers: Vec<String>,
    /// Whether the target was reached; none without one.
    pub reached: Option<bool>,
}

/// The share of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSensitivity {
    /// Name of the node.
    pub node: String,
    /// Signal to noise of the worst of the graph's outputs with this layer alone in INT8, in dB.
    pub sqnr_db: f64,
}

/// A graph with some layers in float.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FloatTrial {
    /// How many of the worst layers.
    pub float_layers: usize,
    /// Signal to noise of the worst output, in dB.
    pub sqnr_db: f64,
}

/// Runs the pass.
pub(super) fn search(
    work: &Work<'_>,
    plan: &Plan,
    method: Method,
    flavour: Flavour,
    search: &Search,
) -> Result<Sensitivity, Error> {
    let names: Vec<String> = plan.layers.iter().map(|l| label(work.index.node(l.node))).collect();
    let end = Instant::now() + Duration::from_secs(search.seconds);
    let mut layers = Vec::with_capacity(names.len());
    for i in suspects(work, plan, method, flavour)? {
        if Instant::now() >= end {
            break;
        }
        let others: Vec<String> =
            names.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, n)| n.clone()).collect();
        let sqnr_db = work.measure(&work.plan_without(&others)?, method, flavour)?;
        layers.push(LayerSensitivity { node: names[i].clone(), sqnr_db });
    }
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    let unmeasured = names.len() - layers.len();

    let limit = search.max_float_layers.unwrap_or(layers.len()).min(layers.len());
    let worst =
        |count: usize| -> Vec<String> { layers[..count].iter().map(|l| l.node.clone()).collect() };
    let mut trials = Vec::new();
    let (count, reached) = match search.target_sqnr_db {
        None => (search.max_float_layers.map_or(0, |_| limit), None),
        Some(target) => {
            let mut enough = |count: usize| -> Result<bool, Error> {
                let plan = work.plan_without(&worst(count))?;
                let sqnr_db = work.measure(&plan, method, flavour)?;
                trials.push(FloatTrial { float_layers: count, sqnr_db });
                Ok(sqnr_db >= target)
            };
            match least(limit, &mut enough)? {
                Some(count) => (count, Some(true)),
                None => (limit, Some(false)),
            }
        }
    };
    let float_layers = worst(count);
    let search = search.clone();
    Ok(Sensitivity { search, layers, unmeasured, trials, float_layers, reached })
}

/// Layers in the order of suspicion: the noisiest weights or input first.
fn suspects(
    work: &Work<'_>,
    plan: &Plan,
    method: Method,
    flavour: Flavour,
) -> Result<Vec<usize>, Error> {
    let ranges = work.gathered.ranges(plan, method, work.options.percentile);
    let (_, reports) = emit::emit(work.model, work.index, plan, &ranges, flavour, work.options)?;
    let quality: Vec<f64> = plan
        .layers
        .iter()
        .zip(&reports)
        .map(|(layer, report)| {
            let group = plan.tensors.get(&layer.input).map(|g| &plan.groups[*g].name);
            let input = group.and_then(|name| ranges.tensors.get(name));
            let input = input.map_or(f64::INFINITY, |t| t.range(flavour).sqnr_db);
            report.weight_sqnr_db.min(input)
        })
        .collect();
    let mut order: Vec<usize> = (0..plan.layers.len()).collect();
    order.sort_by(|a, b| quality[*a].total_cmp(&quality[*b]));
    Ok(order)
}

/// The least count up to `limit` that is enough, taking for granted that more is never worse; none
/// if the limit is not.
fn least(
    limit: usize,
    enough: &mut dyn FnMut(usize) -> Result<bool, Error>,
) -> Result<Option<usize>, Error> {
    let (mut short, mut next) = (None, 0);
    let found = loop {
        if enough(next)? {
            break next;
        }
        short = Some(next);
        if next == limit {
            return Ok(None);
        }
        next = (2 * next).max(1).min(limit);
    };
    let mut found = found;
    while let Some(low) = short
        && found - low > 1
    {
        let middle = low + (found - low) / 2;
        if enough(middle)? { found = middle } else { short = Some(middle) }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_sufficient_count_is_found() {
        for limit in 0..20 {
            for needed in 0..=limit + 1 {
                let mut tried = 0;
                let found = least(limit, &mut |n| {
                    tried += 1;
                    assert!(n <= limit);
                    Ok(n >= needed)
                });
                assert_eq!(found.unwrap(), (needed <= limit).then_some(needed));
                assert!(tried <= 11, "{tried} trials for {needed} of {limit}");
            }
        }
    }
}
