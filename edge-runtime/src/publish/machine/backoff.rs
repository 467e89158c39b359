//! How long to wait before the next attempt to connect.

use std::time::Duration;

use super::EndKind;

/// Wait after the first link that is lost, and after any that had stayed; doubled from then on.
pub const FIRST: Duration = Duration::from_millis(250);
/// Longest wait.
pub const LAST: Duration = Duration::from_secs(30);
/// Shortest wait after the broker itself has refused the connection: it has answered, and will
/// answer the same.
pub const REFUSED: Duration = Duration::from_secs(5);
/// First wait after another client has taken the id; doubled, so that two devices of one id do not
/// throw each other out all day.
pub const TAKEN_FIRST: Duration = Duration::from_secs(30);
/// Longest wait after that.
pub const TAKEN_LAST: Duration = Duration::from_secs(600);
/// A link has stayed when the broker was heard this long after it had accepted it. One that was
/// merely accepted resets nothing: what ended it may end the next.
pub const STAYED: Duration = Duration::from_secs(10);

/// The waits between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
    taken: Duration,
}

impl Backoff {
    /// Begins with the shortest waits.
    pub fn new() -> Self {
        Self { next: FIRST, taken: TAKEN_FIRST }
    }

    /// The wait after a link has ended. `heard` is how long after its acceptance the broker was
    /// last heard; zero if it never accepted.
    pub fn after(&mut self, kind: EndKind, heard: Duration) -> Duration {
        if heard >= STAYED {
            self.next = FIRST;
        }
        // The other client comes back after a wait of its own, so a link between two takeovers may
        // well have stayed.
        if heard >= self.taken * 2 {
            self.taken = TAKEN_FIRST;
        }
        if kind == EndKind::TakenOver {
            let wait = self.taken;
            self.taken = (wait * 2).min(TAKEN_LAST);
            return wait;
        }
        let least = if kind == EndKind::Refused { REFUSED } else { FIRST };
        let wait = self.next.max(least);
        self.next = (wait * 2).min(LAST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;

    fn waits(kind: EndKind, heard: Duration, count: usize) -> Vec<f64> {
        let mut backoff = Backoff::new();
        (0..count).map(|_| backoff.after(kind, heard).as_secs_f64()).collect()
    }

    #[test]
    fn waits_double_and_end_at_the_longest() {
        let expected = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0];
        assert_eq!(waits(EndKind::Lost, NEVER, 9), expected);
        assert_eq!(waits(EndKind::Unreachable, NEVER, 9), expected);
        assert_eq!(waits(EndKind::Refused, NEVER, 5), [5.0, 10.0, 20.0, 30.0, 30.0]);
    }

    #[test]
    fn a_link_that_was_merely_accepted_resets_nothing() {
        let short = Duration::from_secs(9);
        assert_eq!(waits(EndKind::Lost, short, 4), [0.25, 0.5, 1.0, 2.0]);
        assert_eq!(waits(EndKind::Lost, STAYED, 4), [0.25; 4]);
    }

    #[test]
    fn two_clients_of_one_id_grow_quiet() {
        let mut backoff = Backoff::new();
        let mut waits = Vec::new();
        // The other one comes back after the same wait as ours.
        let mut heard = NEVER;
        for _ in 0..7 {
            let wait = backoff.after(EndKind::TakenOver, heard);
            waits.push(wait.as_secs());
            heard = wait;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600]);
        // It has gone: the next time is a first one.
        assert_eq!(backoff.after(EndKind::TakenOver, TAKEN_LAST * 2), TAKEN_FIRST);
    }
}
