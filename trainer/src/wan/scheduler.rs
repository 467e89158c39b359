//! UniPC for flow matching, diffusers' `UniPCMultistepScheduler` as Wan configures it.
//!
//! UniPC (arXiv 2302.04867) in its data-prediction form: a predictor step, and a corrector that
//! improves the last step's result with the velocity that has just been computed there. With flow
//! matching a sample is `(1 − σ) · data + σ · noise`, so α = 1 − σ and the network's velocity v gives
//! the data as `x − σ · v`. The scalar arithmetic is in float32 in the reference's order: the first σ
//! is 1 − 10⁻⁶, and α is what rounding leaves of it.

use std::collections::VecDeque;
use std::path::Path;

use candle_core::{DType, Tensor};

use super::error::{Error, Result};
use super::fields::Fields;

/// What the first σ is kept below 1 by: the logarithm of α would be infinite.
const SIGMA_MARGIN: f64 = 1e-6;

/// `scheduler/scheduler_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// Time steps of the training; time step = σ times this.
    pub train_timesteps: usize,
    /// Moves the steps towards the noise.
    pub flow_shift: f64,
    /// Highest order of the solver.
    pub order: usize,
    /// `bh2` (B(h) = eʰ − 1) or `bh1` (B(h) = h).
    pub bh2: bool,
    /// Whether the last steps have a lower order.
    pub lower_order_final: bool,
    /// Steps after which the corrector is not applied.
    pub disable_corrector: Vec<usize>,
    /// Whether the last σ is that of the last step rather than zero.
    pub final_sigma_min: bool,
    /// What the last step's σ is stretched to.
    pub shift_terminal: Option<f64>,
}

impl SchedulerConfig {
    /// Reads `scheduler_config.json`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn read(path: &Path) -> Result<Self> {
        Fields::read(path)?.whole(Self::from_fields)
    }

    /// Parses what was read from `path`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Fields::parse(path, bytes)?.whole(Self::from_fields)
    }

    fn from_fields(fields: &Fields) -> Result<Self> {
        let class = fields.text("_class_name", "UniPCMultistepScheduler")?;
        if class != "UniPCMultistepScheduler" {
            let problem = format!("{class} is not supported, UniPCMultistepScheduler is");
            return Err(fields.problem("_class_name", problem));
        }
        let flow = "only flow matching is supported (use_flow_sigmas true, prediction_type \
                    flow_prediction, predict_x0 true)";
        if fields.text("prediction_type", "epsilon")? != "flow_prediction" {
            return Err(fields.problem("prediction_type", flow));
        }
        for (field, default) in [("use_flow_sigmas", false), ("predict_x0", true)] {
            if !fields.flag(field, default)? {
                return Err(fields.problem(field, flow));
            }
        }
        for field in [
            "thresholding",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "use_dynamic_shifting",
            "solver_p",
        ] {
            fields.refuse(field, "Wan's scheduler does not use it")?;
        }
        // Of the noise schedules that flow matching replaces, or of what was refused above.
        fields.ignore(&[
            "beta_start",
            "beta_end",
            "beta_schedule",
            "trained_betas",
            "dynamic_thresholding_ratio",
            "sample_max_value",
            "timestep_spacing",
            "steps_offset",
            "rescale_betas_zero_snr",
            "time_shift_type",
            "sigma_min",
            "sigma_max",
        ]);
        let solver = fields.text("solver_type", "bh2")?;
        if !["bh1", "bh2", "midpoint", "heun", "logrho"].contains(&solver.as_str()) {
            return Err(fields.problem("solver_type", format!("{solver} is not bh1 or bh2")));
        }
        let last = fields.text("final_sigmas_type", "zero")?;
        if !["zero", "sigma_min"].contains(&last.as_str()) {
            let problem = format!("{last} is not zero or sigma_min");
            return Err(fields.problem("final_sigmas_type", problem));
        }
        if solver == "bh1" && last == "zero" {
            let problem = "bh1 divides by the last step's infinite length; it needs \
                           final_sigmas_type sigma_min, or take bh2";
            return Err(fields.problem("solver_type", problem));
        }
        let flow_shift = fields.number("flow_shift", 1.0)?;
        if !(flow_shift > 0.0 && flow_shift.is_finite()) {
            return Err(fields.problem("flow_shift", "a positive number is expected"));
        }
        let order = fields.size("solver_order", 2)?;
        if order > 8 {
            return Err(fields.problem("solver_order", "at most 8 is supported"));
        }
        let disabled = fields.numbers("disable_corrector", &[])?;
        Ok(Self {
            train_timesteps: fields.size("num_train_timesteps", 1000)?,
            flow_shift,
            order,
            // The reference takes the names of other solvers for bh2.
            bh2: solver != "bh1",
            lower_order_final: fields.flag("lower_order_final", true)?,
            disable_corrector: disabled.into_iter().map(|step| step as usize).collect(),
            final_sigma_min: last == "sigma_min",
            // Zero is no terminal value in the reference.
            shift_terminal: fields.optional_number("shift_terminal")?.filter(|t| *t != 0.0),
        })
    }

    /// Noise levels of a run of `steps` steps, one more than steps, in float32.
    fn sigmas(&self, steps: usize) -> Vec<f64> {
        let last = 1.0 / self.train_timesteps as f64;
        let delta = (last - 1.0) / steps as f64;
        let mut sigmas: Vec<f64> = (0..steps)
            .map(|i| i as f64 * delta + 1.0)
            .map(|s| self.flow_shift * s / (1.0 + (self.flow_shift - 1.0) * s))
            .collect();
        if let (Some(terminal), Some(end)) = (self.shift_terminal, sigmas.last().copied()) {
            let factor = (1.0 - end) / (1.0 - terminal);
            sigmas.iter_mut().for_each(|s| *s = 1.0 - (1.0 - *s) / factor);
        }
        if let Some(first) = sigmas.first_mut().filter(|s| (**s - 1.0).abs() < SIGMA_MARGIN) {
            *first -= SIGMA_MARGIN;
        }
        sigmas
    }
}

