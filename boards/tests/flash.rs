//! The flashing scripts: the exact commands of a dry run, and what is refused.
#![cfg(all(feature = "std", unix))]
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A `Linux_for_Tegra` with what the scripts look at, and a `lsusb` that says what it is told.
struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new(release: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let l4t = dir.path().join("Linux_for_Tegra");
        for folder in ["tools/kernel_flash", "rootfs/etc"] {
            fs::create_dir_all(l4t.join(folder)).unwrap();
        }
        fs::write(l4t.join("tools/kernel_flash/l4t_initrd_flash.sh"), "").unwrap();
        let text = format!("# R{release} (release), REVISION: 4.3, GCID: 38968081\n");
        fs::write(l4t.join("rootfs/etc/nv_tegra_release"), text).unwrap();
        fs::write(dir.path().join("pavad.deb"), "").unwrap();
        fs::write(dir.path().join("site.toml"), "").unwrap();
        let rig = Self { dir };
        rig.connect(&[]);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is connected, by USB ids.
    fn connect(&self, ids: &[&str]) {
        let mut text =
            "#!/bin/sh\necho 'Bus 001 Device 001: ID 1d6b:0002 Linux Foundation'\n".to_owned();
        for id in ids {
            text += &format!("echo 'Bus 001 Device 007: ID {id} NVIDIA Corp. APX'\n");
        }
        let path = self.path("lsusb");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Exit code, standard output without the rig's folder and `sudo`, standard error.
    fn flash(&self, board: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("flash").join(board);
        let mut command = Command::new(script.join("flash.sh"));
        command.env("LSUSB", self.path("lsusb"));
        command.arg("--l4t").arg(self.path("Linux_for_Tegra"));
        command.arg("--package").arg(self.path("pavad.deb")).args(more);
        let out = command.output().unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(&self.dir.path().display().to_string(), "RIG")
                .replace("+ env ", "+ ")
                .replace("+ sudo ", "+ ")
        };
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    }
}

const TOOL: &str = "./tools/kernel_flash/l4t_initrd_flash.sh";

#[test]
fn a_dry_run_prints_the_documented_command_of_each_board() {
    let orin = "--external-device nvme0n1p1 -c tools/kernel_flash/flash_l4t_t234_nvme.xml --network usb0 \
                -p '-c bootloader/generic/cfg/flash_t234_qspi.xml' --showlogs jetson-orin-nano-devkit internal";
    for (board, release, id, expected) in [
        ("jetson-orin-nano", 36, "0955:7523", orin),
        ("jetson-orin-nx", 36, "0955:7323", orin),
        (
            "jetson-orin-nano",
            35,
            "0955:7623",
            "--external-device nvme0n1p1 -c tools/kernel_flash/flash_l4t_external.xml --network usb0 -p \
             '-c bootloader/t186ref/cfg/flash_t234_qspi.xml' --showlogs jetson-orin-nano-devkit internal",
        ),
        (
            "jetson-agx-orin",
            36,
            "0955:7023",
            "--external-device nvme0n1p1 -c tools/kernel_flash/flash_l4t_t234_nvme.xml --network usb0 \
             --showlogs jetson-agx-orin-devkit external",
        ),
        (
            "jetson-xavier-nx",
            35,
            "0955:7e19",
            "--network usb0 --showlogs jetson-xavier-nx-devkit-emmc internal",
        ),
    ] {
        let rig = Rig::new(release);
        rig.connect(&[id]);
        let (code, out, err) = rig.flash(board, &["--dry-run"]);
        assert_eq!(code, Some(0), "{board}: {err}");
        let last = out.lines().last().unwrap();
        assert_eq!(last, format!("+ {TOOL} {expected}"), "{board} R{release}");
        assert!(
            out.contains("install -D -m 644 RIG/pavad.deb rootfs/opt/pavad/pavad-edge.deb"),
            "{out}"
        );
        // Nothing was done.
        assert!(!rig.path("Linux_for_Tegra/rootfs/opt").exists());
    }
}

#[test]
fn many_boards_are_flashed_in_two_steps() {
    let rig = Rig::new(36);
    rig.connect(&["0955:7523", "0955:7523"]);
    let site = rig.path("site.toml").display().to_string();
    let (code, out, err) =
        rig.flash("jetson-orin-nano", &["--dry-run", "--mass", "5", "--site", &site]);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    let [.., site, make, flash] = &lines[..] else { panic!("{out}") };
    assert!(site.contains("-m 600") && site.ends_with("rootfs/boot/pavad/site.toml"), "{site}");
    assert!(
        make.starts_with(&format!("+ {TOOL} --no-flash --massflash 5 --external-device")),
        "{make}"
    );
    let expected = format!(
        "+ {TOOL} --flash-only --massflash 5 --network usb0 --showlogs jetson-orin-nano-devkit"
    );
    assert_eq!(*flash, expected);
}

