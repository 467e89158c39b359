//! QEMU, and what the machine says on its console.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::subscriber::Subscriber;

/// Between two looks at the broker.
const LOOK: Duration = Duration::from_millis(100);

/// What processor a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    /// x86-64, with the programs of this workspace.
    Amd64,
    /// 64-bit ARM, with a Debian system and the package in it.
    Arm64,
}

/// A running machine.
pub struct Machine {
    child: Child,
    lines: Receiver<String>,
    console: File,
}

/// What was heard of a machine until it came to its end.
#[derive(Debug, Default)]
pub struct Heard {
    /// The lines that its first program has printed, without `VM `, and when, in seconds.
    pub lines: Vec<(f64, String)>,
    /// Every status that the broker had.
    pub statuses: Vec<String>,
    /// Why there was no end.
    pub failure: Option<String>,
}

impl Machine {
    /// Starts it, with words for its first program. There is no KVM in it: it runs wherever QEMU does.
    pub fn start(
        arch: Arch,
        kernel: &Path,
        initramfs: &Path,
        out: &Path,
        words: &str,
    ) -> Result<Self> {
        let disk = out.join("disk.img");
        std::fs::write(&disk, vec![0; 64 * 1024]).with_context(|| disk.display().to_string())?;
        let log = out.join("console.log");
        let console = File::create(&log).with_context(|| log.display().to_string())?;
        let drive = format!("id=disk,file={},format=raw,if=none", disk.display());
        let (program, machine, append) = match arch {
            // Not `microvm`: without KVM this kernel finds no clock in it and waits for one for ever.
            Arch::Amd64 => (
                "qemu-system-x86_64",
                ["-machine", "pc,accel=tcg", "-cpu", "max", "-m", "1024"],
                "console=ttyS0",
            ),
            // Not `max`: pointer authentication is slow to emulate. The whole system is in memory.
            Arch::Arm64 => (
                "qemu-system-aarch64",
                ["-machine", "virt,accel=tcg", "-cpu", "cortex-a72", "-m", "3072"],
                "console=ttyAMA0 rdinit=/sbin/init systemd.wants=pavad-check.service \
                 systemd.mask=serial-getty@ttyAMA0.service",
            ),
        };
        let append = format!("{append} quiet panic=-1 {words}");
        let mut child = Command::new(program)
            .args(machine)
            // The machine's time is what it has computed, 4 ns an instruction, so that a busy host
            // makes it slow and not late: its own time limits mean the same everywhere.
            .args(["-icount", "shift=2,sleep=on"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &append])
            // User networking: the machine finds this one's loopback at 10.0.2.2.
            .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"])
            .args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context(program)?;
        let output = child.stdout.take().context("the console of the machine")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, console })
    }

    /// Listens until it has come to its end, or `limit` has passed.
    pub fn listen(&mut self, limit: Duration, subscriber: &Subscriber) -> Result<Heard> {
        let started = Instant::now();
        let mut heard = Heard::default();
        loop {
            if let Some(status) = subscriber.received().status
                && heard.statuses.last() != Some(&status)
            {
                heard.statuses.push(status);
            }
            if started.elapsed() > limit {
                heard.failure = Some(format!("no end after {} s", limit.as_secs()));
                return Ok(heard);
            }
            let line = match self.lines.recv_timeout(LOOK) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    heard.failure = Some("the machine has ended by itself".into());
                    return Ok(heard);
                }
            };
            writeln!(self.console, "{line}").context("console.log")?;
            let Some(said) = line.strip_prefix("VM ") else {
                continue;
            };
            let seconds = started.elapsed().as_secs_f64();
            if said.starts_with("PASS ") || said.starts_with("FAIL ") {
                eprintln!("{seconds:6.1} s  {said}");
            }
            heard.lines.push((seconds, said.to_owned()));
            if said == "END" {
                return Ok(heard);
            }
        }
    }

    /// Switches it off.
    pub fn stop(&mut self) {
        // It may be gone already; either way it no longer runs afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}
