//! The status LED has a thread of its own: it blinks faster than frames are scored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use boards::{Blinker, Status, StatusLed};

/// Time between two looks at the rhythm; the fastest has halves of 100 ms.
const STEP: Duration = Duration::from_millis(50);
/// Time after which a state that nobody has confirmed is shown as a fault: the program hangs.
const STALE: Duration = Duration::from_secs(10);

/// A blinking LED. Dropped, it is off.
pub struct LedThread {
    shown: Arc<Mutex<(Status, Instant)>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LedThread {
    /// Shows that the program starts.
    pub fn start(led: Box<dyn StatusLed + Send>) -> Self {
        let shown = Arc::new(Mutex::new((Status::Starting, Instant::now())));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, end) = (Arc::clone(&shown), Arc::clone(&stop));
        let thread = std::thread::spawn(move || blink(led, &theirs, &end));
        Self { shown, stop, thread: Some(thread) }
    }

    /// Shows a state from now on.
    pub fn show(&self, status: Status) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (status, Instant::now());
    }
}

fn blink(led: Box<dyn StatusLed + Send>, shown: &Mutex<(Status, Instant)>, stop: &AtomicBool) {
    let started = Instant::now();
    let mut blinker = Blinker::new(led);
    let mut failing = false;
    while !stop.load(Ordering::Relaxed) {
        let (status, since) = *shown.lock().unwrap_or_else(PoisonError::into_inner);
        let status = if since.elapsed() > STALE { Status::Fault } else { status };
        let result = blinker.show(status, started.elapsed().as_millis() as u64);
        if let Err(e) = result
            && !failing
        {
            log::error!("status LED: {e}; it is tried again");
        }
        failing = result.is_err();
        std::thread::sleep(STEP);
    }
    if let Err(e) = blinker.show(Status::Off, started.elapsed().as_millis() as u64) {
        log::debug!("status LED: {e}");
    }
}

impl Drop for LedThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use boards::simulated::{Action, Simulated};

    use super::*;

    #[test]
    fn it_shows_what_it_is_told_and_goes_dark() {
        let device = Simulated::new();
        let led = LedThread::start(Box::new(device.clone()));
        led.show(Status::Healthy);
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(device.history().last(), Some(&Action::Set(true)));
        led.show(Status::Alarm);
        std::thread::sleep(Duration::from_millis(500));
        assert!(device.history().len() >= 4, "{:?}", device.history());
        drop(led);
        assert_eq!(device.history().last(), Some(&Action::Set(false)));
    }
}
