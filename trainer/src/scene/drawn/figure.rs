//! What people look like.

use super::super::canvas::Colour;
use super::super::random::Random;
use super::backdrop::tone;
use super::body::Joints;
use super::paint::{Cloth, Limb, Shape, Shapes};
use super::viewpoint::{Point, add, scaled, sub};

/// A person's body and clothes; drawn once, kept for life.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    /// Metres.
    pub tall: f32,
    bulk: f32,
    skin: Colour,
    hair: Colour,
    top: Colour,
    cloth: Cloth,
    legs: Colour,
    shoes: Colour,
    /// A coat or a skirt reaches to the knees.
    coat: bool,
    sleeves: bool,
    pub backpack: bool,
}

impl Looks {
    pub fn new(random: &mut Random) -> Self {
        let skin = random.between(95.0, 215.0);
        let hair = random.between(20.0, 120.0);
        let cloth = match random.below(6) {
            0 => Cloth::Rings(random.between(0.08, 0.16)),
            1 => Cloth::Bars,
            2 => Cloth::Checks(random.between(0.08, 0.14)),
            _ => Cloth::Plain,
        };
        let (low, high) = if random.chance(0.55) { (25.0, 90.0) } else { (90.0, 225.0) };
        Self {
            tall: random.between(1.55, 1.9),
            bulk: random.between(0.88, 1.2),
            skin: [skin, skin * 0.79, skin * 0.66],
            hair: [hair, hair * 0.85, hair * 0.7],
            top: tone(random, low, high, 0.3),
            cloth,
            legs: tone(random, 25.0, 120.0, 0.15),
            shoes: tone(random, 20.0, 150.0, 0.05),
            coat: random.chance(0.25),
            sleeves: random.chance(0.65),
            backpack: random.chance(0.15),
        }
    }

    /// Dark from head to foot, as somebody who does not want to be seen.
    pub fn dark(random: &mut Random) -> Self {
        let black = tone(random, 18.0, 45.0, 0.1);
        Self {
            top: black,
            legs: black,
            hair: black,
            cloth: Cloth::Plain,
            sleeves: true,
            backpack: random.chance(0.5),
            ..Self::new(random)
        }
    }

    /// Draws a person.
    pub fn draw(&self, body: &Joints, shapes: &mut Shapes) {
        let h = self.tall;
        let mut limb = |a: Point, b: Point, thick: (f32, f32), colour: Colour, cloth: Cloth| {
            shapes.all.push(Shape::Limb(Limb {
                ends: [a, b],
                thick: [thick.0 * h, thick.1 * h],
                colour,
                cloth,
            }));
        };
        let wide = self.bulk;
        for i in 0..2 {
            let dim = if i == 0 { 1.0 } else { 0.88 };
            let legs = self.legs.map(|c| c * dim);
            limb(body.hips[i], body.knees[i], (0.05 * wide, 0.036), legs, Cloth::Plain);
            limb(body.knees[i], body.ankles[i], (0.036, 0.024), legs, Cloth::Plain);
            limb(body.ankles[i], body.toes[i], (0.024, 0.018), self.shoes, Cloth::Plain);
            let sleeve = self.top.map(|c| c * dim);
            limb(body.shoulders[i], body.elbows[i], (0.032 * wide, 0.026), sleeve, self.cloth);
            let fore = if self.sleeves { sleeve } else { self.skin };
            limb(body.elbows[i], body.hands[i], (0.025, 0.018), fore, Cloth::Plain);
            limb(body.hands[i], body.hands[i], (0.024, 0.024), self.skin, Cloth::Plain);
        }
        // The trunk: two sides and a middle, so that it is wide from the front and narrow from aside.
        for i in 0..2 {
            let shoulder = scaled(add(body.shoulders[i], body.chest), 0.5);
            limb(body.hips[i], shoulder, (0.058 * wide, 0.062 * wide), self.top, self.cloth);
            limb(body.neck, body.shoulders[i], (0.032, 0.036), self.top, self.cloth);
        }
        limb(body.pelvis, body.chest, (0.066 * wide, 0.07 * wide), self.top, self.cloth);
        if self.coat {
            for i in 0..2 {
                let hem = add(body.hips[i], scaled(sub(body.knees[i], body.hips[i]), 0.8));
                limb(body.hips[i], hem, (0.064 * wide, 0.068 * wide), self.top, self.cloth);
            }
        }
        if self.backpack {
            let back = scaled(sub(body.neck, body.head), 0.0);
            let behind = add(back, self.behind(body));
            let (a, b) = (add(body.chest, behind), add(body.pelvis, behind));
            let low = add(b, scaled(sub(a, b), 0.3));
            limb(a, low, (0.06, 0.066), self.shoes, Cloth::Plain);
        }
        limb(body.neck, body.head, (0.03, 0.035), self.skin, Cloth::Plain);
        limb(body.head, body.head, (0.062, 0.062), self.skin, Cloth::Plain);
        let crown = scaled(sub(body.head, body.neck), 0.28);
        let nape = add(add(body.head, crown), scaled(self.behind(body), 0.25));
        limb(nape, nape, (0.06, 0.06), self.hair, Cloth::Plain);
    }

    /// A step of 12 cm to the person's back.
    fn behind(&self, body: &Joints) -> Point {
        let across = sub(body.shoulders[0], body.shoulders[1]);
        let up = sub(body.neck, body.pelvis);
        let back = super::viewpoint::unit(super::viewpoint::cross(across, up));
        scaled(back, -0.12)
    }
}
