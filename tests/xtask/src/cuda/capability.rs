//! Compute capabilities: which GPUs a build is for.

use crate::shell::Failure;

/// The compute capability that kernels are compiled for, as two digits or three: 87 is 8.7.
///
/// Kernels are PTX, which the driver compiles for its GPU at the first start, so a build runs on that
/// capability and on all later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability(u16);

impl Capability {
    /// The capability of the H100 and H200.
    pub const HOPPER: Self = Self(90);

    /// Reads `90`, or a list such as `80,87,90`, of which the lowest is taken: its PTX runs on the
    /// others as well.
    pub fn parse(list: &str) -> Result<Self, Failure> {
        let one = |text: &str| match text.trim().parse::<u16>() {
            // CUDA 13 compiles for 7.5 and later; candle's kernels for half precision want 8.0.
            Ok(number @ (80..=89 | 90 | 100 | 103 | 110 | 120 | 121)) => Ok(Self(number)),
            _ => Err(Failure::usage(format!(
                "cuda: --compute-cap {text}: a compute capability without the point is wanted: 80, 86, \
                 87 (Orin), 89, 90 (H100), 100, 103, 110, 120, 121, or a list of them"
            ))),
        };
        let all: Vec<Self> = list.split(',').map(one).collect::<Result<_, _>>()?;
        let lowest = all.into_iter().min_by_key(|capability| capability.0);
        lowest.ok_or_else(|| Failure::usage("cuda: --compute-cap needs a value"))
    }

    /// What `CUDA_COMPUTE_CAP` is set to.
    pub fn number(self) -> String {
        self.0.to_string()
    }

    /// The architecture as the assembler calls it.
    pub fn architecture(self) -> String {
        format!("sm_{}", self.0)
    }

    /// The oldest PTX version that has what the kernels use: 8.1 (CUDA 12.1, driver 530) has all of
    /// Ampere, Ada and Hopper, their FP8 conversions included. Blackwell's came with CUDA 13's own.
    pub fn ptx_version(self) -> &'static str {
        if self.0 <= 90 { "8.1" } else { "9.0" }
    }

    /// The oldest driver that takes that version.
    pub fn driver(self) -> &'static str {
        if self.0 <= 90 { "530" } else { "580" }
    }

    /// As NVIDIA writes it: 8.7.
    pub fn with_point(self) -> String {
        format!("{}.{}", self.0 / 10, self.0 % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_built_for_its_lowest() {
        assert_eq!(Capability::parse("90").unwrap(), Capability::HOPPER);
        assert_eq!(Capability::parse("87").unwrap(), Capability(87));
        assert_eq!(Capability::parse("90, 80,87").unwrap(), Capability(80));
        for wrong in ["", "8.7", "75", "90a", "87,", "x"] {
            let error = Capability::parse(wrong).unwrap_err();
            assert_eq!(error.code, 2, "{wrong}");
        }
    }

    #[test]
    fn names_are_those_of_the_assembler() {
        let names = |n: u16| {
            let c = Capability(n);
            (c.number(), c.architecture(), c.ptx_version())
        };
        assert_eq!(names(87), ("87".into(), "sm_87".into(), "8.1"));
        assert_eq!(names(90), ("90".into(), "sm_90".into(), "8.1"));
        assert_eq!(names(100), ("100".into(), "sm_100".into(), "9.0"));
        assert_eq!(Capability(87).with_point(), "8.7");
        assert_eq!(Capability(121).with_point(), "12.1");
    }
}