#[test]
fn what_is_not_the_board_is_refused() {
    let rig = Rig::new(36);
    for (ids, more, code, part) in [
        (&["0955:7323"][..], &[][..], 4, "(0955:7323) is no jetson-orin-nano"),
        (&["0955:7323"], &["--dry-run"], 4, "nothing was done"),
        (&["0955:7020"], &[], 4, "put it into recovery mode"),
        (&[], &[], 4, "no jetson-orin-nano in recovery mode"),
        (&["0955:7523", "0955:7523"], &[], 4, "2 boards are connected"),
        (&["0955:7523"], &["--mass", "0"], 2, "--mass is '0'"),
        (&["0955:7523"], &["--frobnicate", "1"], 2, "no option '--frobnicate'"),
        (&["0955:7523"], &["--site", "/nowhere.toml"], 2, "/nowhere.toml: no such file"),
    ] {
        rig.connect(ids);
        let (found, out, err) = rig.flash("jetson-orin-nano", more);
        assert_eq!(found, Some(code), "{ids:?} {more:?}: {err}");
        assert!(err.contains(part) && err.lines().count() == 1, "{err}");
        assert!(!out.contains(TOOL), "{out}");
    }
    let (code, _, err) = Rig::new(36).flash("jetson-xavier-nx", &["--dry-run"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains("L4T R36 does not have the jetson-xavier-nx; it needs one of R35"),
        "{err}"
    );
}

/// A list of two devices, each with its folder; `lines` replaces what is below the header.
fn list(rig: &Rig, lines: Option<&str>) -> String {
    for device in ["gate-1", "gate-2"] {
        let folder = rig.path(device);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("site.toml"), format!("device = \"{device}\"\n")).unwrap();
        fs::write(folder.join("password"), "secret").unwrap();
    }
    let path = rig.path("devices.csv");
    let lines = lines.unwrap_or("gate-1,gate-1\r\ngate-2,gate-2");
    fs::write(&path, format!("device,site\n{lines}")).unwrap();
    path.display().to_string()
}

#[test]
fn a_list_of_devices_is_flashed_one_after_the_other_each_with_its_site() {
    let rig = Rig::new(36);
    rig.connect(&["0955:7523"]);
    let (code, out, err) =
        rig.flash("jetson-orin-nano", &["--dry-run", "--devices", &list(&rig, None)]);
    assert_eq!(code, Some(0), "{err}");
    let of_sites: Vec<&str> = out
        .lines()
        .filter(|l| l.starts_with("# ") || l.contains("boot/pavad") || l.contains("initrd_flash"))
        .map(|l| if l.contains("initrd_flash") { "flash" } else { l.trim_start_matches("+ ") })
        .collect();
    let site = |name: &str, file: &str| {
        format!("install -D -m 600 RIG/{name}/{file} rootfs/boot/pavad/{file}")
    };
    let expected = [
        "# gate-1".to_owned(),
        "rm -rf rootfs/boot/pavad".to_owned(),
        site("gate-1", "password"),
        site("gate-1", "site.toml"),
        "flash".to_owned(),
        "# gate-2".to_owned(),
        "rm -rf rootfs/boot/pavad".to_owned(),
        site("gate-2", "password"),
        site("gate-2", "site.toml"),
        "flash".to_owned(),
        "rm -rf rootfs/boot/pavad".to_owned(),
    ];
    assert_eq!(of_sites, expected, "{out}");
}

#[test]
fn a_list_with_a_mistake_is_refused_before_anything_is_done() {
    let rig = Rig::new(36);
    rig.connect(&["0955:7523"]);
    for (lines, part) in [
        ("gate-1,gate-1\ngate-1,gate-2\n", "line 3, device: 'gate-1' is there twice"),
        ("gate-1\n", "line 2: no site"),
        ("gate-1,gate-1,now\n", "line 2: more than two fields"),
        ("Gate 1,gate-1\n", "line 2, device: 'Gate 1'"),
        ("gate-1,\n", "line 2, site: empty"),
        ("gate-1,gate-9\n", "gate-9/site.toml: no such file"),
        ("gate-1,gate-2\n", "gate-2/site.toml, device: 'gate-2'"),
        ("", "no devices"),
    ] {
        let list = list(&rig, Some(lines));
        let (code, out, err) = rig.flash("jetson-orin-nano", &["--devices", &list]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{lines}: {err}");
        assert!(err.contains(part) && err.lines().count() == 1, "{lines}: {err}");
    }
    let list = list(&rig, None);
    let (code, _, err) = rig.flash("jetson-orin-nano", &["--devices", &list, "--mass", "2"]);
    assert!(code == Some(2) && err.contains("without --site and --mass"), "{err}");
}
