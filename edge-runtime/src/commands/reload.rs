//! Whether a configuration that was read again can be run.

use edge_runtime::Error;
use edge_runtime::config::Config;
use edge_runtime::model;

use super::run::token;

/// What can be told of a configuration before it is run: that its board, its bundle and its files are
/// there and fit each other. Nothing is opened that a running program may hold.
///
/// # Errors
/// The first that is wrong.
pub fn check(config: &Config) -> Result<(), Error> {
    let profile = super::profile(config)?;
    config.web.as_ref().map(token).transpose()?;
    if config.updates.is_some() {
        // Which bundle it would be, the slots decide at the start.
        return Ok(());
    }
    let bundle = model::open_bundle(&config.model)?;
    model::check_device(bundle.manifest(), &config.model.bundle, &profile.device_class)?;
    for camera in &config.cameras {
        config.rules(&bundle.manifest().detectors, camera).map_err(Error::Usage)?;
    }
    Ok(())
}
