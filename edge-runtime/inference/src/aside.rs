//! The semantic detector's long calls in a thread of their own, so that other streams' frames need not
//! wait for them.
//!
//! A stream has at most one snippet there, so the queue is never longer than there are streams, and
//! streams take turns. What is computed, and from what, is the same as without the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::semantic::Work;
use crate::{Error, Graph};

/// Snippets that may wait. More streams than this wait for room.
const WAITING: usize = 64;

/// What is called when something has been computed aside.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The work of a stream, when it is done.
type Done = (Work, Result<(), Error>);

/// Where a stream's work comes back to.
#[derive(Default)]
pub(crate) struct Flight {
    done: Mutex<Option<Done>>,
    landed: Condvar,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, Option<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work, if it is done.
    pub(crate) fn take(&self) -> Option<Done> {
        self.lock().take()
    }

    /// Waits for the work.
    pub(crate) fn wait(&self) -> Done {
        let mut done = self.lock();
        loop {
            match done.take() {
                Some(done) => return done,
                None => done = self.landed.wait(done).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Backbone and head.
pub(crate) type Pair = (Box<dyn Graph>, Box<dyn Graph>);

/// What the thread is told.
enum Message {
    Graphs(Pair),
    Work(Work, Arc<Flight>),
}

/// Backbone and head in their thread. Dropping it ends the thread after the call that it is in.
pub(crate) struct Aside {
    messages: Option<SyncSender<Message>>,
    wake: Arc<Mutex<Option<Wake>>>,
    thread: Option<JoinHandle<()>>,
}

impl Aside {
    /// Starts the thread, which calls `begin` first, and waits for its graphs.
    pub(crate) fn start(begin: fn()) -> std::io::Result<Self> {
        let (messages, receiver) = sync_channel(WAITING);
        let wake = Arc::new(Mutex::new(None));
        let own = Arc::clone(&wake);
        let thread = std::thread::Builder::new().name("semantic".into()).spawn(move || {
            begin();
            compute(&receiver, &own);
        })?;
        Ok(Self { messages: Some(messages), wake, thread: Some(thread) })
    }

    /// Gives the thread its graphs.
    pub(crate) fn take(self, graphs: Pair) -> Self {
        // The thread is there as long as this is: it catches what a graph may do.
        if let Some(messages) = &self.messages {
            let _ = messages.send(Message::Graphs(graphs));
        }
        self
    }

    /// From now on `wake` is called when something has been computed.
    pub(crate) fn wake_with(&self, wake: Wake) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }

    /// Hands over work; it comes back in `flight`.
    pub(crate) fn submit(&self, work: Work, flight: &Arc<Flight>) {
        if let Some(messages) = &self.messages
            && let Err(lost) = messages.send(Message::Work(work, Arc::clone(flight)))
            && let Message::Work(work, flight) = lost.0
        {
            land(&flight, work, Err(unforeseen()));
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(self.messages.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("{}", unforeseen());
        }
    }
}

fn compute(messages: &Receiver<Message>, wake: &Mutex<Option<Wake>>) {
    let mut graphs = None;
    while let Ok(message) = messages.recv() {
        let (mut work, flight) = match message {
            Message::Graphs(pair) => {
                graphs = Some(pair);
                continue;
            }
            Message::Work(work, flight) => (work, flight),
        };
        let run = AssertUnwindSafe(|| match &mut graphs {
            Some((backbone, head)) => work.compute(backbone.as_mut(), head.as_mut()),
            None => Err(unforeseen()),
        });
        let result = catch_unwind(run).unwrap_or_else(|_| Err(unforeseen()));
        land(&flight, work, result);
        let wake = wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}

fn land(flight: &Flight, work: Work, result: Result<(), Error>) {
    *flight.lock() = Some((work, result));
    flight.landed.notify_all();
}

fn unforeseen() -> Error {
    Error::Run { graph: "semantic".into(), reason: "it failed in an unforeseen way".into() }
}
