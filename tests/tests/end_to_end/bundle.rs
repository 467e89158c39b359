//! Bundles: the same each time, honest about their precision, and refused if a byte is changed.

use std::path::Path;

use model_bundle::{Bundle, PublicKey, Trust};

use crate::common::{command, outcome};
use crate::site::{Site, site};

/// Length of the header, after which the signature follows (`docs/reference/bundle-format.md`).
const HEADER: usize = 66;

#[test]
fn packing_twice_gives_the_same_bytes() {
    let Some(site) = site() else { return };
    let again = site.folder.join("again.pavad");
    let said = outcome(&mut site.pack(&again)).succeeded().stdout;
    let bytes = std::fs::read(site.bundle()).unwrap();
    assert!(bytes == std::fs::read(&again).unwrap(), "the two files differ");
    // The messages are the same too, but for the file's name.
    assert_eq!(said.replace("again.pavad", "model.pavad"), site.packed);
}

#[test]
fn packing_says_what_quantization_costs() {
    let Some(site) = site() else { return };
    let line = site.packed.lines().find(|line| line.contains("INT8 against fp32")).unwrap();
    let number = |before: &str| -> f64 {
        let rest = line.split_once(before).unwrap().1;
        rest.split(',').next().unwrap().trim().parse().unwrap()
    };
    let (mean, max) = (number("mean absolute difference"), number("largest"));
    assert!(0.0 < mean && mean <= max && mean < 0.1, "{line}");

    // The bundle carries the same numbers to wherever it goes.
    let key = PublicKey::read(&site.public_key()).unwrap();
    let bundle = Bundle::open(&site.bundle(), &Trust::Keys(vec![key])).unwrap();
    let manifest = bundle.manifest();
    let kept: f64 = manifest.provenance["int8_score_difference_mean"].parse().unwrap();
    assert!((kept - mean).abs() < 1e-4, "{kept} {mean}");
    let graphs: Vec<_> = manifest
        .graphs
        .iter()
        .map(|g| (g.name.as_str(), g.backend.as_str(), g.precision.as_str()))
        .collect();
    for graph in [
        ("backbone", "ort", "int8"),
        ("backbone", "tract", "fp32"),
        ("head", "ort", "fp32"),
        ("head", "tract", "fp32"),
        ("local", "ort", "int8"),
        ("local", "tract", "fp32"),
    ] {
        assert!(graphs.contains(&graph), "{graph:?} is not in {graphs:?}");
    }
}

#[test]
fn a_bundle_with_a_changed_byte_is_refused() {
    let Some(site) = site() else { return };
    let good = std::fs::read(site.bundle()).unwrap();
    let signature = u32::from_le_bytes(good[12..16].try_into().unwrap()) as usize;
    let manifest = HEADER + signature + 4;
    // One byte more than there are, or one less.
    let length = if good[16] & 1 == 0 { "truncated" } else { "1 bytes after its end" };
    let damaged = "signature does not verify";
    let places = [
        ("magic", 0, "not a model bundle"),
        ("version", 8, "format 0 is not supported"),
        ("payload length", 16, length),
        ("public key", 40, "which is not trusted here"),
        ("signature", HEADER + 100, damaged),
        ("last byte of the signature", HEADER + signature - 1, damaged),
        ("manifest", manifest + 20, damaged),
        ("graph", good.len() / 2, damaged),
        ("last byte", good.len() - 1, damaged),
    ];
    for (place, at, reason) in places {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        refused(site, &format!("changed {place}"), &bytes, reason);
    }
    refused(site, "cut", &good[..good.len() - 1], "truncated");
    refused(site, "longer", &[good.as_slice(), &[0]].concat(), "1 bytes after its end");
}

#[test]
fn a_bundle_signed_by_somebody_else_is_refused() {
    let Some(site) = site() else { return };
    let other = site.folder.join("other");
    outcome(command("model-export").args(["keygen", "--out"]).arg(&other)).succeeded();
    let mut replay = command("edge-runtime");
    replay.args(["replay", "--bundle"]).arg(site.bundle()).arg("--input").arg(site.clip("run"));
    replay.arg("--public-key").arg(other.with_extension("pub"));
    outcome(&mut replay).failed("edge-runtime", 3, &["model.pavad", "not trusted here"]);
}

/// The camera program refuses these bytes for this reason, and scores nothing.
#[track_caller]
fn refused(site: &Site, what: &str, bytes: &[u8], reason: &str) {
    let bundle = site.folder.join(format!("{}.pavad", what.replace(' ', "-")));
    let scores = bundle.with_extension("csv");
    std::fs::write(&bundle, bytes).unwrap();
    let mut replay = site.replay(&bundle, &site.clip("run"));
    let refusal = outcome(replay.arg("--scores").arg(&scores));
    let name = Path::new(bundle.file_name().unwrap()).display().to_string();
    refusal.failed("edge-runtime", 3, &[&name, reason]);
    assert!(!scores.exists(), "{what}: scored all the same");
    std::fs::remove_file(&bundle).unwrap();
}