/// A run of the solver.
#[derive(Debug)]
pub struct UniPc {
    config: SchedulerConfig,
    sigmas: Vec<f32>,
    timesteps: Vec<i64>,
    /// Predicted data of the last steps, newest last, at most `order`.
    data: VecDeque<Tensor>,
    /// Sample from which the last predictor step went out, and its order.
    last: Option<(Tensor, usize)>,
    step: usize,
}

impl UniPc {
    /// A run of `steps` steps.
    ///
    /// # Errors
    /// [`Error::Request`] if there are no steps, or more than training had.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        if steps == 0 || steps > config.train_timesteps {
            let problem = format!("{steps} steps; 1 to {} are possible", config.train_timesteps);
            return Err(Error::Request { what: "steps", problem });
        }
        let sigmas = config.sigmas(steps);
        let timesteps = sigmas.iter().map(|s| (s * config.train_timesteps as f64) as i64).collect();
        let end = if config.final_sigma_min { sigmas[steps - 1] } else { 0.0 };
        let sigmas = sigmas.into_iter().chain([end]).map(|s| s as f32).collect();
        let config = config.clone();
        Ok(Self { config, sigmas, timesteps, data: VecDeque::new(), last: None, step: 0 })
    }

    /// Time steps that the transformer is told, whole numbers.
    pub fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    /// Noise levels, one more than there are steps.
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// From the sample and the velocity there to the next, less noisy sample (float32).
    ///
    /// # Errors
    /// What the device said.
    pub fn step(&mut self, velocity: &Tensor, sample: &Tensor) -> Result<Tensor> {
        let step = self.step;
        let sample = sample.to_dtype(DType::F32)?;
        let velocity = velocity.to_dtype(DType::F32)?;
        let data = (&sample - (velocity * f64::from(self.sigmas[step]))?)?;
        let sample = match &self.last {
            Some((from, order)) if !self.config.disable_corrector.contains(&(step - 1)) => {
                self.correct(from, &data, *order)?
            }
            _ => sample,
        };
        if self.data.len() == self.config.order {
            self.data.pop_front();
        }
        self.data.push_back(data);

        let left = self.timesteps.len() - step;
        let highest = if self.config.lower_order_final { left } else { usize::MAX };
        // As many steps as there were to look back at.
        let order = self.config.order.min(highest).min(step + 1);
        let next = self.predict(&sample, order)?;
        self.last = Some((sample, order));
        self.step += 1;
        Ok(next)
    }

    /// The predictor: from `x` at this step to the next.
    fn predict(&self, x: &Tensor, order: usize) -> Result<Tensor> {
        let rule = Rule::new(self, self.step, order);
        let weights = match order {
            0 | 1 => vec![],
            // The paper's simplification for order 2.
            2 => vec![0.5],
            _ => solve(&rule.powers, &rule.b, order - 1),
        };
        let mut next = rule.base(x, self.newest(0))?;
        if let Some(differences) = rule.differences(self, &weights, 0)? {
            next = (next - (differences * rule.factor())?)?;
        }
        Ok(next)
    }

    /// The corrector: the sample at this step again, from `x` at the step before, with the data
    /// predicted here.
    fn correct(&self, x: &Tensor, data: &Tensor, order: usize) -> Result<Tensor> {
        let rule = Rule::new(self, self.step - 1, order);
        // The paper's simplification for order 1.
        let weights = if order == 1 { vec![0.5] } else { solve(&rule.powers, &rule.b, order) };
        let base = rule.base(x, self.newest(0))?;
        let change = ((data - self.newest(0))? * f64::from(weights[order - 1]))?;
        let change = match rule.differences(self, &weights[..order - 1], 0)? {
            Some(differences) => (differences + change)?,
            None => change,
        };
        Ok((base - (change * rule.factor())?)?)
    }

    /// Predicted data, `back` steps before the newest.
    fn newest(&self, back: usize) -> &Tensor {
        &self.data[self.data.len() - 1 - back]
    }

    fn lambda(&self, step: usize) -> f32 {
        let sigma = self.sigmas[step];
        (1.0 - sigma).ln() - sigma.ln()
    }
}

