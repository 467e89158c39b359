//! The subcommands, one file each.

pub mod bench;
pub mod bundle;
pub mod config;
pub mod doctor;
mod reload;
pub mod replay;
pub mod run;
mod signals;

use std::path::Path;
use std::sync::Arc;

use boards::profile::Profile;
use edge_runtime::Error;
use edge_runtime::config::{Config, UpdatesConfig};
use edge_runtime::engine::ModelStatus;
use edge_runtime::files::Disk;
use edge_runtime::model::{self, Model};
use edge_runtime::update::Store;

/// The board profile of a configuration.
pub fn profile(config: &Config) -> Result<Profile, Error> {
    edge_runtime::board::profile(&config.board, Path::new("/")).map(|(profile, _)| profile)
}

/// The slots of a configuration that has them.
pub fn store(config: &Config, updates: &UpdatesConfig, profile: &Profile) -> Result<Store, Error> {
    let trust = model::trust(&config.model)?;
    let (class, factory) = (&profile.device_class, &config.model.bundle);
    Ok(Store::new(Arc::new(Disk), &updates.dir, trust, class, factory))
}

/// What reports say of a model.
pub fn model_status(model: &Model) -> ModelStatus {
    let manifest = model.bundle.manifest();
    ModelStatus {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: model.bundle.digest_hex(),
        backend: model.backend_name.into(),
        provider: model.provider.into(),
        precision: model.precision.clone(),
        kernels: model.kernels.into(),
        exact: model.exact,
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
