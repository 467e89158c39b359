//! Topics that the broker does not take: each is left alone for a while, then tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Refusal;

/// Waits after a refusal that says something of the topic or the message: rights, size.
const FOR_GOOD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// Waits after one that will pass: quota, a broker that is busy.
const PASSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Links that have ended with one and the same message under way before it is taken for the cause.
const STRIKES: u8 = 3;

/// A topic that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hold {
    until: Duration,
    wait: Duration,
    refusal: Refusal,
    /// The broker has not answered but ended the link: the topic is tried again by itself.
    suspected: bool,
}

/// The topics that are left alone.
#[derive(Debug, Default)]
pub struct Holds {
    holds: BTreeMap<String, Hold>,
    /// Links in a row that have ended while this was the only message under way.
    strikes: BTreeMap<String, u8>,
}

impl Holds {
    /// Whether messages of the topic may be sent at this time.
    pub fn is_open(&self, topic: &str, now: Duration) -> bool {
        self.holds.get(topic).is_none_or(|hold| hold.until <= now)
    }

    /// Whether messages of the topic may be sent, and it is, or is not, one of the suspected.
    pub fn may_send(&self, topic: &str, suspected: bool, now: Duration) -> bool {
        self.is_open(topic, now) && self.is_suspected(topic) == suspected
    }

    /// Whether the topic is closed, and for a reason that does not pass by itself.
    pub fn is_closed_for_good(&self, topic: &str, now: Duration) -> bool {
        self.holds.get(topic).is_some_and(|hold| hold.until > now && hold.refusal.is_for_good())
    }

    /// Whether the next message of the topic may end the link.
    pub fn is_suspected(&self, topic: &str) -> bool {
        self.holds.get(topic).is_some_and(|hold| hold.suspected)
    }

    /// Leaves a topic alone; true if that is news. `suspected` if the broker has not answered but
    /// ended the link.
    pub fn close(&mut self, topic: &str, refusal: Refusal, suspected: bool, now: Duration) -> bool {
        let (first, last) = if refusal.is_for_good() { FOR_GOOD } else { PASSING };
        let before = self.holds.get(topic);
        let wait = before.map_or(first, |hold| (hold.wait * 2).clamp(first, last));
        let news = before.is_none_or(|hold| hold.refusal != refusal);
        let hold = Hold { until: now + wait, wait, refusal, suspected };
        self.holds.insert(topic.to_owned(), hold);
        self.strikes.remove(topic);
        news
    }

    /// The link has ended after the topic was refused: it is tried again by itself.
    pub fn suspect(&mut self, topic: &str) {
        if let Some(hold) = self.holds.get_mut(topic) {
            hold.suspected = true;
        }
    }

    /// The broker has taken a message of the topic; true if it had not before.
    pub fn open(&mut self, topic: &str) -> bool {
        self.strikes.remove(topic);
        self.holds.remove(topic).is_some()
    }

    /// A message of another size is there: one that was too large may fit now.
    pub fn renewed(&mut self, topic: &str, now: Duration) {
        if let Some(hold) = self.holds.get_mut(topic)
            && hold.refusal == Refusal::TooLarge
            && !hold.suspected
        {
            hold.until = hold.until.min(now);
        }
    }

    /// A new link: what the broker has answered before, it may answer otherwise now.
    pub fn new_link(&mut self, now: Duration) {
        for hold in self.holds.values_mut().filter(|hold| !hold.suspected) {
            hold.until = hold.until.min(now);
        }
    }

    /// A link has ended while the topic's message was the only one under way. True if it is now
    /// taken for the cause.
    pub fn strike(&mut self, topic: &str) -> bool {
        if self.is_suspected(topic) {
            return true;
        }
        let strikes = self.strikes.entry(topic.to_owned()).or_default();
        *strikes += 1;
        *strikes >= STRIKES
    }

    /// A link has stayed: what had come together by chance is forgotten.
    pub fn forget_strikes(&mut self) {
        self.strikes.clear();
    }

    /// When the next topic may be tried again.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        self.holds.values().map(|hold| hold.until).filter(|until| *until > now).min()
    }

    /// Topics that are left alone at this time.
    pub fn count(&self, now: Duration) -> usize {
        self.holds.values().filter(|hold| hold.until > now).count()
    }
}
