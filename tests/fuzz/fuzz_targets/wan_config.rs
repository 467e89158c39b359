//! Any bytes as each of the configurations of a Wan model: accepted, or refused on one line that names
//! the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trainer::wan::Error;
use trainer::wan::index::ModelIndex;
use trainer::wan::scheduler::{SchedulerConfig, UniPc};
use trainer::wan::transformer::TransformerConfig;
use trainer::wan::umt5::Umt5Config;
use trainer::wan::vae::VaeConfig;

fn accepted<T>(result: Result<T, Error>) -> Option<T> {
    result
        .inspect_err(|error| {
            let message = error.to_string();
            assert!(message.starts_with("a.json: ") && !message.contains('\n'), "{message:?}");
        })
        .ok()
}

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("a.json");
    accepted(ModelIndex::parse(path, bytes));
    accepted(TransformerConfig::parse(path, bytes));
    accepted(Umt5Config::parse(path, bytes));
    accepted(VaeConfig::parse(path, bytes));
    if let Some(config) = accepted(SchedulerConfig::parse(path, bytes)) {
        let steps = config.train_timesteps.min(20);
        assert!(UniPc::new(&config, steps).is_ok_and(|run| run.timesteps().len() == steps));
    }
});
