//! What `state.json` says.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two places for a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// `a.pavad`.
    A,
    /// `b.pavad`.
    B,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of the bundle in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It has passed its self-test and has yet to prove itself.
    Candidate,
    /// It has proved itself.
    Good,
    /// It has failed; it is never run again.
    Bad,
}

/// The bundle in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotInfo {
    /// SHA-256 of the file.
    pub digest: String,
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// Its security epoch.
    pub epoch: u32,
    /// What is known of it.
    pub condition: Condition,
    /// Why it is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A bundle that has yet to prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Where it is.
    pub slot: Slot,
    /// Starts of the program that it has left.
    pub starts_left: u32,
}

/// The whole state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Lowest security epoch that is accepted.
    pub epoch: u32,
    /// The slot in use; `None` stands for the bundle of the configuration.
    pub active: Option<Slot>,
    /// A new bundle on trial.
    pub trial: Option<Trial>,
    /// The slots that hold a whole bundle.
    pub slots: Slots,
}

/// What the slots hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Slot a.
    pub a: Option<SlotInfo>,
    /// Slot b.
    pub b: Option<SlotInfo>,
}

impl State {
    /// What a slot holds.
    pub fn slot(&self, slot: Slot) -> Option<&SlotInfo> {
        match slot {
            Slot::A => self.slots.a.as_ref(),
            Slot::B => self.slots.b.as_ref(),
        }
    }

    pub(super) fn slot_mut(&mut self, slot: Slot) -> &mut Option<SlotInfo> {
        match slot {
            Slot::A => &mut self.slots.a,
            Slot::B => &mut self.slots.b,
        }
    }

    pub(super) fn mark(&mut self, slot: Slot, condition: Condition, why: Option<String>) {
        if let Some(info) = self.slot_mut(slot) {
            info.condition = condition;
            info.reason = why;
        }
    }

    /// The slot that an install may overwrite: the one that is not in use.
    pub fn inactive(&self) -> Slot {
        self.active.map_or(Slot::A, Slot::other)
    }

    /// The slot that is to run now; `None` stands for the bundle of the configuration.
    pub fn current(&self) -> Option<Slot> {
        self.trial.map(|trial| trial.slot).or(self.active)
    }
}
