//! Progress of long work: a bar on a terminal, a line now and then elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(15);

/// Progress of one stage.
pub struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    total: usize,
    done: Cell<usize>,
    said: Cell<Instant>,
    /// When and after how many the first of this run was done: a resumed run does not start at 0.
    first: Cell<Option<(Instant, usize)>>,
}

impl Progress {
    /// `total` steps of `what` are to come.
    pub fn new(what: &'static str, total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal() && log::log_enabled!(log::Level::Info);
        let bar = terminal.then(|| {
            let style = ProgressStyle::with_template(
                "{prefix:26} [{bar:30}] {pos}/{len} {eta} left  {msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style).with_prefix(what)
        });
        if bar.is_none() {
            log::info!("{what}: {total} to do");
        }
        Self {
            what,
            bar,
            total,
            done: Cell::new(0),
            said: Cell::new(Instant::now()),
            first: Cell::default(),
        }
    }

    /// One more is done.
    pub fn step(&self) {
        self.at(self.done.get() + 1, "");
    }

    /// `done` are done.
    pub fn at(&self, done: usize, message: &str) {
        self.done.set(done);
        if self.first.get().is_none() {
            self.first.set(Some((Instant::now(), done)));
            if let Some(bar) = &self.bar {
                bar.set_position(done as u64);
                bar.reset_eta();
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(message.to_string());
        } else if self.said.get().elapsed() > EVERY && done < self.total {
            self.said.set(Instant::now());
            let left = self.left(done).map_or(String::new(), |s| format!(", {s:.0} s left"));
            let comma = if message.is_empty() { "" } else { ", " };
            log::info!("{}: {done} of {}{comma}{message}{left}", self.what, self.total);
        }
    }
}

impl Progress {
    /// Seconds left at the pace so far.
    fn left(&self, done: usize) -> Option<f64> {
        let (since, first) = self.first.get()?;
        let taken = done.checked_sub(first).filter(|n| *n > 0)? as f64;
        Some(since.elapsed().as_secs_f64() / taken * self.total.saturating_sub(done) as f64)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
