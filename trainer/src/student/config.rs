//! Configuration of a distillation's training.

use serde::{Deserialize, Serialize};

use super::Error;

/// How the student is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudentConfig {
    /// Width in pixels of the student's picture. Default 160.
    pub width: usize,
    /// Height in pixels of the student's picture. Default 160.
    pub height: usize,
    /// Show every run also mirrored; the teacher then looks at every clip twice. Default true.
    pub mirror: bool,
    /// Consecutive snippets of a run, which the student sees as one stream: all but the first have a
    /// past, as nearly all have on a camera. Default 2.
    pub run: usize,
    /// Runs in a batch. Default 4.
    pub batch: usize,
    /// Optimiser steps. Default 2000.
    pub steps: usize,
    /// Peak learning rate of Adam. Default 5e-5: with 2e-4 and batches of two runs the
    /// first steps undo what the fitted projection had.
    pub learning_rate: f64,
    /// Steps of the learning rate's rise. Default 50.
    pub warm_up: usize,
    /// Decoupled weight decay on convolution and projection weights. Default 1e-4.
    pub weight_decay: f64,
    /// Decay of the moving average of the weights that is kept. Default 0.99.
    pub average_decay: f64,
    /// Weight of the cosine's term beside the smooth L1's. Default 1.
    pub cosine_weight: f64,
    /// Training snippets, about, by which the projection is fitted before the first step (ridge
    /// regression); 0 for a drawn projection. Default 1024.
    pub fit_snippets: usize,
    /// Steps between two looks at the clips kept out of training. Default 100.
    pub validate_every: usize,
    /// Snippets of them that are looked at, about. Default 128.
    pub validation_snippets: usize,
    /// Steps between two saved states. Default 100.
    pub save_every: usize,
}

impl Default for StudentConfig {
    fn default() -> Self {
        Self {
            width: 160,
            height: 160,
            mirror: true,
            run: 2,
            batch: 4,
            steps: 2000,
            learning_rate: 5e-5,
            warm_up: 50,
            weight_decay: 1e-4,
            average_decay: 0.99,
            cosine_weight: 1.0,
            fit_snippets: 1024,
            validate_every: 100,
            validation_snippets: 128,
            save_every: 100,
        }
    }
}

impl StudentConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that cannot be.
    pub fn validate(&self) -> Result<(), Error> {
        let side = |pixels: usize| (32..=1024).contains(&pixels);
        let rules = [
            ("width", side(self.width), "32 to 1024"),
            ("height", side(self.height), "32 to 1024"),
            ("run", (1..=64).contains(&self.run), "1 to 64"),
            ("batch", (1..=1024).contains(&self.batch), "1 to 1024"),
            ("steps", self.steps > 0, "at least 1"),
            (
                "learning_rate",
                self.learning_rate.is_finite() && self.learning_rate > 0.0,
                "more than 0",
            ),
            ("weight_decay", (0.0..=1.0).contains(&self.weight_decay), "0 to 1"),
            ("average_decay", (0.0..1.0).contains(&self.average_decay), "0 to less than 1"),
            (
                "cosine_weight",
                self.cosine_weight.is_finite() && self.cosine_weight >= 0.0,
                "0 or more",
            ),
            ("validate_every", self.validate_every > 0, "at least 1"),
            ("validation_snippets", self.validation_snippets > 0, "at least 1"),
            ("save_every", self.save_every > 0, "at least 1"),
        ];
        match rules.into_iter().find(|(_, valid, _)| !valid) {
            Some((field, _, wanted)) => Err(Error::Config { field, wanted }),
            None => Ok(()),
        }
    }
}
