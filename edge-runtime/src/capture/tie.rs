//! The time of a network camera: which of its frames are decoded and shown, when they were taken by
//! our clock, and when the connection is of no more use.
//!
//! No clock, no socket, no thread: stamps and moments of arrival come in, what is to be done comes out.
//!
//! The camera's stamps are tied to our clock by the frame that came fastest in the last seconds, so
//! that the network's jitter does not get into the time of the stream, and a camera whose clock is
//! slow or fast is followed. Nothing that stamps do may blind the program: a single odd one is left
//! out; a discontinuity, or two seconds in which every frame is late, ties the camera again, as a gap;
//! and stamps that have to be tied again and again are not looked at any more.

use std::fmt;

/// A frame that comes later than this, because those before it were read late, is let go by, up to the
/// next key frame. Seconds, as all here.
pub const LATE: f64 = 1.0;
/// After frames have been late for as long as this, or stamps made no sense, the camera is tied again.
pub const PATIENCE: f64 = 2.0;
/// Frames in a row that cannot be decoded after which the connection is made anew: those that are
/// damaged, and those behind them up to the next key frame.
pub const MAX_DAMAGED: u32 = 300;
/// A stamp may be ahead of the one before by this much more than the time that has passed.
const AHEAD: f64 = 0.5;
/// A stamp may be behind the one before by this: frames come in the order of decoding.
const BEHIND: f64 = 0.5;
/// The fastest frame is looked for in the last one to two of these.
const WINDOW: f64 = 1.5;
/// How fast the tie is loosened where frames come later than before: more than any clock is slow.
const SLEW: f64 = 0.25;
/// Stamps that had to be tied again so often, in [`RESTLESS`], are not looked at any more.
const TIES: usize = 3;
const RESTLESS: f64 = 30.0;

/// An access unit, as it came from the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Its time by the camera's clock; may be anything.
    pub stamp: f64,
    /// Whether decoding may begin with it.
    pub key: bool,
    /// Whether nothing is missing before it.
    pub whole: bool,
    /// Whether it had to be waited for: everything before it has been read.
    pub waited: bool,
    /// Whether any frame is wanted at present.
    pub wanted: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The unit is let go by undecoded.
    Skip,
    /// The unit is decoded, since others may need it, and not shown: its time is not known.
    Undated,
    /// The unit is decoded and shown.
    Deliver {
        /// When its picture was taken, by our clock.
        taken: f64,
        /// Whether the decoder forgets what it had before.
        flush: bool,
    },
    /// The picture does not go on, for this reason. The same unit is handed in again.
    TieAgain(Break),
    /// The connection is of no use, for this reason; another is made.
    Lost(String),
}

/// Why a camera is tied again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Break {
    /// Its stamps went this far ahead, or back where less than 0.
    Jump(f64),
    /// All its frames came this late, for as long as [`PATIENCE`].
    Late(f64),
    /// Its stamps make no sense; from now on a frame was taken when it came.
    Useless,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump(by) if *by >= 0.0 => {
                write!(f, "the camera's time stamps jumped ahead by {by:.1} s")
            }
            Self::Jump(by) => write!(f, "the camera's time stamps went back by {:.1} s", -by),
            Self::Late(by) => write!(f, "the camera's frames come {by:.1} s late"),
            Self::Useless => write!(
                f,
                "the camera's time stamps make no sense; from now on frames have the time at which \
                 they come"
            ),
        }
    }
}

/// A stamp and when it came.
#[derive(Debug, Clone, Copy)]
struct Point {
    stamp: f64,
    at: f64,
}

impl Point {
    fn of(unit: &Unit, now: f64) -> Self {
        Self { stamp: unit.stamp, at: now }
    }

    /// How far a stamp is from what it may be after this one; 0 if it goes on.
    fn jump(&self, stamp: f64, now: f64) -> f64 {
        let step = stamp - self.stamp;
        if !step.is_finite() {
            return f64::INFINITY;
        }
        let passed = (now - self.at).max(0.0);
        if step < -BEHIND || step > passed + AHEAD { step - passed } else { 0.0 }
    }
}

