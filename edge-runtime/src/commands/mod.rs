//! The subcommands, one file each.

pub mod config;
pub mod doctor;
pub mod replay;
pub mod run;

use edge_runtime::engine::ModelStatus;
use edge_runtime::model::Model;

/// What reports say of a model.
pub fn model_status(model: &Model) -> ModelStatus {
    let manifest = model.bundle.manifest();
    ModelStatus {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: model.bundle.digest_hex(),
        backend: model.backend_name.into(),
        precision: model.precision.clone(),
        origin_checked: model.origin_checked,
    }
}

/// The model's identity in messages.
pub fn model_id(model: &Model) -> alert_wire::ModelId {
    let manifest = model.bundle.manifest();
    alert_wire::ModelId {
        name: alert_wire::truncate(&manifest.name),
        version: alert_wire::truncate(&manifest.version),
    }
}

/// Warns if nobody vouches for the bundle.
pub fn warn_of_origin(model: &Model, how: &str) {
    if !model.origin_checked {
        log::warn!(
            "the bundle is whole, but where it comes from was not checked: it was verified with \
             the key {} that it carries itself; {how}",
            model.bundle.signer().id()
        );
    }
}
