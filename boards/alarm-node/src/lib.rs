//! The microcontroller siren that listens to alerts.
//!
//! The program on the microcontroller receives MQTT messages (or serial frames, or LoRa packets)
//! and hands their bytes to an [`AlarmNode`], which decides whether the siren sounds. No allocator,
//! no clock of its own: time is milliseconds since start, handed in at every call.
//!
//! # States
//!
//! ```text
//!          New or Update of an incident
//!   Quiet ─────────────────────────────► Alarm ──┐ acknowledge
//!     ▲  ▲                                 │     ▼
//!     │  │        all incidents ended      │  Acknowledged ──► Alarm at the next incident
//!     │  └───────(without latch)───────────┤     │
//!     │                                    ▼     │ all incidents ended
//!     └───────────── acknowledge ─────── Latched │
//!     ◄──────────────────────────────────────────┘
//!
//!   any ── no message for Config::silence_ms ──► LinkLost ── any message ──► as before
//! ```
//!
//! # Fail-safe
//!
//! A camera that is unplugged sends no alert. When neither an alert nor a heartbeat (any message of
//! the device, its retained availability above all) has come for [`Config::silence_ms`], the node
//! goes to [`State::LinkLost`] and the output to what [`Config::on_silence`] says: by default the
//! siren sounds, since silence may be sabotage. An operator can acknowledge it. Start-up counts as a
//! message, so a node that never hears its device raises the alarm too. While the node itself is
//! without power the output is what the wiring makes it; use [`boards::ActiveLevel`] to match.
//!
//! # The siren
//!
//! While it is to sound it follows [`Config::pattern`], for [`Config::sound_ms`] at most: neighbours
//! and the law have limits. The state stays as it is, and the next incident starts the time anew.
//!
//! # Acknowledging
//!
//! [`AlarmNode::on_button`] takes the level of a push button. One that is stuck silences one alarm
//! and none after it.
//!
//! # What the link must do
//!
//! A message has no checksum of its own. Over MQTT, TCP and TLS have one; a serial or radio link
//! needs a frame with a checksum around each message, or a flipped bit may make another valid one.
//!
//! # Replays
//!
//! Delivery is at least once and an attacker may repeat old messages, so a message counts only if
//! its sequence number is higher than the incident's last one. Ended incidents are remembered, the
//! oldest forgotten first when the table is full.

#![no_std]

#[cfg(test)]
extern crate std;

mod button;
mod incidents;

use alert_wire::{Alert, DecodeError, Phase};
use boards::{AlarmOutput, HardwareError, Pattern};

use incidents::{Incidents, Recorded};

pub use button::{Button, ButtonEvent, DEBOUNCE_MS, STUCK_MS};

/// How a node behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Listen to this device only; empty listens to every device whose messages come.
    pub device: heapless::String<{ alert_wire::MAX_ID }>,
    /// Keep the siren on after the incidents have ended, until someone acknowledges.
    pub latch: bool,
    /// Milliseconds without any message after which the link counts as lost; 0 never.
    pub silence_ms: u64,
    /// What the siren does while the link is lost.
    pub on_silence: FailSafe,
    /// The rhythm in which the siren sounds.
    pub pattern: Pattern,
    /// Milliseconds after which the siren stops until the next incident; 0 never.
    pub sound_ms: u64,
}

impl Default for Config {
    /// Every device, no latch, the siren sounds after 90 s of silence: three of the heartbeats
    /// that come every 30 s. It sounds without a break, for 3 minutes at most.
    fn default() -> Self {
        Self {
            device: heapless::String::new(),
            latch: false,
            silence_ms: 90_000,
            on_silence: FailSafe::Sound,
            pattern: Pattern { on_ms: 1, off_ms: 0 },
            sound_ms: 180_000,
        }
    }
}

/// What the siren does while the link is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailSafe {
    /// It sounds.
    Sound,
    /// It is quiet.
    Quiet,
    /// It stays as it was.
    Hold,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No incident; quiet.
    Quiet,
    /// An incident is active; the siren sounds.
    Alarm,
    /// Incidents are active, and someone knows; quiet.
    Acknowledged,
    /// All incidents have ended, nobody has acknowledged; the siren sounds.
    Latched,
    /// Nothing has been heard for too long; the siren does as [`Config::on_silence`] says.
    LinkLost,
}

/// What a message did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was new and has been taken in.
    Accepted,
    /// It is one that was seen before, or older than one seen before.
    Replayed,
    /// It is of another device.
    Foreign,
}

/// Why a message or a switch failed. The node goes on in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not an alert.
    Decode(DecodeError),
    /// The output could not be switched; it is tried again at the next call.
    Output(HardwareError),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "message dropped: {error}"),
            Self::Output(error) => write!(f, "alarm output: {error}"),
        }
    }
}

impl core::error::Error for Error {}

/// A siren that follows the incidents of a device. `N` incidents are remembered, active and ended
/// ones together.
#[derive(Debug)]
pub struct AlarmNode<O: AlarmOutput, const N: usize = 32> {
    output: O,
    config: Config,
    incidents: Incidents<N>,
    /// Whether an alarm sounds or would sound, until its incidents end or it is acknowledged.
    sounding: bool,
    /// When something was last heard, on the caller's clock.
    heard_ms: u64,
    link_lost: bool,
    silence_acknowledged: bool,
    button: Button,
    /// The newest time heard of.
    now_ms: u64,
    /// Since when the siren is to sound.
    since_ms: Option<u64>,
    applied: Option<bool>,
}