/// The coefficients of a step from `sigmas[from]` to `sigmas[from + 1]`.
struct Rule {
    alpha: f32,
    /// σ of the target over σ of the start.
    ratio: f32,
    phi_1: f32,
    b_h: f32,
    /// (λᵢ − λ₀) / h for earlier steps, newest first, then 1.
    r: Vec<f32>,
    /// Rows of the Vandermonde matrix of `r`.
    powers: Vec<Vec<f32>>,
    b: Vec<f32>,
}

impl Rule {
    fn new(run: &UniPc, from: usize, order: usize) -> Self {
        let (sigma, sigma_0) = (run.sigmas[from + 1], run.sigmas[from]);
        let lambda_0 = run.lambda(from);
        let h = run.lambda(from + 1) - lambda_0;
        let mut r: Vec<f32> = (1..order).map(|i| (run.lambda(from - i) - lambda_0) / h).collect();
        r.push(1.0);
        let hh = -h;
        let phi_1 = hh.exp_m1();
        let b_h = if run.config.bh2 { hh.exp_m1() } else { hh };
        let mut phi_k = phi_1 / hh - 1.0;
        let mut factorial = 1.0;
        let (mut powers, mut b) = (Vec::new(), Vec::new());
        for i in 1..=order {
            powers.push(r.iter().map(|r| r.powi(i as i32 - 1)).collect());
            b.push(phi_k * factorial / b_h);
            factorial *= (i + 1) as f32;
            phi_k = phi_k / hh - 1.0 / factorial;
        }
        Self { alpha: 1.0 - sigma, ratio: sigma / sigma_0, phi_1, b_h, r, powers, b }
    }

