//! Events that wait, by camera.
//!
//! Of each camera one event is under way at a time, in both forms. With more, a broker that refuses
//! one of several (quota) would take the next before it, and a siren would hear of an incident's end
//! before its beginning.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::holds::Holds;
use super::{Form, Token};
use crate::publish::SpooledEvent;
use alert_wire::Topics;

/// What has become of one form of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// To be sent.
    Owed,
    Sent(Token),
    Acknowledged,
    /// The broker of this link takes none of its size.
    TooLarge,
}

#[derive(Debug)]
struct Head {
    number: u64,
    /// Absent until it has been read.
    event: Option<SpooledEvent>,
    forms: [Delivery; 2],
}

#[derive(Debug, Default)]
struct Camera {
    waiting: VecDeque<u64>,
    head: Option<Head>,
    /// The disk did not give the head; it is asked again then.
    read_again: Option<Duration>,
}

/// A form of an event that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub camera: String,
    pub number: u64,
    pub form: Form,
    pub topic: String,
}

/// The events of all cameras.
#[derive(Debug)]
pub struct Queues {
    topics: Topics,
    cameras: BTreeMap<String, Camera>,
}

const FORMS: [Form; 2] = [Form::Json, Form::Postcard];

/// Where a form of a camera's events goes; empty for an id that no camera can have.
fn topic(topics: &Topics, camera: &str, form: Form) -> String {
    let topic = match form {
        Form::Json => topics.events(camera),
        Form::Postcard => topics.events_postcard(camera),
    };
    topic.map(|topic| topic.to_string()).unwrap_or_default()
}

impl Queues {
    pub fn new(topics: Topics) -> Self {
        Self { topics, cameras: BTreeMap::new() }
    }

    /// Where a form of a camera's events goes.
    pub fn topic(&self, camera: &str, form: Form) -> String {
        topic(&self.topics, camera, form)
    }

    /// A new event, the newest of its camera.
    pub fn stored(&mut self, number: u64, camera: &str) {
        self.cameras.entry(camera.to_owned()).or_default().waiting.push_back(number);
    }

    /// An event is no longer there.
    pub fn gone(&mut self, number: u64) {
        for camera in self.cameras.values_mut() {
            if camera.head.as_ref().is_some_and(|head| head.number == number) {
                camera.head = None;
            }
            if let Ok(at) = camera.waiting.binary_search(&number) {
                camera.waiting.remove(at);
            }
        }
        self.tidy();
    }

    pub fn loaded(&mut self, number: u64, event: SpooledEvent) {
        if let Some(head) = self.head_of(number) {
            head.event = Some(event);
        }
    }

    /// The disk does not give an event; it is asked again at `again`.
    pub fn not_loaded(&mut self, number: u64, again: Duration) {
        for camera in self.cameras.values_mut() {
            if camera.head.as_ref().is_some_and(|head| head.number == number) {
                camera.head = None;
                camera.read_again = Some(again);
            }
        }
    }

    fn head_of(&mut self, number: u64) -> Option<&mut Head> {
        let mut heads = self.cameras.values_mut().filter_map(|camera| camera.head.as_mut());
        heads.find(|head| head.number == number)
    }

    /// The oldest events that are to be read now, at most `room`.
    pub fn begin_loading(&mut self, room: usize, now: Duration) -> Vec<u64> {
        let held = self.cameras.values().filter(|camera| camera.head.is_some()).count();
        let mut idle: Vec<(u64, &mut Camera)> = self
            .cameras
            .values_mut()
            .filter(|camera| camera.head.is_none())
            .filter(|camera| camera.read_again.is_none_or(|again| again <= now))
            .filter_map(|camera| Some((*camera.waiting.front()?, camera)))
            .collect();
        idle.sort_unstable_by_key(|&(number, _)| number);
        let chosen = idle.into_iter().take(room.saturating_sub(held));
        chosen
            .map(|(number, camera)| {
                camera.head = Some(Head { number, event: None, forms: [Delivery::Owed; 2] });
                camera.read_again = None;
                number
            })
            .collect()
    }

