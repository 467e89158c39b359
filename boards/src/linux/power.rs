//! The power mode of a Jetson board, as `nvpmodel` leaves it on disk.

use std::path::Path;

/// The name of the power mode that is set, `15W` for example; `None` where there is no `nvpmodel`
/// or its files do not say. `root` is `/` on a real machine.
///
/// The number of a mode means another one on each module and release, so it is looked up in the
/// configuration that `nvpmodel` itself reads.
pub fn power_mode(root: &Path) -> Option<String> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let number = status(&read("var/lib/nvpmodel/status")?)?;
    mode_name(&read("etc/nvpmodel.conf")?, number)
}

/// The number in `pmode:0002`.
fn status(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| word.strip_prefix("pmode:")?.parse().ok())
}

/// The name in the line `< POWER_MODEL ID=2 NAME=15W >`.
fn mode_name(config: &str, number: u32) -> Option<String> {
    config.lines().find_map(|line| {
        let words = line.trim().strip_prefix('<')?.trim_start().strip_prefix("POWER_MODEL ")?;
        let value = |key: &str| words.split_whitespace().find_map(|word| word.strip_prefix(key));
        let name = value("NAME=")?.trim_end_matches('>');
        (value("ID=")?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys/devices/system/cpu/cpu0/online\n\n\
        < POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=15W >\n\
        # mandatory section to configure the default power mode\n< PM_CONFIG DEFAULT=2 >\n";

    #[test]
    fn the_mode_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(power_mode(dir.path()), None);
        for folder in ["var/lib/nvpmodel", "etc"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("var/lib/nvpmodel/status"), "pmode:0002").unwrap();
        assert_eq!(power_mode(dir.path()), None);
        std::fs::write(dir.path().join("etc/nvpmodel.conf"), CONFIG).unwrap();
        assert_eq!(power_mode(dir.path()).as_deref(), Some("15W"));
        assert_eq!(mode_name(CONFIG, 0).as_deref(), Some("MAXN"));
        assert_eq!(mode_name(CONFIG, 1), None);
        assert_eq!(status("pmode:MAXN"), None);
    }
}