/// How the two clocks go together.
#[derive(Debug)]
struct Base {
    last: Point,
    /// Our time at the camera's zero.
    tie: f64,
    /// The lowest difference of the two clocks, in this window and the one before.
    lowest: [f64; 2],
    /// When this window began.
    since: f64,
}

impl Base {
    fn new(point: Point) -> Self {
        let tie = point.at - point.stamp;
        Self { last: point, tie, lowest: [tie, f64::INFINITY], since: point.at }
    }

    /// Takes up a stamp that goes on; how late its frame is.
    fn follow(&mut self, point: Point, waited: bool) -> f64 {
        let passed = (point.at - self.last.at).max(0.0);
        self.last = point;
        if point.at >= self.since + WINDOW {
            self.lowest = [f64::INFINITY, self.lowest[0]];
            self.since = point.at;
        }
        let difference = point.at - point.stamp;
        // What waited for us says nothing of the camera's clock, unless it came faster than others.
        if waited || difference < self.lowest[0].min(self.lowest[1]) {
            self.lowest[0] = self.lowest[0].min(difference);
        }
        let wanted = self.lowest[0].min(self.lowest[1]);
        if wanted < self.tie {
            self.tie = wanted;
        } else if wanted.is_finite() {
            self.tie = wanted.min(self.tie + passed * SLEW);
        }
        difference - self.tie
    }
}

/// Stamps that do not go on from the last good one.
#[derive(Debug)]
struct Odd {
    last: Point,
    since: f64,
    by: f64,
}

/// The time tie of one connection.
#[derive(Debug)]
pub struct Tie {
    timeout: f64,
    base: Option<Base>,
    odd: Option<Odd>,
    late_since: Option<f64>,
    /// Whether nothing is decoded before the next key frame.
    waiting: bool,
    /// Whether that is because of damage.
    broken: bool,
    damaged: u32,
    /// When a unit came last, and when a picture was shown last; or when the connection was made.
    heard: Option<f64>,
    shown: f64,
    /// Whether a picture was ever shown.
    began: bool,
    /// When everything that had come was read last.
    caught_up: f64,
    /// When the camera was tied again, newest last.
    ties: [f64; TIES],
    /// Stamps are not looked at.
    by_arrival: bool,
}

impl Tie {
    /// A connection that was made `now`, and is of no use if no frame of it has been shown for
    /// `timeout`.
    pub fn new(timeout: f64, now: f64) -> Self {
        Self {
            timeout,
            base: None,
            odd: None,
            late_since: None,
            waiting: true,
            broken: false,
            damaged: 0,
            heard: None,
            shown: now,
            began: false,
            caught_up: now,
            ties: [f64::NEG_INFINITY; TIES],
            by_arrival: false,
        }
    }

    /// Whether a picture was ever shown.
    pub fn began(&self) -> bool {
        self.began
    }

    /// A unit has come.
    pub fn unit(&mut self, unit: &Unit, now: f64) -> Step {
        self.heard = Some(now);
        if unit.waited {
            self.caught_up = now;
        }
        if !unit.wanted {
            // Whoever wants frames again begins anew, with a key frame.
            (self.base, self.odd, self.late_since) = (None, None, None);
            (self.waiting, self.shown) = (true, now);
            return Step::Skip;
        }
        let step = self.place(unit, now);
        match step {
            Step::Skip | Step::Undated => self.overdue(now).unwrap_or(step),
            step => step,
        }
    }

    /// Nothing has come; [`Step::Skip`] if it is waited for still. `wanted` as in [`Unit`].
    pub fn silence(&mut self, wanted: bool, now: f64) -> Step {
        // Somebody who wants nothing still has to notice that the camera is gone.
        if !wanted && self.heard.is_some_and(|heard| now <= heard + self.timeout) {
            self.shown = now;
        }
        self.caught_up = now;
        self.overdue(now).unwrap_or(Step::Skip)
    }