    /// What the step would be if the data stayed `m`.
    fn base(&self, x: &Tensor, m: &Tensor) -> Result<Tensor> {
        Ok(((x * f64::from(self.ratio))? - (m * f64::from(self.alpha * self.phi_1))?)?)
    }

    /// What sums of differences are multiplied by before they are taken off.
    fn factor(&self) -> f64 {
        f64::from(self.alpha * self.b_h)
    }

    /// Weighted divided differences of the data to earlier steps; `None` without weights.
    fn differences(&self, run: &UniPc, weights: &[f32], newest: usize) -> Result<Option<Tensor>> {
        let m_0 = run.newest(newest);
        let mut sum: Option<Tensor> = None;
        for (i, weight) in weights.iter().enumerate() {
            let difference = (run.newest(newest + i + 1) - m_0)?;
            let term = ((difference / f64::from(self.r[i]))? * f64::from(*weight))?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        Ok(sum)
    }
}

/// Solves the first `n` rows and columns of `a · x = b` by elimination with row exchanges.
fn solve(a: &[Vec<f32>], b: &[f32], n: usize) -> Vec<f32> {
    let mut a: Vec<Vec<f32>> = (0..n).map(|i| [&a[i][..n], &b[i..=i]].concat()).collect();
    for column in 0..n {
        let largest = (column..n)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
            .unwrap_or(column);
        a.swap(column, largest);
        let pivot = a[column].clone();
        for row in &mut a[column + 1..] {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f32 = (i + 1..n).map(|j| a[i][j] * x[j]).sum();
        x[i] = (a[i][n] - known) / a[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wan() -> SchedulerConfig {
        let text = br#"{"_class_name": "UniPCMultistepScheduler", "flow_shift": 5.0,
            "prediction_type": "flow_prediction", "use_flow_sigmas": true}"#;
        SchedulerConfig::from_fields(&Fields::parse(Path::new("s.json"), text).unwrap()).unwrap()
    }

    #[test]
    fn published_time_steps() {
        // diffusers 0.42.1, 25 steps, shift 5.
        let run = UniPc::new(&wan(), 25).unwrap();
        assert_eq!(run.timesteps()[..3], [999, 991, 982]);
        assert_eq!(run.timesteps()[23..], [305, 175]);
        assert_eq!(run.sigmas()[25], 0.0);
    }

    #[test]
    fn straight_paths_end_at_the_data() {
        // If the velocity is noise − data everywhere, every step is exact.
        let device = candle_core::Device::Cpu;
        let noise = Tensor::new(&[0.3f32, -1.2, 2.0], &device).unwrap();
        let data = Tensor::new(&[1.0f32, 0.5, -0.25], &device).unwrap();
        let velocity = (&noise - &data).unwrap();
        let mut run = UniPc::new(&wan(), 10).unwrap();
        let mut x = noise;
        for _ in 0..10 {
            x = run.step(&velocity, &x).unwrap();
        }
        let difference = (x - data).unwrap().abs().unwrap().max(0).unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-4);
    }

    #[test]
    fn elimination_exchanges_rows() {
        let a = vec![vec![0.0, 2.0], vec![4.0, 1.0]];
        assert_eq!(solve(&a, &[6.0, 11.0], 2), [2.0, 3.0]);
    }

    #[test]
    fn what_is_no_flow_matching_is_refused() {
        for (text, field) in [
            (r#"{"prediction_type": "epsilon"}"#, "prediction_type"),
            (r#"{"prediction_type": "flow_prediction"}"#, "use_flow_sigmas"),
            (r#"{"_class_name": "EulerDiscreteScheduler"}"#, "_class_name"),
        ] {
            let fields = Fields::parse(Path::new("s.json"), text.as_bytes()).unwrap();
            let error = SchedulerConfig::from_fields(&fields).unwrap_err().to_string();
            assert!(error.starts_with(&format!("s.json: {field}: ")), "{error}");
        }
    }
}
