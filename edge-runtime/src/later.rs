//! What goes to the disk, in a thread of its own: score files, events, pictures, settings, life signs. A
//! disk that is slow or stands still stops neither frames nor siren.
//!
//! Two queues in one order, each with its bound: small writes, and those that hold a picture. What does
//! not fit is left out and counted, unless its source can wait.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Small writes that may wait: at most a few kilobytes each.
const SMALL: usize = 512;
/// Writes with a picture that may wait.
const LARGE: usize = 8;

/// How much a write holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A few kilobytes.
    Small,
    /// A picture.
    Large,
}

type Job = Box<dyn FnOnce() -> Result<(), Error> + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<(Size, Job)>,
    large: usize,
    /// One is being done.
    busy: bool,
    closed: bool,
    left_out: u64,
    failed: u64,
    /// The last one failed: said once, not with every write.
    failing: bool,
    /// The first failure.
    error: Option<Error>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    done: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
pub struct Later {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What became of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Writes that wait.
    pub waiting: usize,
    /// Writes left out because too many waited.
    pub left_out_total: u64,
    /// Writes that failed.
    pub errors_total: u64,
}

impl Later {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has none.
    pub fn start() -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            arrived: Condvar::new(),
            done: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("files".into())
            .spawn(move || work(&own))
            .map_err(|e| Error::Failed(format!("no thread for files: {e}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Hands over a write. One that does not fit is left out and counted, and the answer is false; with
    /// `wait` it waits for room instead.
    pub fn put(
        &self,
        size: Size,
        wait: bool,
        job: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) -> bool {
        let mut state = self.shared.lock();
        let full = |state: &State| {
            state.jobs.len() >= SMALL + LARGE || size == Size::Large && state.large >= LARGE
        };
        while wait && full(&state) && !state.closed {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if full(&state) || state.closed {
            state.left_out += 1;
            if state.left_out == 1 {
                log::error!("the disk is too slow: writes are left out and counted");
            }
            return false;
        }
        state.large += usize::from(size == Size::Large);
        state.jobs.push_back((size, Box::new(job)));
        drop(state);
        self.shared.arrived.notify_one();
        true
    }

    /// What became of writes so far.
    pub fn written(&self) -> Written {
        let state = self.shared.lock();
        Written {
            waiting: state.jobs.len() + usize::from(state.busy),
            left_out_total: state.left_out,
            errors_total: state.failed,
        }
    }

    /// Waits until all is written, at most for `patience`; then no more is taken. The first failure, if
    /// there was one.
    pub fn close(&self, patience: Duration) -> Option<Error> {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while !state.jobs.is_empty() || state.busy {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::error!(
                    "the disk does not take {} writes; they are lost",
                    state.jobs.len() + 1
                );
                break;
            }
            let wait = self.shared.done.wait_timeout(state, left);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        let stuck = state.busy;
        state.closed = true;
        state.jobs.clear();
        let error = state.error.take();
        drop(state);
        self.shared.arrived.notify_all();
        self.shared.done.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One that is stuck in a write is left to it.
        if let Some(thread) = thread.filter(|_| !stuck)
            && thread.join().is_err()
        {
            log::error!("the thread that writes files failed in an unforeseen way");
        }
        error
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let mut state = shared.lock();
        let (size, job) = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.closed {
                return;
            }
            state = shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.busy = true;
        drop(state);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        let result = result.unwrap_or_else(|_| {
            Err(Error::Failed("writing a file failed in an unforeseen way".into()))
        });
        let mut state = shared.lock();
        state.busy = false;
        state.large -= usize::from(size == Size::Large);
        let failed = result.is_err();
        if let Err(e) = result {
            state.failed += 1;
            if !state.failing {
                log::error!("{e}; failures that follow are counted");
            }
            state.error.get_or_insert(e);
        }
        state.failing = failed;
        drop(state);
        shared.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_disk_that_stands_still_stops_nobody_and_keeps_what_fits() {
        let later = Later::start().unwrap();
        let (go, wait) = channel::<()>();
        let (written, order) = channel();
        assert!(later.put(Size::Small, false, move || {
            let _ = wait.recv();
            Ok(())
        }));
        let began = Instant::now();
        let mut taken = 0;
        for number in 0..2000 {
            let written = written.clone();
            taken += usize::from(later.put(Size::Small, false, move || {
                let _ = written.send(number);
                Ok(())
            }));
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!((SMALL..=SMALL + LARGE).contains(&taken), "{taken}");
        assert_eq!(later.written().left_out_total, 2000 - taken as u64);
        go.send(()).unwrap();
        assert!(later.close(Duration::from_secs(10)).is_none());
        drop(written);
        // In order, and all that was taken.
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..taken as i32).collect::<Vec<_>>());
        assert!(!later.put(Size::Small, true, || Ok(())));
    }

    #[test]
    fn pictures_have_a_bound_of_their_own_and_a_source_that_can_wait_waits() {
        let later = Later::start().unwrap();
        let (go, wait) = channel::<()>();
        later.put(Size::Small, false, move || {
            let _ = wait.recv();
            Ok(())
        });
        let taken = (0..100).filter(|_| later.put(Size::Large, false, || Ok(()))).count();
        assert_eq!(taken, LARGE);
        assert!(later.put(Size::Small, false, || Ok(())));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| later.put(Size::Large, true, || Ok(())));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            go.send(()).unwrap();
            assert!(waiting.join().unwrap());
        });
        later.close(Duration::from_secs(10));
    }

    #[test]
    fn a_disk_that_never_comes_back_does_not_hold_up_the_end() {
        let later = Later::start().unwrap();
        let (_go, wait) = channel::<()>();
        later.put(Size::Small, false, move || {
            let _ = wait.recv();
            Ok(())
        });
        later.put(Size::Small, false, || Ok(()));
        let began = Instant::now();
        assert!(later.close(Duration::from_millis(100)).is_none());
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_first_failure_is_told_at_the_end() {
        let later = Later::start().unwrap();
        for number in 0..3 {
            later.put(Size::Small, false, move || Err(Error::Failed(number.to_string())));
        }
        later.put(Size::Small, false, || panic!("on purpose"));
        let error = later.close(Duration::from_secs(10)).unwrap();
        assert_eq!((error.to_string().as_str(), later.written().errors_total), ("0", 4));
    }
}
