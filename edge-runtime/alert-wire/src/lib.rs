//! The wire format of alerts: one message type, written as JSON and as postcard, without an
//! allocator.
//!
//! The camera publishes [`Alert`]s over MQTT: JSON for people and home automation, the same fields
//! in [postcard](https://postcard.jamesmunns.com) for microcontrollers. An incident is announced
//! once ([`Phase::New`]), refreshed at a limited rate ([`Phase::Update`]) and closed
//! ([`Phase::End`]); all its messages carry one id. Delivery is at least once, so a subscriber drops
//! a message whose `(id, sequence)` it has seen.
//!
//! Topic names are built by [`Topics`], so that camera and siren cannot disagree on them.

#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(feature = "json")]
extern crate alloc;

mod alert;
mod codec;
mod topic;

pub use alert::{Alert, MAX_ID, MAX_NAME, ModelId, Phase, Region, SCHEMA, truncate};
pub use codec::{DecodeError, EncodeError, MAX_POSTCARD};
pub use topic::{Availability, MAX_ROOT, MAX_TOPIC, NameError, Setting, Topic, Topics, check_id};
