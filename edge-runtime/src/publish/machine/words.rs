//! What the publisher says, with what to do about it.

use std::time::Duration;

use super::{Refusal, Terms};

pub const NO_RETAIN: &str = "the broker keeps no retained messages: who subscribes later finds \
    neither status nor availability; switch retained messages on at the broker";
pub const NO_COMMANDS: &str = "the broker refuses the subscription to commands; give the device the \
    right to read its command topics, or set `mqtt.commands = false`";
pub const EVENT_TOO_LARGE: &str = "an event is larger than the broker takes; it is sent in the form \
    that fits; raise the broker's packet limit";
pub const NO_ROOM: &str = "the broker takes no message of this size";

pub fn set_aside(topic: &str, refusal: Refusal, suspected: bool, text: &str) -> String {
    let remedy = match refusal {
        Refusal::Denied => "check the broker's access rules",
        Refusal::TooLarge => "raise the broker's packet limit",
        Refusal::Quota => "raise the broker's quota",
        Refusal::Unspecified => "see the broker's log",
    };
    let who = if suspected { "the broker seems to refuse" } else { "the broker refuses" };
    format!("{who} {topic}: {text}; {remedy}; it is set aside and tried again later")
}

pub fn taken_again(topic: &str) -> String {
    format!("the broker takes {topic} again")
}

pub fn too_large(size: usize, terms: &Terms) -> String {
    let limit = terms.max_packet.unwrap_or_default();
    format!("{size} bytes are more than its packets may have, {limit}")
}

pub fn event_too_large(topic: &str, text: &str) -> String {
    format!("an event of {topic}: {text}")
}

pub fn link_ended(why: &str, wait: Duration) -> String {
    format!("{why}; events are kept, next attempt in {:.1} s", wait.as_secs_f64())
}

pub fn silent(what: &str, limit: Duration) -> String {
    format!("the broker no longer answers: {what} for {} s", limit.as_secs())
}

pub fn unexplained(client_id: &str) -> String {
    format!(
        "the broker accepts the connection and ends it again, without a reason; if another client \
         uses the id `{client_id}`, give each its own `mqtt.client_id`; see the broker's log"
    )
}
