//! What is tried and measured once the samples have been gathered.

use inference::Backend;
use serde::Serialize;
use tract_onnx::pb::ModelProto;

use super::calibrate::{Gathered, Ranges};
use super::graph::Index;
use super::params::Flavour;
use super::plan::{Plan, plan};
use super::range::Method;
use super::{Error, Options, Quantized, Report, emit, report, sensitivity};

/// A float model and what the samples told of it.
pub(super) struct Work<'a> {
    pub model: &'a ModelProto,
    pub index: &'a Index<'a>,
    pub gathered: Gathered,
    pub options: &'a Options,
    pub backend: &'a dyn Backend,
}

/// What a way to choose ranges gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodTrial {
    /// The method.
    pub method: Method,
    /// Signal to noise of the worst of the graph's outputs, in dB.
    pub sqnr_db: f64,
}

/// A method, and what was tried to find it.
pub(super) struct Chosen {
    pub method: Method,
    pub trials: Vec<MethodTrial>,
}

impl Work<'_> {
    /// The method that the options name or, for [`Method::Auto`], the one that measures best.
    pub fn method(&self, plan: &Plan, flavour: Flavour) -> Result<Chosen, Error> {
        if self.options.method != Method::Auto {
            return Ok(Chosen { method: self.options.method, trials: Vec::new() });
        }
        let mut trials = Vec::new();
        for method in Method::MEASURED {
            let sqnr_db = self.measure(plan, method, flavour)?;
            trials.push(MethodTrial { method, sqnr_db });
        }
        // On a tie the simpler stays.
        let best = trials
            .iter()
            .reduce(|best, next| if next.sqnr_db > best.sqnr_db { next } else { best });
        Ok(Chosen { method: best.map_or(Method::Best, |b| b.method), trials })
    }

    /// The plan with these nodes in float, beside those that the options name.
    pub fn plan_without(&self, float: &[String]) -> Result<Plan, Error> {
        let mut options = self.options.clone();
        options.keep_float.extend_from_slice(float);
        plan(self.index, &options)
    }

    /// Signal to noise of the worst output of the graph quantized by this plan, in dB.
    pub fn measure(&self, plan: &Plan, method: Method, flavour: Flavour) -> Result<f64, Error> {
        let ranges = self.ranges(plan, method);
        let (quantized, _) =
            emit::emit(self.model, self.index, plan, &ranges, flavour, self.options)?;
        let outputs = report::outputs(self.model, &quantized, &self.gathered.kept)?;
        Ok(outputs.iter().map(|o| o.sqnr_db).fold(f64::INFINITY, f64::min))
    }

    /// The quantized model with its report.
    pub fn quantize(&self, plan: &Plan, flavour: Flavour) -> Result<Quantized, Error> {
        let Chosen { method, trials } = self.method(plan, flavour)?;
        let found = match &self.options.sensitivity {
            Some(search) => Some(sensitivity::search(self, plan, method, flavour, search)?),
            None => None,
        };
        let reduced = match &found {
            Some(found) => Some(self.plan_without(&found.float_layers)?),
            None => None,
        };
        let plan = reduced.as_ref().unwrap_or(plan);
        let ranges = self.ranges(plan, method);
        let (model, mut layers) =
            emit::emit(self.model, self.index, plan, &ranges, flavour, self.options)?;
        let kept = &self.gathered.kept;
        let outputs = report::outputs(self.model, &model, kept)?;
        if let Some(sample) = kept.last().filter(|_| self.options.layer_errors) {
            report::layer_errors(
                self.model,
                &model,
                plan,
                &mut layers,
                sample,
                self.options,
                self.backend,
            )?;
        }
        let report = Report {
            flavour,
            samples: ranges.samples,
            compared_samples: kept.len(),
            method,
            methods: trials,
            equalized: Vec::new(),
            sensitivity: found,
            tensors: report::tensors(plan, &ranges, flavour),
            float_layers: plan.float_layers.clone(),
            layers,
            outputs,
        };
        Ok(Quantized { model, report })
    }

    fn ranges(&self, plan: &Plan, method: Method) -> Ranges {
        self.gathered.ranges(plan, method, self.options.percentile)
    }
}
