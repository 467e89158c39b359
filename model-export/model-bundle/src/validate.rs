//! What a manifest may say: schema, ranges, references and shapes.
//!
//! Everything after this may rely on it: no later code meets a zero stride, an infinite weight or
//! a graph that is not there. Run on verified bytes only, and again before signing.

use crate::detectors::{self, Port, Role};
use crate::manifest::{GoldenEntry, GoldenTensor, Manifest, SCHEMA};
use crate::text::{is_label, is_name, is_version};
use crate::{Error, check_limit};

/// Backends that a graph can be for.
pub const BACKENDS: [&str; 2] = ["ort", "tract"];

/// Precisions that a graph can have.
pub const PRECISIONS: [&str; 2] = ["int8", "fp32"];

/// Most graphs in a bundle.
pub const MAX_GRAPHS: usize = 16;

/// Most golden entries in a bundle.
pub const MAX_GOLDEN: usize = 64;

/// Reads a manifest's JSON: the schema first, then, strictly, everything.
pub(crate) fn parse(json: &[u8]) -> Result<Manifest, Error> {
    #[derive(serde::Deserialize)]
    struct Probe {
        schema: u32,
    }
    let bad = |error: serde_json::Error| Error::bad("manifest", format!("is not valid: {error}"));
    let probe: Probe = serde_json::from_slice(json).map_err(bad)?;
    if probe.schema != SCHEMA {
        return Err(Error::UnknownSchema { schema: probe.schema });
    }
    serde_json::from_slice(json).map_err(bad)
}

/// Checks everything that a manifest says, except where its blobs lie
/// ([`crate::layout::blob_layout`]).
pub fn validate(manifest: &Manifest) -> Result<(), Error> {
    if manifest.schema != SCHEMA {
        return Err(Error::UnknownSchema { schema: manifest.schema });
    }
    check(is_name(&manifest.name), "name", "must be 1 to 64 of a-z, 0-9 and -")?;
    check(is_version(&manifest.version), "version", "must be a semantic version such as 1.2.0")?;
    let classes = &manifest.device_classes;
    check((1..=32).contains(&classes.len()), "device_classes", "must name 1 to 32 classes")?;
    check(
        classes.iter().all(|c| is_name(c)) && all_differ(classes),
        "device_classes",
        "must hold different names of a-z, 0-9 and -",
    )?;
    check(
        manifest.provenance.len() <= 64
            && manifest.provenance.iter().all(|(key, value)| {
                is_label(key) && value.len() <= 1024 && !value.contains(char::is_control)
            }),
        "provenance",
        "must hold at most 64 names with values of at most 1024 characters on one line",
    )?;
    detectors::validate(&manifest.detectors)?;
    let roles = detectors::graph_roles(&manifest.detectors);
    graphs(manifest, &roles)?;
    golden(manifest, &roles)
}

fn graphs(manifest: &Manifest, roles: &[Role]) -> Result<(), Error> {
    check_limit("graph count", manifest.graphs.len() as u64, MAX_GRAPHS as u64)?;
    for (i, graph) in manifest.graphs.iter().enumerate() {
        let at = |name: &str| format!("graphs[{i}].{name}");
        check(
            roles.iter().any(|role| role.name == graph.name),
            at("name"),
            "must be a graph that a detector refers to",
        )?;
        check(BACKENDS.contains(&graph.backend.as_str()), at("backend"), "must be ort or tract")?;
        check(
            PRECISIONS.contains(&graph.precision.as_str()),
            at("precision"),
            "must be int8 or fp32",
        )?;
        let twin = |g: &crate::GraphEntry| g.name == graph.name && g.backend == graph.backend;
        check(
            !manifest.graphs[..i].iter().any(twin),
            at("name"),
            "is there twice for one backend",
        )?;
    }
    let complete = |backend: &&str| {
        let has = |role: &Role| {
            manifest.graphs.iter().any(|g| g.name == role.name && g.backend == **backend)
        };
        roles.iter().all(has)
    };
    check(
        BACKENDS.iter().any(complete),
        "graphs",
        "must hold, for one backend at least, every graph that the detectors refer to",
    )
}

fn golden(manifest: &Manifest, roles: &[Role]) -> Result<(), Error> {
    check_limit("golden count", manifest.golden.len() as u64, MAX_GOLDEN as u64)?;
    for (i, entry) in manifest.golden.iter().enumerate() {
        let at = |name: &str| format!("golden[{i}].{name}");
        let GoldenEntry { graph, backend, input, states, output, next, tolerance } = entry;
        check(
            manifest.graphs.iter().any(|g| g.name == *graph && g.backend == *backend),
            at("graph"),
            "must be a graph of this bundle, with its backend",
        )?;
        check(
            *tolerance > 0.0 && *tolerance <= 1.0,
            at("tolerance"),
            "must be above 0 and at most 1",
        )?;
        // A graph of the bundle has a role, checked before.
        if let Some(role) = roles.iter().find(|role| role.name == *graph) {
            golden_tensors((input, "input"), (states, "states"), &role.inputs, &at)?;
            golden_tensors((output, "output"), (next, "next"), &role.outputs, &at)?;
        }
    }
    for (i, graph) in manifest.graphs.iter().enumerate() {
        check(
            manifest.golden.iter().any(|g| g.graph == graph.name && g.backend == graph.backend),
            format!("graphs[{i}]"),
            "must have a golden entry, by which a device checks its own arithmetic",
        )?;
    }
    Ok(())
}

/// Checks the tensors of an entry against a graph's inputs or outputs; all but the first are states.
fn golden_tensors(
    (first, name): (&GoldenTensor, &str),
    (states, names): (&[GoldenTensor], &str),
    ports: &[Port],
    at: &dyn Fn(&str) -> String,
) -> Result<(), Error> {
    // A role has at least one input and one output.
    let Some((port, ports)) = ports.split_first() else {
        return Ok(());
    };
    golden_tensor(first, port, &at(name))?;
    check(states.len() == ports.len(), at(names), format!("must be {} tensors", ports.len()))?;
    for (i, (tensor, port)) in states.iter().zip(ports).enumerate() {
        golden_tensor(tensor, port, &at(&format!("{names}[{i}]")))?;
    }
    Ok(())
}

fn golden_tensor(tensor: &GoldenTensor, (name, shape): &Port, at: &str) -> Result<(), Error> {
    check(tensor.name == *name, format!("{at}.name"), format!("must be `{name}`"))?;
    check(tensor.shape == *shape, format!("{at}.shape"), format!("must be {shape:?}"))?;
    let size = shape.iter().try_fold(4u64, |size, extent| size.checked_mul(*extent));
    check(size == Some(tensor.blob.size), format!("{at}.blob.size"), "must be 4 bytes a value")
}

pub(crate) fn all_differ<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().all(|(i, item)| !items[..i].contains(item))
}

/// `Ok` if `valid`, else [`Error::BadManifest`] at `field`.
pub(crate) fn check(
    valid: bool,
    field: impl Into<String>,
    problem: impl Into<String>,
) -> Result<(), Error> {
    if valid { Ok(()) } else { Err(Error::bad(field, problem)) }
}