    /// What may be sent next, of the oldest events first: a form whose topic `may` be sent to.
    pub fn candidate(&self, may: impl Fn(&str) -> bool) -> Option<Candidate> {
        let mut found: Option<Candidate> = None;
        for (id, camera) in &self.cameras {
            let Some(head) = camera.head.as_ref().filter(|head| head.event.is_some()) else {
                continue;
            };
            if found.as_ref().is_some_and(|found| found.number < head.number) {
                continue;
            }
            let owed = FORMS.into_iter().filter(|f| head.forms[*f as usize] == Delivery::Owed);
            let mut topics = owed.map(|form| (form, self.topic(id, form)));
            if let Some((form, topic)) = topics.find(|(_, topic)| may(topic)) {
                let (camera, number) = (id.clone(), head.number);
                found = Some(Candidate { camera, number, form, topic });
            }
        }
        found
    }

    /// The content of a form.
    pub fn payload(&self, candidate: &Candidate) -> Option<&[u8]> {
        let event = self.cameras.get(&candidate.camera)?.head.as_ref()?.event.as_ref()?;
        Some(match candidate.form {
            Form::Json => &event.json,
            Form::Postcard => &event.postcard,
        })
    }

    fn set(&mut self, number: u64, form: Form, delivery: Delivery) {
        if let Some(head) = self.head_of(number) {
            head.forms[form as usize] = delivery;
        }
    }

    pub fn sent(&mut self, number: u64, form: Form, token: Token) {
        self.set(number, form, Delivery::Sent(token));
    }

    pub fn acknowledged(&mut self, number: u64, form: Form) {
        self.set(number, form, Delivery::Acknowledged);
    }

    /// A form is to be sent again, later.
    pub fn owed(&mut self, number: u64, form: Form) {
        self.set(number, form, Delivery::Owed);
    }

    pub fn too_large(&mut self, number: u64, form: Form) {
        self.set(number, form, Delivery::TooLarge);
    }

    /// The link has ended: what it has not acknowledged is owed again, and the next broker may take
    /// larger messages.
    pub fn link_ended(&mut self) {
        for camera in self.cameras.values_mut() {
            for form in camera.head.iter_mut().flat_map(|head| &mut head.forms) {
                if *form != Delivery::Acknowledged {
                    *form = Delivery::Owed;
                }
            }
        }
    }

    /// Takes out the events that need nothing more: acknowledged in both forms, or in one where the
    /// broker does not take the other. With each, whether it was both.
    pub fn take_delivered(&mut self, holds: &Holds, now: Duration) -> Vec<(u64, bool)> {
        let mut delivered = Vec::new();
        for (id, camera) in &mut self.cameras {
            let Some(head) = &camera.head else { continue };
            let (mut acknowledged, mut refused) = (0, 0);
            for form in FORMS {
                match head.forms[form as usize] {
                    Delivery::Acknowledged => acknowledged += 1,
                    Delivery::TooLarge => refused += 1,
                    Delivery::Owed
                        if holds.is_closed_for_good(&topic(&self.topics, id, form), now) =>
                    {
                        refused += 1;
                    }
                    Delivery::Owed | Delivery::Sent(_) => {}
                }
            }
            if acknowledged > 0 && acknowledged + refused == FORMS.len() {
                delivered.push((head.number, refused == 0));
                camera.head = None;
                camera.waiting.pop_front();
            }
        }
        self.tidy();
        delivered
    }

    /// Cameras whose oldest event is too large for the broker in both forms. It is owed again: the
    /// next link, or the next time, may be another.
    pub fn take_stuck(&mut self) -> Vec<String> {
        let mut stuck = Vec::new();
        for (id, camera) in &mut self.cameras {
            if let Some(head) = &mut camera.head
                && head.forms == [Delivery::TooLarge; 2]
            {
                head.forms = [Delivery::Owed; 2];
                stuck.push(id.clone());
            }
        }
        stuck
    }

    /// When an event that the disk did not give is asked for again.
    pub fn next(&self) -> Option<Duration> {
        self.cameras.values().filter_map(|camera| camera.read_again).min()
    }

    fn tidy(&mut self) {
        self.cameras.retain(|_, camera| camera.head.is_some() || !camera.waiting.is_empty());
    }

    /// Events that wait or are under way.
    pub fn len(&self) -> usize {
        self.cameras.values().map(|camera| camera.waiting.len()).sum()
    }

    /// Events that are in memory, or on their way there.
    pub fn in_memory(&self) -> usize {
        self.cameras.values().filter(|camera| camera.head.is_some()).count()
    }
}
