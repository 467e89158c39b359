//! `cargo xtask bench sites`: every drawn site and every real set at hand, trained and watched with the
//! same defaults.

use std::ffi::OsString;

use crate::shell::{Failure, command, execute, root, target};
use crate::words::Words;
use crate::{demo, install, weights};

/// `cargo xtask bench sites [--seeds LIST] [--only LIST] [--out DIR] [--data DIR] [--config FILE]
/// [--no-install]`.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let mut no_install = false;
    let mut options: Vec<OsString> = Vec::new();
    let (mut out, mut data) = (target().join("bench-sites"), root().join("../shared/data"));
    let mut words = Words::new("bench sites", args);
    while let Some(name) = words.option() {
        match name {
            "--no-install" => no_install = true,
            "--out" => out = words.value()?.into(),
            "--data" => data = words.value()?.into(),
            "--seeds" | "--only" | "--config" => {
                options.extend([name.into(), words.value()?.into()]);
            }
            _ => return Err(words.unknown()),
        }
    }
    install::ensure(&[install::BUILD, install::RUN], no_install)?;
    weights::ensure(no_install)?;
    demo::build()?;
    let program = target().join("release/sites");
    options.extend(["--out".into(), out.into(), "--data".into(), data.into()]);
    execute(command(&program.to_string_lossy(), options).envs(weights::environment()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_refused() {
        for wrong in [&["--seeds"][..], &["--onyl=far"], &["far"]] {
            let words: Vec<String> = wrong.iter().map(|w| (*w).to_string()).collect();
            assert_eq!(run(&words).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }
}