    /// A picture was shown, or could have been had it been wanted.
    pub fn shown(&mut self, now: f64) {
        (self.shown, self.began, self.broken, self.damaged) = (now, true, false, 0);
    }

    /// The unit could not be decoded. True if there have been too many.
    pub fn damaged(&mut self) -> bool {
        (self.waiting, self.broken) = (true, true);
        self.damaged += 1;
        self.damaged >= MAX_DAMAGED
    }

    fn place(&mut self, unit: &Unit, now: f64) -> Step {
        if self.by_arrival {
            let late = now - self.caught_up;
            return self.admit(unit, now, late, now);
        }
        let point = Point::of(unit, now);
        let Some(base) = &mut self.base else {
            if !unit.stamp.is_finite() {
                return self.tie_again(now, Break::Jump(unit.stamp));
            }
            let base = self.base.insert(Base::new(point));
            let taken = unit.stamp + base.tie;
            return self.admit(unit, now, 0.0, taken);
        };
        let by = base.last.jump(unit.stamp, now);
        if by == 0.0 {
            self.odd = None;
            let late = base.follow(point, unit.waited);
            let taken = unit.stamp + base.tie;
            return self.admit(unit, now, late, taken);
        }
        match &mut self.odd {
            None => {
                self.odd = Some(Odd { last: point, since: now, by });
                // Whether it is the stamp or the camera that is odd, the next one tells.
            }
            Some(odd) => {
                let agrees = odd.last.jump(unit.stamp, now) == 0.0;
                let why = Break::Jump(odd.by);
                odd.last = point;
                if agrees || now >= odd.since + PATIENCE {
                    return self.tie_again(now, why);
                }
            }
        }
        if !unit.whole {
            self.waiting = true;
        }
        if self.waiting { self.pass() } else { Step::Undated }
    }

    /// What becomes of a frame that is `late`.
    fn admit(&mut self, unit: &Unit, now: f64, late: f64, taken: f64) -> Step {
        let is_late = late > LATE;
        if is_late {
            let since = *self.late_since.get_or_insert(now);
            if now >= since + PATIENCE {
                return self.tie_again(now, Break::Late(late));
            }
        } else {
            self.late_since = None;
        }
        // Where all that comes is read at once a frame is as new as can be had, however late: to let
        // it go would win nothing.
        let behind = is_late && now > self.caught_up + LATE;
        let taken = taken.max(now - LATE);
        if behind || !unit.whole {
            self.waiting = true;
        }
        if !self.waiting {
            return Step::Deliver { taken, flush: false };
        }
        if behind || !unit.key {
            return self.pass();
        }
        self.waiting = false;
        Step::Deliver { taken, flush: true }
    }

    /// A unit is let go by, which counts where damage is the reason.
    fn pass(&mut self) -> Step {
        if self.broken {
            self.damaged += 1;
            if self.damaged >= MAX_DAMAGED {
                return Step::Lost(format!("{MAX_DAMAGED} damaged frames in a row"));
            }
        }
        Step::Skip
    }

    fn tie_again(&mut self, now: f64, why: Break) -> Step {
        (self.base, self.odd, self.late_since, self.caught_up) = (None, None, None, now);
        self.ties.rotate_left(1);
        self.ties[TIES - 1] = now;
        if !self.by_arrival && now - self.ties[0] <= RESTLESS {
            self.by_arrival = true;
            return Step::TieAgain(Break::Useless);
        }
        Step::TieAgain(why)
    }

    fn overdue(&self, now: f64) -> Option<Step> {
        if now <= self.shown + self.timeout {
            return None;
        }
        let comes = self.heard.is_some_and(|heard| now <= heard + self.timeout);
        Some(Step::Lost(match (comes, self.began) {
            (true, _) => format!("no frame that can be shown for {} s", self.timeout),
            (false, true) => format!("no frame for {} s", self.timeout),
            (false, false) => {
                format!("the camera has accepted to play and sends nothing for {} s", self.timeout)
            }
        }))
    }
}

#[cfg(test)]
mod tests;
