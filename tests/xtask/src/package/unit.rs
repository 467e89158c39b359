//! The systemd unit: whether systemd understands it, and how exposed the service is by its rules.

use std::path::Path;

use super::NAME;
use crate::debian_root::DebianRoot;
use crate::shell::{Failure, command};

/// Where the package puts it.
const UNIT: &str = "lib/systemd/system/pavad-edge.service";
/// Highest exposure that is accepted, in tenths, as `systemd-analyze --threshold` takes it.
const EXPOSURE: u32 = 30;

/// The exposure that systemd computes, if it is low enough.
pub fn security(tree: &Path) -> Result<String, Failure> {
    let unit = tree.join(UNIT);
    let mut analyze = command("systemd-analyze", ["security", "--offline=true", "--no-pager"]);
    analyze.arg(format!("--threshold={EXPOSURE}")).arg(&unit);
    let out = analyze
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot start systemd-analyze: {e}")))?;
    let said = String::from_utf8_lossy(&out.stdout);
    let verdict = said.lines().find_map(|line| line.trim().strip_prefix("→ ")).unwrap_or_default();
    // The verdict is asked for too: without one nothing has been looked at.
    if out.status.success() && verdict.contains("exposure level") {
        return Ok(verdict.trim_end_matches(|c: char| !c.is_ascii()).trim().to_owned());
    }
    // What adds to it stands in lines with a cross.
    let reasons: Vec<&str> = said.lines().filter(|line| line.starts_with('✗')).collect();
    Err(Failure::work(format!(
        "{UNIT}: {verdict} (at most {}.{} is accepted): {}{}",
        EXPOSURE / 10,
        EXPOSURE % 10,
        reasons.join("; "),
        String::from_utf8_lossy(&out.stderr)
    )))
}

/// Whether systemd has anything to say against the unit where it is installed.
pub fn verify(root: &DebianRoot) -> Result<String, Failure> {
    let mut analyze = command("systemd-analyze", ["verify", "--man=no"]);
    analyze.arg(format!("--root={}", root.path.display())).arg(format!("{NAME}.service"));
    let out = analyze
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot start systemd-analyze: {e}")))?;
    let said = String::from_utf8_lossy(&out.stderr);
    // It warns about what it does not know, and succeeds.
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains(NAME)).collect();
    if out.status.success() && of_ours.is_empty() {
        Ok("systemd has nothing to say against it".into())
    } else {
        Err(Failure::work(format!("{UNIT}: {}", said.trim())))
    }
}
