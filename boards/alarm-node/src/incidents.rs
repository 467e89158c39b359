//! The incidents that a node remembers, in a table of fixed size.

use heapless::{String, Vec};

/// One incident.
#[derive(Debug)]
struct Incident {
    id: String<36>,
    sequence: u32,
    ended: bool,
}

/// What a message was to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The first message of an incident that goes on.
    Started,
    /// A later message, or the end.
    Continued,
    /// Nothing new.
    Replayed,
}

/// `N` incidents, the one longest without a message first.
#[derive(Debug)]
pub(crate) struct Incidents<const N: usize> {
    table: Vec<Incident, N>,
    /// An incident began while all `N` places held active ones. There is no place to remember when
    /// it ends, so it counts as active until someone acknowledges: no alarm is dropped.
    overflow: bool,
}

impl<const N: usize> Incidents<N> {
    pub(crate) fn new() -> Self {
        const { assert!(N > 0, "a node must remember at least one incident") };
        Self { table: Vec::new(), overflow: false }
    }

    /// Takes in a message of an incident.
    pub(crate) fn record(&mut self, id: &String<36>, sequence: u32, ended: bool) -> Recorded {
        if let Some(at) = self.table.iter().position(|incident| incident.id == *id) {
            let incident = &mut self.table[at];
            // After the end only its repetitions can come.
            if incident.ended || sequence <= incident.sequence {
                return Recorded::Replayed;
            }
            incident.sequence = sequence;
            incident.ended = ended;
            self.table[at..].rotate_left(1);
            return Recorded::Continued;
        }
        if self.table.is_full() {
            match self.table.iter().position(|incident| incident.ended) {
                Some(oldest_ended) => drop(self.table.remove(oldest_ended)),
                None if ended => return Recorded::Continued,
                None => {
                    self.overflow = true;
                    return Recorded::Started;
                }
            }
        }
        // A place is free: one was made above if there was none.
        let _ = self.table.push(Incident { id: id.clone(), sequence, ended });
        // The first message seen may be an update: the node was started in the middle.
        if ended { Recorded::Continued } else { Recorded::Started }
    }

    pub(crate) fn any_active(&self) -> bool {
        self.overflow || self.active() > 0
    }

    pub(crate) fn active(&self) -> usize {
        self.table.iter().filter(|incident| !incident.ended).count()
    }

    pub(crate) fn forget_overflow(&mut self) {
        self.overflow = false;
    }
}
