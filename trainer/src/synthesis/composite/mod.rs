//! The composite synthesizer: walkers, vehicles and things pasted into real footage.
//!
//! It learns from normal footage alone what a walker looks like at a site (size, speed, paths, the
//! walkers themselves as cut-out sprites) and lets them, or painted things of like size, do what
//! nobody did there. All sizes and speeds are relative to the site's own. As it makes every change
//! itself, it labels every pixel exactly. Needs no weights and no GPU.
//!
//! A detector could learn to see the pasting instead of the anomaly. Against that, sprites carry no
//! halo of their old background, get the local light, the noise of the place they cover and coding
//! grain, and normal motion is pasted the same way and labelled normal.
//!
//! Background and walkers: `site`. A clip's making: `clip`. The kinds: `kinds`.

mod background;
mod brush;
mod canvas;
mod clip;
mod config;
mod foreground;
mod grain;
mod kinds;
mod perspective;
mod pose;
mod reading;
mod site;
mod sprite;
mod stage;
#[cfg(test)]
mod tests;
mod tubes;

pub use config::{CompositeConfig, KindRates, MIN_CLIP_FRAMES};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
pub use reading::{FigureReading, SiteReading, SiteWarning};

use super::{Error, NormalClip, PseudoClip, Synthesizer};
use grain::Grain;
use kinds::KINDS;
use site::Site;

/// Smallest edge of a frame in pixels.
const MIN_EDGE: usize = 32;

/// Makes pseudo-abnormal clips by pasting; see the [module](self).
pub struct Composite<'a> {
    clips: &'a [NormalClip],
    config: CompositeConfig,
    seed: u64,
    /// Names of the kinds that occur.
    kinds: Vec<String>,
    /// Their rates.
    rates: Vec<f64>,
    /// Their indices in [`KINDS`].
    performers: Vec<usize>,
    sites: Vec<Site>,
    /// Site of each clip.
    site_of: Vec<usize>,
    /// The site with most walkers; lends them to sites without.
    lender: usize,
    /// Noise from pixel to pixel.
    grain: Grain,
    /// Noise in soft patches.
    clouds: Grain,
}

/// What was learned about one camera view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiteSummary {
    /// Clips that show it.
    pub clips: usize,
    /// Walkers cut out.
    pub walkers: usize,
    /// Height of a walker in pixels.
    pub height: f32,
    /// Speed of a walker in pixels a frame.
    pub speed: f32,
    /// Standard deviation of still pixels in levels.
    pub noise: f32,
}

impl<'a> Composite<'a> {
    /// Learns a site, or several, from normal footage; takes all cores for a time of the order of
    /// decoding it.
    ///
    /// Where nobody walks, kinds that need a walker are left out, with a warning.
    ///
    /// # Errors
    /// If there is no clip, a clip is shorter than [`MIN_CLIP_FRAMES`], frames differ in size or are
    /// too small, a frame rate is not positive, a setting is out of range, or all kinds need a walker
    /// and nobody walks.
    pub fn new(
        clips: &'a [NormalClip],
        config: &CompositeConfig,
        seed: u64,
    ) -> Result<Self, Error> {
        config.validate()?;
        check(clips)?;
        let (sites, site_of) = site::find(clips);
        let lender = (0..sites.len()).rev().max_by_key(|&s| sites[s].movers.len()).unwrap_or(0);
        let walkers = !sites[lender].movers.is_empty();
        let chosen = cast(config, &sites[lender]);
        if !walkers {
            log::warn!(
                "nobody walks in the normal footage: only kinds that need no walker are made ({})",
                chosen.iter().map(|c| KINDS[c.0].name).collect::<Vec<_>>().join(", ")
            );
        }
        if chosen.is_empty() {
            return Err(Error::NoWalker);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let composite = Self {
            clips,
            config: config.clone(),
            seed,
            kinds: chosen.iter().map(|c| KINDS[c.0].name.to_owned()).collect(),
            rates: chosen.iter().map(|c| c.1).collect(),
            performers: chosen.iter().map(|c| c.0).collect(),
            sites,
            site_of,
            lender,
            grain: Grain::new(&mut rng, 0),
            clouds: Grain::new(&mut rng, 3),
        };
        for s in composite.summaries() {
            log::info!(
                "site of {} clip(s): {} walkers, {:.0} pixels high, {:.2} pixels a frame, noise {:.1}",
                s.clips,
                s.walkers,
                s.height,
                s.speed,
                s.noise
            );
        }
        for warning in composite.sites.iter().flat_map(reading::warnings) {
            // That nobody walks is told above, with what is made all the same.
            if warning != SiteWarning::NobodyWalks {
                log::warn!("site: {warning}");
            }
        }
        Ok(composite)
    }

    /// Height in pixels of a usual person: of the site with most walkers. `None` where nobody walks.
    pub fn person_height(&self) -> Option<f32> {
        let site = &self.sites[self.lender];
        (!site.movers.is_empty()).then_some(site.height)
    }

    /// What was learned about each site.
    pub fn summaries(&self) -> Vec<SiteSummary> {
        let summary = |(i, site): (usize, &Site)| SiteSummary {
            clips: self.site_of.iter().filter(|&&s| s == i).count(),
            walkers: site.tubes.len(),
            height: site.height,
            speed: site.speed,
            noise: site.background.noise,
        };
        self.sites.iter().enumerate().map(summary).collect()
    }
}

/// A clip to be made on request, rather than by number.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The same request with the same seed gives the same clip.
    pub seed: u64,
    /// Index of the normal clip.
    pub clip: usize,
    /// The frame of it at which the pseudo clip starts, or the last one that leaves room for it.
    pub frame: usize,
    /// Length, events and the kinds they are drawn from.
    pub config: &'r CompositeConfig,
}

