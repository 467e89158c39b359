//! A broker with every fault that is known of the field.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{EndKind, Refusal, Terms, packet_size};
use crate::random::Random;

/// What the broker makes of an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Open,
    /// Nobody listens.
    Down,
    /// It answers, and refuses.
    Refuses,
}

/// What the broker makes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Taken,
    Refused(Refusal),
    /// It ends the link.
    Ends(EndKind),
    /// Nothing comes back.
    Silence,
}

#[derive(Debug)]
pub struct Broker {
    pub door: Door,
    /// Cameras whose topics it refuses, and single topics.
    pub denied: BTreeSet<String>,
    /// It ends the link instead of answering with a refusal, as MQTT 3.1.1 has it.
    pub ends_links: bool,
    /// It answers with a refusal, and then ends the link all the same (Mosquitto 2.0.11 with
    /// `max_queued_messages 0`).
    pub refuses_and_ends: bool,
    /// It says why it ends a link.
    pub names_reasons: bool,
    pub limit: Option<usize>,
    /// It has said its limit when it accepted the connection.
    pub limit_known: bool,
    /// Of a hundred messages as many are refused.
    pub quota: u64,
    /// Milliseconds from a message to its answer.
    pub slowness: u64,
    /// It takes everything in and gives nothing back.
    pub half_open: bool,
    pub receive_max: Option<u16>,
    /// What it keeps.
    pub retained: BTreeMap<String, Vec<u8>>,
    /// Events in the order in which it has taken them: topic and content.
    pub events: Vec<(String, Vec<u8>)>,
}

impl Broker {
    pub fn new() -> Self {
        Self {
            door: Door::Open,
            denied: BTreeSet::new(),
            ends_links: false,
            refuses_and_ends: false,
            names_reasons: false,
            limit: None,
            limit_known: false,
            quota: 0,
            slowness: 5,
            half_open: false,
            receive_max: None,
            retained: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Another fault, or none.
    pub fn draw(&mut self, random: &mut Random, topics: &[String]) {
        match random.below(12) {
            0 => self.door = Door::Down,
            1 => self.door = Door::Refuses,
            2 | 3 => self.door = Door::Open,
            4 => {
                let topic = &topics[random.below(topics.len() as u64) as usize];
                self.denied.insert(topic.clone());
            }
            5 => self.denied.clear(),
            6 => {
                self.limit = [None, Some(60), Some(110), Some(400)][random.below(4) as usize];
                self.limit_known = random.one_in(2);
            }
            7 => self.quota = [0, 0, 10, 60][random.below(4) as usize],
            8 => self.slowness = [5, 5, 200, 3000][random.below(4) as usize],
            9 => self.half_open = random.one_in(2),
            10 => {
                (self.ends_links, self.names_reasons) = (random.one_in(2), random.one_in(2));
                self.refuses_and_ends = random.one_in(2);
            }
            _ => self.receive_max = [None, Some(1), Some(20)][random.below(3) as usize],
        }
    }

    /// Its faults, in words.
    pub fn describe(&self) -> String {
        let Self { door, denied, limit, quota, slowness, half_open, receive_max, .. } = self;
        let (ends, names, both) = (self.ends_links, self.names_reasons, self.refuses_and_ends);
        format!(
            "door {door:?}, denied {denied:?}, limit {limit:?}, quota {quota}, {slowness} ms, half open \
             {half_open}, takes {receive_max:?} at once, ends links {ends}, names reasons {names}, \
             refuses and ends {both}"
        )
    }

    /// All faults are over, but for what is denied.
    pub fn heal(&mut self) {
        let kept = (
            std::mem::take(&mut self.denied),
            std::mem::take(&mut self.retained),
            std::mem::take(&mut self.events),
        );
        *self = Self::new();
        (self.denied, self.retained, self.events) = kept;
    }

    pub fn terms(&self) -> Terms {
        let max_packet = self.limit.filter(|_| self.limit_known && !self.ends_links);
        Terms { max_packet, receive_max: self.receive_max, retain: true }
    }

    pub fn take(
        &mut self,
        topic: &str,
        retain: bool,
        payload: &[u8],
        random: &mut Random,
    ) -> Answer {
        if self.half_open {
            return Answer::Silence;
        }
        let too_large = self.limit.is_some_and(|limit| packet_size(topic, payload) > limit);
        let refusal = if self.denied.contains(topic) {
            Refusal::Denied
        } else if too_large {
            Refusal::TooLarge
        } else if random.below(100) < self.quota {
            Refusal::Quota
        } else {
            if retain {
                self.retained.insert(topic.to_owned(), payload.to_vec());
            } else {
                self.events.push((topic.to_owned(), payload.to_vec()));
            }
            return Answer::Taken;
        };
        // A packet beyond the limit cannot be answered at all.
        if too_large || self.ends_links {
            let named = self.names_reasons && !self.ends_links;
            return Answer::Ends(if named { EndKind::Blamed(refusal) } else { EndKind::Lost });
        }
        Answer::Refused(refusal)
    }
}
