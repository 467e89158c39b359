//! The two commands of the README, and the chores behind them.
//!
//! `cargo xtask demo` does the main job, `cargo xtask test` runs all tests. Both fetch what they
//! need first, say so, and do nothing twice. This program uses the standard library alone, so that
//! it builds in seconds on a machine where nothing is installed yet.

mod apt;
mod bench;
mod cuda;
mod debian_root;
mod demo;
mod emulator;
mod fetch;
mod firmware;
mod install;
mod interop;
mod package;
mod processors;
mod python;
mod shell;
mod simulate;
mod test;
mod vm;
mod weights;
mod words;

use std::process::ExitCode;

use shell::Failure;

const USAGE: &str = "\
usage: cargo xtask COMMAND [OPTIONS]

commands:
  demo     the main job, end to end: normal footage -> detector -> INT8 bundle -> camera -> alerts
             --normal DIR    the site's normal videos (default: a procedural scene)
             --test DIR      videos that the camera watches (with --normal)
             --labels FILE   ground truth of the test videos, JSON
             --site NAME     which procedural scene (default: plaza): near, far, top-down, corridor,
                             night, crowd
             --config FILE   training configuration, TOML
             --seed N        default 1
             --out DIR       default target/demo
             --no-install    refuse to install or fetch anything
  test     everything: format, lints, licences, all tests
             --no-install    refuse to install or fetch anything
  bench    measurements beside other implementations
             train           a training step of each detector beside PyTorch
               --rounds N      steps of each program, default 7
               --threads N     default 2
               --python FILE   a Python with torch and numpy (default: python3, else a fresh
                               environment in target/bench-venv)
               --no-install    refuse to fetch anything
             quantize        INT8 beside onnxruntime.quantization.quantize_static
               --footage DIR     normal clips, every fourth held out (default: ../shared/data/ped2/train)
               --checkpoint DIR  also the local network of this checkpoint
               --models LIST     default mobilenetv2,i3d
               --samples N       calibration samples, default 48
               --held-out N      samples that are compared, default 24
               --threads N       default 2
               --python FILE     a Python with onnxruntime, onnx, numpy and sympy
               --no-install      refuse to fetch anything
             edge            the camera program beside the same job in Python, on one core
               --bundle FILE   default: the demonstration's
               --frames N      frames of each run, default 300
               --python FILE   a Python with numpy, onnxruntime, opencv-python-headless, paho-mqtt
                               (default: a fresh environment in target/bench-edge-venv)
             sites           every drawn site and every real set at hand, trained and watched with the defaults
               --seeds LIST    default 1,2,3
               --only LIST     names of sites
               --out DIR       default target/bench-sites; goes on with what is there
               --data DIR      the real sets, default ../shared/data
               --config FILE   training configuration in place of the defaults
               --no-install    refuse to install or fetch anything
             soak            the camera program at maximum speed; its memory must stand still
               --minutes N     default 15
             chaos           10 000 events while the broker is killed 50 times and the program 20 times
  vm       the camera program on a real kernel with a virtual camera, GPIO lines and a watchdog
             --arch A        amd64 (default), or arm64: a Debian system with the package (slow)
             --break WHAT    capture, alarm, watchdog, recovery (amd64) or sandbox (arm64): see the
                             check for it fail
             --long          a quarter of an hour of unplugged cameras and bad configurations more (amd64)
             --no-install    refuse to install or fetch anything
  interop  the camera program with other people's programs: GStreamer's RTSP server, the broker aedes,
           Home Assistant's MQTT integration, Prometheus' promtool
             --only PEER     gstreamer, aedes, home-assistant or promtool
             --allow-missing do without what cannot be fetched, and say so
             --no-install    refuse to install or fetch anything
  simulate the camera program's machines with simulated cameras, disks and brokers, faults by seed
             --seeds A..B    default 0..10000
             --only NAME     network_camera or publisher
             --steps N       no more than so many steps of each seed
             --without LIST  without these steps; a failing seed says which
             --no-install    refuse to install or fetch anything
  processors
           what must not depend on the processor, tested as if on others
             --arch A        amd64 (default): AVX-512 and AVX2 without VNNI; arm64: with and without
                             dotprod, cross-built and emulated
             --quick         where emulated, without the slower tests
             --no-install    refuse to install or fetch anything
  package  the camera program as a Debian package, in target/package
             --arch A        amd64 (default) or arm64, cross-built
             --check         also install, upgrade, run and purge it in a throw-away Debian system
             --no-install    refuse to install or fetch anything
  alarm-node
           the siren's logic built for a microcontroller (thumbv7em-none-eabihf), and its size
             --no-install    refuse to install or fetch anything
  cuda     the trainer for NVIDIA GPUs, with a check for the machine that has one
             --out DIR           the folder to make, at most 60 MB
             --compute-cap LIST  lowest of the GPUs' compute capabilities, default 90 (H100)
             --no-install        refuse to install or fetch anything
  weights  fetch the pinned backbone weights and ONNX Runtime into target/
  help     this text

examples:
  cargo xtask demo
  cargo xtask demo --normal videos/normal --test videos/test --labels labels.json
  cargo xtask test
  cargo xtask vm --break watchdog
  cargo xtask interop --only promtool
  cargo xtask simulate --seeds 0..300
  cargo xtask package --arch arm64 --check
  cargo xtask cuda --out gpu
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    if rest.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let result = match command.as_str() {
        "demo" => demo::run(&rest),
        "test" => test::run(&rest),
        "bench" => bench::run(&rest),
        "package" => package::run(&rest),
        "alarm-node" => firmware::run(&rest),
        "processors" => processors::run(&rest),
        "vm" => vm::run(&rest),
        "interop" => interop::run(&rest),
        "simulate" => simulate::run(&rest),
        "cuda" => cuda::run(&rest),
        "weights" => weights::run(&rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => Err(Failure::usage(format!("no command '{other}': try 'cargo xtask help'"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