impl<O: AlarmOutput, const N: usize> AlarmNode<O, N> {
    /// A quiet node, started at `now_ms`; the output is switched off.
    ///
    /// # Errors
    /// If the output cannot be switched; a siren that does not obey must not be taken for one.
    pub fn new(output: O, config: Config, now_ms: u64) -> Result<Self, HardwareError> {
        let mut node = Self {
            output,
            config,
            incidents: Incidents::new(),
            sounding: false,
            heard_ms: now_ms,
            link_lost: false,
            silence_acknowledged: false,
            button: Button::new(now_ms),
            now_ms,
            since_ms: None,
            applied: None,
        };
        node.apply(now_ms)?;
        Ok(node)
    }

    /// Takes in an alert in postcard. Bytes that are not an alert and alerts of another device are
    /// no sign of life.
    ///
    /// # Errors
    /// If the bytes are not an alert, or the output cannot be switched.
    pub fn on_message(&mut self, bytes: &[u8], now_ms: u64) -> Result<Outcome, Error> {
        let alert = match Alert::from_postcard(bytes) {
            Ok(alert) => alert,
            Err(error) => {
                // Time passes all the same.
                self.tick(now_ms).map_err(Error::Output)?;
                return Err(Error::Decode(error));
            }
        };
        if !self.config.device.is_empty() && self.config.device != alert.device {
            self.tick(now_ms).map_err(Error::Output)?;
            return Ok(Outcome::Foreign);
        }
        let ended = alert.phase == Phase::End;
        let outcome = match self.incidents.record(&alert.id, alert.sequence, ended) {
            Recorded::Replayed => Outcome::Replayed,
            Recorded::Started => {
                self.sounding = true;
                self.since_ms = None;
                Outcome::Accepted
            }
            Recorded::Continued => Outcome::Accepted,
        };
        if outcome == Outcome::Replayed {
            // An attacker's recording must not pass for a living camera.
            self.tick(now_ms).map_err(Error::Output)?;
        } else {
            self.heard(now_ms).map_err(Error::Output)?;
        }
        Ok(outcome)
    }

    /// Notes a sign of life: any other message of the device.
    ///
    /// # Errors
    /// If the output cannot be switched.
    pub fn on_heartbeat(&mut self, now_ms: u64) -> Result<(), HardwareError> {
        self.heard(now_ms)
    }

    /// Lets time pass; call it about once a second, and several times in each half of the pattern.
    ///
    /// # Errors
    /// If the output cannot be switched.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), HardwareError> {
        let silent = now_ms.saturating_sub(self.heard_ms);
        if self.config.silence_ms > 0 && silent >= self.config.silence_ms {
            self.link_lost = true;
        }
        self.apply(now_ms)
    }

    /// Takes the level of the button that acknowledges; to be called every few milliseconds. Returns
    /// what the button has become, if anything: a stuck one is worth telling someone.
    ///
    /// # Errors
    /// If the output cannot be switched.
    pub fn on_button(
        &mut self,
        pressed: bool,
        now_ms: u64,
    ) -> Result<Option<ButtonEvent>, HardwareError> {
        let event = self.button.update(pressed, now_ms);
        if event == Some(ButtonEvent::Pressed) {
            self.acknowledge()?;
        }
        self.tick(now_ms)?;
        Ok(event)
    }

    /// Someone has taken note: the siren stops until the next incident, or, if the link is lost,
    /// until it comes back and is lost again.
    ///
    /// # Errors
    /// If the output cannot be switched.
    pub fn acknowledge(&mut self) -> Result<(), HardwareError> {
        self.sounding = false;
        self.silence_acknowledged = self.link_lost;
        self.incidents.forget_overflow();
        self.apply(self.now_ms)
    }

    /// What the node is doing.
    pub fn state(&self) -> State {
        if self.link_lost {
            return State::LinkLost;
        }
        match (self.incidents.any_active(), self.sounding) {
            (true, true) => State::Alarm,
            (true, false) => State::Acknowledged,
            (false, true) => State::Latched,
            (false, false) => State::Quiet,
        }
    }

    /// How many incidents are active.
    pub fn active(&self) -> usize {
        self.incidents.active()
    }

    /// Gives the output back, as it is.
    pub fn release(self) -> O {
        self.output
    }

    fn heard(&mut self, now_ms: u64) -> Result<(), HardwareError> {
        self.heard_ms = now_ms;
        self.link_lost = false;
        self.silence_acknowledged = false;
        self.apply(now_ms)
    }

    /// Brings the output to what the state says.
    fn apply(&mut self, now_ms: u64) -> Result<(), HardwareError> {
        self.now_ms = self.now_ms.max(now_ms);
        if !self.incidents.any_active() && !self.config.latch {
            self.sounding = false;
        }
        let sounds = match (self.link_lost, self.config.on_silence) {
            (true, _) if self.silence_acknowledged => false,
            (true, FailSafe::Sound) => true,
            (true, FailSafe::Quiet) => false,
            (true, FailSafe::Hold) | (false, _) => self.sounding,
        };
        let wanted = sounds && {
            let elapsed = self.now_ms - *self.since_ms.get_or_insert(self.now_ms);
            let allowed = self.config.sound_ms == 0 || elapsed < self.config.sound_ms;
            allowed && self.config.pattern.is_on(elapsed)
        };
        if !sounds {
            self.since_ms = None;
        }
        if self.applied != Some(wanted) {
            self.applied = None;
            self.output.set(wanted)?;
            self.applied = Some(wanted);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
