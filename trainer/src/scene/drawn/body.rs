//! How a body stands: the angles of its joints, and where that puts them.

use super::viewpoint::{Point, add, scaled};

/// Angles of the joints in radians. Of pairs, the left one comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posture {
    /// The trunk forwards and to the left.
    pub lean: f32,
    pub side: f32,
    /// The head forwards.
    pub nod: f32,
    /// The whole body about the feet, forwards and to the left: down at a right angle.
    pub tip: f32,
    pub roll: f32,
    /// Legs apart.
    pub splay: f32,
    pub hips: [f32; 2],
    pub knees: [f32; 2],
    /// Arms from hanging forwards, and away from the body.
    pub shoulders: [f32; 2],
    pub spread: [f32; 2],
    pub elbows: [f32; 2],
}

impl Posture {
    pub const STAND: Self = Self {
        lean: 0.03,
        side: 0.0,
        nod: 0.08,
        tip: 0.0,
        roll: 0.0,
        splay: 0.05,
        hips: [0.02, -0.02],
        knees: [0.05, 0.05],
        shoulders: [0.0, 0.06],
        spread: [0.12, 0.12],
        elbows: [0.15, 0.2],
    };
    pub const SIT: Self = Self {
        lean: 0.08,
        hips: [1.5, 1.42],
        knees: [1.5, 1.4],
        shoulders: [0.5, 0.45],
        elbows: [0.8, 0.9],
        ..Self::STAND
    };
    pub const CROUCH: Self = Self {
        lean: 0.55,
        hips: [1.9, 1.6],
        knees: [2.3, 2.1],
        shoulders: [0.9, 0.7],
        elbows: [0.3, 0.5],
        ..Self::STAND
    };
    pub const BEND: Self = Self {
        lean: 1.35,
        nod: 0.3,
        hips: [0.35, 0.2],
        knees: [0.5, 0.35],
        shoulders: [0.2, 0.0],
        elbows: [0.1, 0.1],
        ..Self::STAND
    };
    pub const REACH: Self =
        Self { shoulders: [2.4, 0.1], elbows: [0.2, 0.2], lean: -0.04, ..Self::STAND };
    pub const HANDS: Self =
        Self { shoulders: [0.7, 0.75], elbows: [0.8, 0.7], nod: 0.35, ..Self::STAND };
    pub const TALK: Self =
        Self { shoulders: [0.5, 0.05], elbows: [1.3, 0.2], spread: [0.3, 0.1], ..Self::STAND };
    pub const PHONE: Self =
        Self { shoulders: [0.6, 0.0], elbows: [2.1, 0.2], nod: 0.25, ..Self::STAND };
    pub const FLOOR: Self = Self {
        lean: 0.3,
        hips: [1.75, 1.6],
        knees: [0.7, 0.3],
        shoulders: [0.3, -0.5],
        elbows: [0.2, 0.1],
        ..Self::STAND
    };
    pub const CRAWL: Self = Self {
        lean: 1.45,
        nod: -0.5,
        hips: [0.1, 0.0],
        knees: [1.55, 1.55],
        shoulders: [0.1, 0.0],
        elbows: [0.0, 0.0],
        ..Self::STAND
    };
    pub const CLIMB: Self = Self {
        lean: 0.35,
        hips: [1.6, 0.1],
        knees: [1.7, 0.2],
        shoulders: [2.5, 2.2],
        elbows: [0.4, 0.3],
        ..Self::STAND
    };
    pub const RIDE: Self =
        Self { lean: 0.5, nod: -0.3, shoulders: [1.05, 1.05], elbows: [0.15, 0.15], ..Self::STAND };

    /// Lies: forwards, backwards or on a side, by `which`.
    pub fn lying(which: usize) -> Self {
        let limp = Self {
            hips: [0.3, 0.05],
            knees: [0.6, 0.15],
            spread: [0.9, 0.35],
            shoulders: [0.5, -0.2],
            elbows: [0.9, 0.4],
            splay: 0.16,
            ..Self::STAND
        };
        match which % 3 {
            0 => Self { tip: 1.5, ..limp },
            1 => Self { tip: -1.5, nod: 0.0, ..limp },
            _ => Self { roll: 1.5, hips: [0.9, 0.5], knees: [1.1, 0.8], ..limp },
        }
    }

    /// The posture on the way to another, 0 to 1.
    pub fn towards(self, to: Self, part: f32) -> Self {
        let mix = |a: f32, b: f32| a + part * (b - a);
        let both = |a: [f32; 2], b: [f32; 2]| [mix(a[0], b[0]), mix(a[1], b[1])];
        Self {
            lean: mix(self.lean, to.lean),
            side: mix(self.side, to.side),
            nod: mix(self.nod, to.nod),
            tip: mix(self.tip, to.tip),
            roll: mix(self.roll, to.roll),
            splay: mix(self.splay, to.splay),
            hips: both(self.hips, to.hips),
            knees: both(self.knees, to.knees),
            shoulders: both(self.shoulders, to.shoulders),
            spread: both(self.spread, to.spread),
            elbows: both(self.elbows, to.elbows),
        }
    }