/// Names of all kinds there are; in clips made on request, label `k + 1` stands for kind `k` of these.
pub fn all_kinds() -> Vec<String> {
    KINDS.iter().map(|kind| kind.name.to_owned()).collect()
}

impl Composite<'_> {
    /// Makes the clip that is asked for; a function of the footage and the request alone.
    ///
    /// Labels and events number the kinds by [`all_kinds`], so that clips with different kinds agree.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, [`Error::NoWalker`] if all kinds of the request
    /// need a walker and the footage shows none, or more room than the site has.
    ///
    /// # Panics
    /// If there is no clip of that index.
    pub fn perform(&self, request: &Request<'_>) -> Result<PseudoClip, Error> {
        request.config.validate()?;
        let cast = cast(request.config, &self.sites[self.lender]);
        if cast.is_empty() {
            return Err(Error::NoWalker);
        }
        Ok(self.compose_request(request, &cast))
    }
}

/// The kinds that can occur at a site: their indices in [`KINDS`] and their rates.
fn cast(config: &CompositeConfig, site: &Site) -> Vec<(usize, f64)> {
    let walkers = !site.movers.is_empty();
    let near = if walkers { site.height / site.background.frame.height() as f32 } else { 0.0 };
    let entries = config.kinds.entries().into_iter().enumerate();
    entries
        .filter(|&(i, (_, rate))| rate > 0.0 && (walkers || !KINDS[i].needs_walker))
        .filter(|&(i, _)| near <= KINDS[i].room)
        .map(|(i, (_, rate))| (i, rate))
        .collect()
}

impl Synthesizer for Composite<'_> {
    fn kinds(&self) -> &[String] {
        &self.kinds
    }

    fn synthesize(&self, index: u64) -> Result<PseudoClip, Error> {
        Ok(self.compose(index))
    }
}

/// Checks that `clips` can be used.
fn check(clips: &[NormalClip]) -> Result<(), Error> {
    let first = clips.first().ok_or(Error::NoClips)?;
    let too_short = |clip: &NormalClip| Error::TooShort {
        name: clip.name.clone(),
        frames: clip.frames.len(),
        needed: MIN_CLIP_FRAMES,
    };
    let frame = first.frames.first().ok_or_else(|| too_short(first))?;
    let (width, height) = (frame.width(), frame.height());
    if width < MIN_EDGE || height < MIN_EDGE {
        return Err(Error::TooSmall { width, height });
    }
    for clip in clips {
        if clip.frames.len() < MIN_CLIP_FRAMES {
            return Err(too_short(clip));
        }
        if !(clip.frame_rate.is_finite() && clip.frame_rate > 0.0) {
            return Err(Error::FrameRate { name: clip.name.clone(), rate: clip.frame_rate });
        }
        let differs = |f: &video::Frame| (f.width(), f.height()) != (width, height);
        if let Some(i) = clip.frames.iter().position(differs) {
            return Err(Error::SizeDiffers {
                name: clip.name.clone(),
                frame: i,
                width: clip.frames[i].width(),
                height: clip.frames[i].height(),
                expected_width: width,
                expected_height: height,
            });
        }
    }
    Ok(())
}
