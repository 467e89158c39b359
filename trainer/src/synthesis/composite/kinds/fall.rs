//! `fall`: somebody falls, sinks down or sits on the floor, lies, and may get up again.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthesis::composite::canvas::{Canvas, Look, Mark, Placement};
use crate::synthesis::composite::pose::Pose;
use crate::synthesis::composite::stage::{Stage, Walker};

/// How high the head is, as a part of the upright height, up to which a walker still looks like one:
/// leaning about twenty degrees. Labelled as a fall, such frames would only teach that walking is one.
const UPRIGHT: f32 = 0.92;

/// A walker walks (normally, and so labelled), goes down within 0.4–1.4 s, stays there for 1–4 s and, two
/// times in three, gets up within 0.8–2 s, as the clip allows: like a tree, over the knees, backward over
/// the seat, toward the camera or away from it, or only to sit or kneel. Somebody who lies on the
/// ground is an event, moving or not.
pub(super) fn perform(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    mark: Mark,
) {
    let Some(tube) = stage.person(rng) else {
        return;
    };
    let fall = ((rng.random_range(0.4..1.4) * stage.rate) as usize).clamp(4, stage.span / 2);
    let lie = ((rng.random_range(1.0..4.0) * stage.rate) as usize).clamp(3, stage.span - fall);
    let rise = if rng.random_bool(2.0 / 3.0) {
        ((rng.random_range(0.8..2.0) * stage.rate) as usize).min(stage.span - fall - lie)
    } else {
        0
    };
    let spare = stage.span - fall - lie - rise;
    let before = rng.random_range(0..=spare.min((2.0 * stage.rate) as usize));
    let frames = before + fall + lie + rise;
    let period = stage.period_of(rng, frames, frames);
    let way = Way::draw(rng);
    // Who lies breathes and stirs.
    let stir = rng.random_range(0.0..0.06f32);
    let pace = rng.random_range(0.1..0.9f32);
    let course: Vec<Course> = (0..frames)
        .map(|i| {
            let down = ((i as f32 - before as f32 + 1.0) / fall as f32).clamp(0.0, 1.0);
            let risen = (i as f32 + 1.0 - (before + fall + lie) as f32) / rise.max(1) as f32;
            let pose = if risen > 0.0 {
                // Up again the way that is easiest: over the knees.
                way.down
                    .toward(way.by, (2.0 * risen).min(1.0))
                    .toward(Pose::UPRIGHT, (2.0 * risen - 1.0).max(0.0))
            } else {
                way.at(down)
            };
            let sway = if down < 1.0 { 0.0 } else { stir * (pace * i as f32).sin() };
            let pose = if pose == Pose::UPRIGHT {
                pose
            } else {
                Pose { torso: pose.torso + sway, thigh: pose.thigh - 0.5 * sway, ..pose }
            };
            Course {
                walked: (i as f32).min(before as f32 + 0.3 * fall as f32),
                pose,
                mark: if pose.head() > UPRIGHT { Mark::Benign } else { mark },
            }
        })
        .collect();
    act(stage, canvas, rng, &Walker::new(tube), period.start, &course);
}

/// A frame of somebody who takes poses.
pub(super) struct Course {
    /// The way walked so far, in frames at the walker's speed.
    pub walked: f32,
    /// The pose.
    pub pose: Pose,
    /// What it means.
    pub mark: Mark,
}

/// Shows `walker` from frame `first` on, in the poses of `course`.
pub(super) fn act(
    stage: &Stage<'_>,
    canvas: &mut Canvas<'_>,
    rng: &mut ChaCha8Rng,
    walker: &Walker<'_>,
    first: usize,
    course: &[Course],
) {
    let steps = walker.steps(stage, rng, course.len(), |i| {
        let Course { walked, mark, .. } = course[i];
        (walked, mark)
    });
    let look = Look::draw(rng, stage.site.background.noise);
    for (i, (step, course)) in steps.iter().zip(course).enumerate() {
        let (sprite, size) = walker.drawn(stage, step);
        let posed = sprite.posed(walker.tube.height, &course.pose);
        let place = Placement {
            at: step.at,
            scale: [if step.mirrored { -size } else { size }, size],
            angle: 0.0,
            smear: [0.0; 2],
        };
        canvas.paste(first + i, &posed, &place, &look, step.mark);
    }
}

/// How somebody goes down.
struct Way {
    /// On the way.
    by: Pose,
    /// When `by` is reached, as a part of the time.
    when: f32,
    /// On the floor.
    down: Pose,
}

impl Way {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let about = |rng: &mut ChaCha8Rng, middle: f32, spread: f32| {
            rng.random_range(middle - spread..middle + spread)
        };
        // Forward is clockwise here; the walker is mirrored half of the time.
        let lying = |rng: &mut ChaCha8Rng, side: f32| {
            Pose::degrees(
                side * about(rng, 88.0, 14.0),
                side * about(rng, 88.0, 16.0),
                side * about(rng, 88.0, 10.0),
            )
        };
        let kneeling =
            Pose::degrees(about(rng, 75.0, 15.0), about(rng, 0.0, 20.0), about(rng, 15.0, 20.0));
        let squatting =
            Pose::degrees(about(rng, 15.0, 15.0), about(rng, -75.0, 20.0), about(rng, 15.0, 20.0));
        let way = match rng.random_range(0..10) {
            // Like a tree, slowly at first.
            0..3 => {
                let down = lying(rng, 1.0);
                Self { by: Pose::UPRIGHT.toward(down, 0.25), when: 0.5, down }
            }
            // Over the knees onto the front.
            3..5 => Self { by: kneeling, when: about(rng, 0.5, 0.15), down: lying(rng, 1.0) },
            // Over the seat onto the back.
            5..7 => Self { by: squatting, when: about(rng, 0.5, 0.15), down: lying(rng, -1.0) },
            // Along the line of sight.
            7..9 => {
                let down = Pose {
                    depth: rng.random_range(0.3..0.5),
                    ..Pose::degrees(
                        about(rng, 0.0, 25.0),
                        about(rng, 0.0, 30.0),
                        about(rng, 0.0, 30.0),
                    )
                };
                Self { by: squatting, when: about(rng, 0.4, 0.1), down }
            }
            // Only to sit or to kneel, bent.
            _ if rng.random() => Self {
                by: squatting,
                when: about(rng, 0.6, 0.15),
                down: Pose::degrees(
                    about(rng, -80.0, 25.0),
                    about(rng, -85.0, 15.0),
                    about(rng, 0.0, 25.0),
                ),
            },
            _ => Self {
                by: kneeling,
                when: about(rng, 0.6, 0.15),
                down: Pose::degrees(
                    about(rng, 80.0, 10.0),
                    about(rng, -20.0, 20.0),
                    about(rng, 60.0, 30.0),
                ),
            },
        };
        if rng.random() {
            way
        } else {
            Self { by: way.by.mirrored(), down: way.down.mirrored(), ..way }
        }
    }

    /// The pose when a part of the time has passed.
    fn at(&self, part: f32) -> Pose {
        if part < self.when {
            let eased = (part / self.when).powf(1.5);
            Pose::UPRIGHT.toward(self.by, eased)
        } else {
            // Gravity.
            let rest = (part - self.when) / (1.0 - self.when);
            self.by.toward(self.down, rest * (0.5 + 0.5 * rest))
        }
    }
}
