//! Flags that stand over the semantic detector's configuration.

use clap::Args;
use trainer::detector::DetectorConfig;

use crate::commands::Usage;

/// Weights and strengths of the losses, instead of the configuration's.
#[derive(Debug, Clone, Default, Args)]
pub struct LossFlags {
    /// Weight λ1 of the domain alignment.
    #[arg(long, value_name = "X")]
    lambda1: Option<f64>,
    /// Weight λ2 of the usage-aware memory update.
    #[arg(long, value_name = "X")]
    lambda2: Option<f64>,
    /// Exponent β of a slot's inverse usage.
    #[arg(long, value_name = "X")]
    beta: Option<f64>,
    /// Strength of the gradient reversal.
    #[arg(long, value_name = "X")]
    grl_strength: Option<f64>,
    /// Weight of one of UR-DMU's auxiliary terms, such as triplet=0; may be repeated. Terms:
    /// abnormal_in_a, abnormal_not_in_n, normal_in_n, normal_not_in_a, triplet, kl, distance; and
    /// instances, which is not UR-DMU's and needs cells.
    #[arg(long, value_name = "TERM=X")]
    weight: Vec<String>,
}

/// Parts of DARM to leave out.
#[derive(Debug, Clone, Default, Args)]
pub struct Switches {
    /// Train the semantic detector without domain alignment.
    #[arg(long)]
    no_da: bool,
    /// Train the semantic detector without the usage-aware memory update.
    #[arg(long)]
    no_upd: bool,
}

impl Switches {
    /// Puts the flags over the configuration.
    pub fn apply(&self, config: &mut DetectorConfig) {
        config.use_da &= !self.no_da;
        config.use_upd &= !self.no_upd;
    }
}

impl LossFlags {
    /// Puts the flags over the configuration and checks the whole.
    pub fn apply(&self, config: &mut DetectorConfig) -> Result<(), Usage> {
        for (flag, value) in [
            (self.lambda1, &mut config.lambda1),
            (self.lambda2, &mut config.lambda2),
            (self.beta, &mut config.beta),
            (self.grl_strength, &mut config.grl_strength),
        ] {
            *value = flag.unwrap_or(*value);
        }
        for text in &self.weight {
            let (term, value) = text
                .split_once('=')
                .and_then(|(term, value)| Some((term, value.parse().ok()?)))
                .ok_or_else(|| Usage(format!("--weight {text}: expected TERM=NUMBER")))?;
            let weights = &mut config.weights;
            let weight = match term {
                "abnormal_in_a" => &mut weights.abnormal_in_a,
                "abnormal_not_in_n" => &mut weights.abnormal_not_in_n,
                "normal_in_n" => &mut weights.normal_in_n,
                "normal_not_in_a" => &mut weights.normal_not_in_a,
                "triplet" => &mut weights.triplet,
                "kl" => &mut weights.kl,
                "distance" => &mut weights.distance,
                "instances" => &mut weights.instances,
                _ => return Err(Usage(format!("--weight {text}: no term {term}; see --help"))),
            };
            *weight = value;
        }
        config.validate().map_err(|e| Usage(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_over_the_configuration() {
        let mut config = DetectorConfig { lambda2: 0.7, ..DetectorConfig::default() };
        let weight = vec!["kl=0".into(), "triplet=0.5".into()];
        let flags = LossFlags { lambda1: Some(0.2), weight, ..LossFlags::default() };
        flags.apply(&mut config).unwrap();
        assert_eq!((config.lambda1, config.lambda2), (0.2, 0.7));
        assert_eq!((config.weights.kl, config.weights.triplet), (0.0, 0.5));
        Switches { no_da: true, no_upd: false }.apply(&mut config);
        assert!(!config.use_da && config.use_upd);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refuse =
            |flags: LossFlags| flags.apply(&mut DetectorConfig::default()).unwrap_err().to_string();
        let weight = |text: &str| LossFlags { weight: vec![text.into()], ..Default::default() };
        assert!(refuse(weight("kl")).contains("TERM=NUMBER"));
        assert!(refuse(weight("kk=1")).contains("no term kk"));
        assert!(refuse(weight("kl=-1")).contains("weights.kl"));
        assert!(refuse(LossFlags { beta: Some(f64::NAN), ..Default::default() }).contains("beta"));
    }
}