    /// One moment of walking or running at `speed` metres a second; `phase` in radians, a turn for
    /// two steps.
    pub fn striding(phase: f32, speed: f32) -> Self {
        let running = speed > 2.1;
        let swing = reach(speed);
        let leg = |offset: f32| {
            let p = phase + offset;
            let lifted = p.cos().max(0.0);
            let bent = if running { 1.5 } else { 0.75 };
            (swing * p.sin() + if running { 0.15 } else { 0.03 }, 0.1 + bent * lifted * swing * 1.6)
        };
        let (left, right) = (leg(0.0), leg(std::f32::consts::PI));
        let arm = if running { 0.9 } else { 0.7 } * swing;
        let elbow = if running { 1.4 } else { 0.25 };
        Self {
            lean: if running { 0.2 } else { 0.05 },
            hips: [left.0, right.0],
            knees: [left.1, right.1],
            shoulders: [-arm * phase.sin(), arm * phase.sin()],
            elbows: [elbow + 0.15 * phase.sin(), elbow - 0.15 * phase.sin()],
            ..Self::STAND
        }
    }

    /// One moment of pedalling.
    pub fn pedalling(phase: f32) -> Self {
        let (s, c) = phase.sin_cos();
        Self {
            hips: [1.05 + 0.3 * s, 1.05 - 0.3 * s],
            knees: [1.25 + 0.4 * c, 1.25 - 0.4 * c],
            ..Self::RIDE
        }
    }
}

/// How far a leg swings at a speed, in radians.
fn reach(speed: f32) -> f32 {
    (0.2 + 0.22 * speed).clamp(0.2, 0.85)
}

/// Radians of the striding phase for each metre, of a person `tall` metres.
pub fn cadence(speed: f32, tall: f32) -> f32 {
    let flight = if speed > 2.1 { 1.35 } else { 1.0 };
    std::f32::consts::TAU / (4.0 * 0.49 * tall * reach(speed).sin() * flight)
}

/// Where the joints are; of pairs, the left one comes first.
#[derive(Debug, Clone, Copy)]
pub struct Joints {
    pub pelvis: Point,
    pub hips: [Point; 2],
    pub knees: [Point; 2],
    pub ankles: [Point; 2],
    pub toes: [Point; 2],
    pub chest: Point,
    pub neck: Point,
    pub head: Point,
    pub shoulders: [Point; 2],
    pub elbows: [Point; 2],
    pub hands: [Point; 2],
}

/// The joints of a person `tall` metres whose feet are about `at`, looking along `heading`; nothing
/// of it is below `lift` metres above the ground.
pub fn joints(posture: &Posture, at: (f32, f32), heading: f32, tall: f32, lift: f32) -> Joints {
    // Ahead, left, up; in body heights, from the pelvis.
    let swung = |angle: f32, aside: f32, length: f32| {
        [length * angle.sin(), length * aside.sin(), -length * angle.cos()]
    };
    let p = posture;
    let trunk = |part: f32| [part * p.lean.sin(), part * p.side.sin(), part * p.lean.cos()];
    let sides = [1.0_f32, -1.0];
    let hips = sides.map(|s| [0.0, 0.05 * s, 0.0]);
    let pair = |f: &dyn Fn(usize) -> Point| [f(0), f(1)];
    let knees = pair(&|i| add(hips[i], swung(p.hips[i], p.splay * sides[i], 0.245)));
    let ankles =
        pair(&|i| add(knees[i], swung(p.hips[i] - p.knees[i], p.splay * sides[i] * 0.5, 0.235)));
    let toes = pair(&|i| {
        let shank = p.hips[i] - p.knees[i];
        add(ankles[i], [0.11 * shank.cos(), 0.015 * sides[i], 0.11 * shank.sin() - 0.02])
    });
    let chest = trunk(0.25);
    let neck = trunk(0.31);
    let head = add(
        neck,
        [0.11 * (p.lean + p.nod).sin(), 0.11 * p.side.sin(), 0.11 * (p.lean + p.nod).cos()],
    );
    let shoulders = sides.map(|s| add(trunk(0.285), [0.0, 0.105 * s, 0.0]));
    let elbows = pair(&|i| add(shoulders[i], swung(p.shoulders[i], p.spread[i] * sides[i], 0.17)));
    let hands = pair(&|i| {
        let angle = p.shoulders[i] + p.elbows[i];
        add(elbows[i], swung(angle, p.spread[i] * sides[i] * 0.4, 0.165))
    });
    let mut all = Joints {
        pelvis: [0.0; 3],
        hips,
        knees,
        ankles,
        toes,
        chest,
        neck,
        head,
        shoulders,
        elbows,
        hands,
    };
    // The feet stay where they are; the body turns about them.
    let feet = f32::midpoint(ankles[0][0], ankles[1][0]);
    let sole = ankles[0][2].min(ankles[1][2]);
    let ((ts, tc), (rs, rc)) = (p.tip.sin_cos(), p.roll.sin_cos());
    all.each(|j| {
        let (a, l, u) = (j[0] - feet, j[1], j[2] - sole);
        let (a, u) = (a * tc + u * ts, u * tc - a * ts);
        *j = [a, l * rc + u * rs, u * rc - l * rs];
    });
    let mut lowest = f32::MAX;
    all.each(|j| lowest = lowest.min(j[2] - 0.035));
    let (hs, hc) = heading.sin_cos();
    all.each(|j| {
        let [a, l, u] = scaled([j[0], j[1], j[2] - lowest], tall);
        *j = [at.0 + a * hc - l * hs, at.1 + a * hs + l * hc, u + lift];
    });
    all
}

impl Joints {
    fn each(&mut self, mut f: impl FnMut(&mut Point)) {
        for joint in [&mut self.pelvis, &mut self.chest, &mut self.neck, &mut self.head] {
            f(joint);
        }
        for pair in [
            &mut self.hips,
            &mut self.knees,
            &mut self.ankles,
            &mut self.toes,
            &mut self.shoulders,
            &mut self.elbows,
            &mut self.hands,
        ] {
            pair.iter_mut().for_each(&mut f);
        }
    }
}
