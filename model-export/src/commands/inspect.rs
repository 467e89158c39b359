//! `model-export inspect`: what a bundle says of itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use inference::exactness::saturating_graphs;
use model_bundle::Bundle;
use model_bundle::manifest::GraphEntry;
use serde_json::json;

use super::{TrustArgs, open, print};

/// Show what a bundle says of itself; it must be undamaged
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  model-export inspect model.pavad\n  model-export inspect \
                        model.pavad --json | jq .manifest.detectors.calibration")]
pub struct Args {
    /// The bundle.
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Print JSON: file, size, sha256, signer, public_key, the whole manifest, and saturating: by graph, the
    /// layers whose sums saturate on x86 without VNNI.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let bundle = open(&args.file, &args.trust.trust()?)?;
    if args.json {
        // By graph, the layers whose sums saturate on x86 without VNNI.
        let saturating: BTreeMap<String, Vec<String>> = saturating_graphs(&bundle)?
            .into_iter()
            .map(|(graph, layers)| (graph, layers.into_iter().map(|l| l.layer).collect()))
            .collect();
        let report = json!({
            "file": args.file,
            "size": bundle.as_bytes().len(),
            "sha256": bundle.digest_hex(),
            "signer": bundle.signer().id(),
            "public_key": bundle.signer().to_string(),
            "manifest": bundle.manifest(),
            "saturating": saturating,
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    print(&(summary(&bundle)? + &exact_on(&bundle)?))
}

/// A line for each INT8 graph for ONNX Runtime: on which processors its integers are exact.
fn exact_on(bundle: &Bundle) -> anyhow::Result<String> {
    let graphs = &bundle.manifest().graphs;
    let integer = graphs.iter().filter(|g| g.precision == "int8" && g.backend == "ort");
    let saturating = saturating_graphs(bundle)?;
    let line = |graph: &GraphEntry| {
        let found = saturating.iter().find(|(name, _)| *name == graph.name);
        let said = match found {
            None => "exact on every processor".to_owned(),
            Some((_, layers)) => {
                let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
                format!(
                    "exact with VNNI and on ARM; saturates on other x86 in {}",
                    layers.join(", ")
                )
            }
        };
        format!("{:<16}{}: {said}\n", "integers", graph.name)
    };
    Ok(integer.map(line).collect())
}

fn summary(bundle: &Bundle) -> Result<String, std::fmt::Error> {
    let manifest = bundle.manifest();
    let detectors = &manifest.detectors;
    let mut out = String::new();
    let mut row = |name: &str, value: String| writeln!(out, "{name:<16}{value}");
    row("model", format!("{} {}", manifest.name, manifest.version))?;
    row("security epoch", manifest.security_epoch.to_string())?;
    row("devices", manifest.device_classes.join(", "))?;
    row("signer", bundle.signer().id())?;
    row("sha256", bundle.digest_hex())?;
    row("size", format!("{} bytes", bundle.as_bytes().len()))?;
    let input = &detectors.input;
    row("input", format!("{}x{} at {} fps", input.width, input.height, input.frame_rate))?;
    if let Some(local) = &detectors.local {
        let kinds = local.kinds.join(", ");
        row(
            "local",
            format!("weight {}, frames {:?}, kinds {kinds}", local.weight, local.offsets),
        )?;
    }
    if let Some(motion) = &detectors.motion {
        row("motion", format!("weight {}, box {} px", motion.weight, motion.box_size))?;
    }
    if let Some(semantic) = &detectors.semantic {
        let snippet = &semantic.snippet;
        let shape = format!("{}x{}x{}", snippet.frames, snippet.width, snippet.height);
        row(
            "semantic",
            format!(
                "weight {}, snippets {shape} every {} frames, {} features, window {}{}",
                semantic.weight,
                snippet.stride,
                semantic.feature_size,
                semantic.window,
                semantic
                    .grid
                    .map_or_else(String::new, |g| format!(", {}x{} cells", g.columns, g.rows)),
            ),
        )?;
    }
    let calibration = &detectors.calibration;
    row(
        "calibration",
        format!(
            "threshold {}, scale {}, {} false alarms an hour",
            calibration.threshold, calibration.scale, calibration.false_alarms_per_hour
        ),
    )?;
    let lag = f64::from(detectors.smoothing.lag);
    row("latency", format!("{lag} frames, {:.2} s", lag / input.frame_rate))?;
    for graph in &manifest.graphs {
        let what = format!(
            "{} for {} in {}, {} bytes",
            graph.name, graph.backend, graph.precision, graph.blob.size
        );
        row("graph", what)?;
    }
    for entry in &manifest.golden {
        let what = format!("{} on {}, tolerance {}", entry.graph, entry.backend, entry.tolerance);
        row("golden", what)?;
    }
    for (key, value) in &manifest.provenance {
        row("provenance", format!("{key}: {value}"))?;
    }
    Ok(out)
}
