//! What it is like to live with the alarms: how well they agree with the events in time, how long
//! they last, how often they are wrong, and how soon they come.

use serde::{Deserialize, Serialize};

use super::events::Announced;
use super::labels::Labels;
use super::metrics::{EventScore, HourlyRate, Range, detection_delay, pairs, threshold_for_alarms};
use super::run::{ScoredClip, mean, median, slack};

/// Least temporal IoU of an announced and a true event that agree.
pub const LEAST_IOU: [f64; 2] = [0.2, 0.5];

/// Alarms an hour at which delays are measured.
pub const ALARMS_AN_HOUR: [f64; 3] = [1.0, 6.0, 60.0];

/// Seconds between two runs of high scores that are one alarm: the time after which the camera's
/// incidents end.
pub(super) const ONE_ALARM_SECONDS: f64 = 1.0;

/// Announced events against the true ones. `docs/reference/evaluation.md` defines each figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmFigures {
    /// Announced events.
    pub announced: usize,
    /// Agreement at each of [`LEAST_IOU`].
    pub events: Vec<EventScore>,
    /// Share of the normal frames during which an announced event was running; `None` without a
    /// normal frame.
    pub time_on_normal: Option<f64>,
    /// Announced events that no true one touches, for each hour of normal footage, with the exact
    /// 95 % interval of a Poisson rate; `None` without a normal frame.
    pub false_alarms: Option<HourlyRate>,
}

/// How soon events are noticed by the scores alone, at a threshold above which normal footage rises
/// so many times an hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DelayAtAlarms {
    /// Alarms an hour that are allowed.
    pub alarms_per_hour: f64,
    /// Alarms that this allows on the normal footage at hand. With 0 the threshold is its highest
    /// score, and footage is too short for the rate to mean more than "no alarm".
    pub allowed: usize,
    /// The threshold; an alarm is a score above it.
    pub threshold: f64,
    /// True events.
    pub events: usize,
    /// Of them with an alarm.
    pub detected: usize,
    /// Seconds from onset to first alarm over the detected events, median.
    pub median_seconds: Option<f64>,
    /// Mean.
    pub mean_seconds: Option<f64>,
}

/// The announced events of a clip as ranges of its frames, from 0; what reaches beyond its end is
/// cut, and what begins there is none.
pub(super) fn ranges(announced: &[Announced], clip: &str, frames: usize) -> Vec<Range> {
    let last = (frames as u64).saturating_sub(1);
    announced
        .iter()
        .filter(|event| event.clip == clip && event.first < frames as u64)
        .map(|event| (event.first, event.last.clamp(event.first, last)))
        .collect()
}

/// The figures; `truth` has for each clip which frames are abnormal, `false_alarms` is the number of
/// announced events that touch no true one, and `normal_hours` the normal footage.
pub(super) fn figures(
    clips: &[ScoredClip],
    labels: &Labels,
    truth: &[Vec<bool>],
    announced: &[Announced],
    false_alarms: usize,
    normal_hours: f64,
) -> AlarmFigures {
    let (mut on, mut normal, mut count) = (0_usize, 0_usize, 0_usize);
    let mut matched = LEAST_IOU.map(|iou| (iou, 0, 0));
    let mut events = 0;
    for (clip, abnormal) in clips.iter().zip(truth) {
        let own = ranges(announced, &clip.name, abnormal.len());
        let true_ones: Vec<Range> =
            labels.ranges(&clip.name).iter().map(|(first, last)| (first - 1, last - 1)).collect();
        let whole: Vec<Range> =
            (abnormal.len() as u64).checked_sub(1).map(|l| (0, l)).into_iter().collect();
        for (iou, found, never_ending) in &mut matched {
            *found += pairs(&true_ones, &own, *iou);
            *never_ending += pairs(&true_ones, &whole, *iou);
        }
        events += true_ones.len();
        count += own.len();
        let mut alarm = vec![false; abnormal.len()];
        for (first, last) in own {
            alarm[first as usize..=last as usize].fill(true);
        }
        normal += abnormal.iter().filter(|is| !**is).count();
        on += abnormal.iter().zip(&alarm).filter(|(is, alarm)| !**is && **alarm).count();
    }
    let score = |(iou, found, never_ending): (f64, usize, usize)| EventScore {
        f1_never_ending: EventScore::of(iou, never_ending, events, clips.len()).f1,
        ..EventScore::of(iou, found, events, count)
    };
    AlarmFigures {
        announced: count,
        events: matched.map(score).to_vec(),
        time_on_normal: (normal > 0).then(|| on as f64 / normal as f64),
        false_alarms: HourlyRate::of(false_alarms as u64, normal_hours),
    }
}

/// Delays at each of [`ALARMS_AN_HOUR`]; none without a true event or a normal frame. A second
/// around true events counts for neither side: scores are smoothed over time.
pub(super) fn delays(
    clips: &[ScoredClip],
    labels: &Labels,
    truth: &[Vec<bool>],
    normal_hours: f64,
) -> Vec<DelayAtAlarms> {
    let events: usize = clips.iter().map(|clip| labels.ranges(&clip.name).len()).sum();
    if events == 0 {
        return Vec::new();
    }
    let mut stretches = Vec::new();
    // Clips of different rates share a gap in frames: that of the fastest.
    let fastest = clips.iter().map(|clip| clip.frame_rate).fold(0.0, f64::max);
    let gap = (ONE_ALARM_SECONDS * fastest).round() as usize;
    for (clip, abnormal) in clips.iter().zip(truth) {
        let slack = slack(clip.frame_rate) as usize;
        let mut counts = vec![true; abnormal.len()];
        for (first, last) in labels.ranges(&clip.name) {
            let first = (*first as usize - 1).saturating_sub(slack);
            let last = (*last as usize + slack).min(abnormal.len());
            counts[first..last].fill(false);
        }
        let mut at = 0;
        for run in counts.chunk_by(|a, b| a == b) {
            if run[0] {
                stretches.push(&clip.score[at..at + run.len()]);
            }
            at += run.len();
        }
    }
    let at = |rate: f64| {
        let allowed = (rate * normal_hours).floor() as usize;
        let threshold = threshold_for_alarms(&stretches, allowed, gap)?;
        let mut seconds = Vec::new();
        for clip in clips {
            let delay = |range: &(u64, u64)| detection_delay(&clip.score, *range, threshold);
            let found = labels.ranges(&clip.name).iter().filter_map(delay);
            seconds.extend(found.map(|frames| frames as f64 / clip.frame_rate));
        }
        Some(DelayAtAlarms {
            alarms_per_hour: rate,
            allowed,
            threshold,
            events,
            detected: seconds.len(),
            median_seconds: median(&seconds),
            mean_seconds: mean(&seconds),
        })
    };
    ALARMS_AN_HOUR.into_iter().filter_map(at).collect()
}
