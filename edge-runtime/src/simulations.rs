//! What every simulation does with its seeds: run them on all cores, and make of the first that fails
//! the shortest story that still does, with the command that tells it again.
//!
//! `cargo xtask simulate` sets the variables; without them a test runs its usual seeds.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seeds, `A..B`.
const SEEDS: &str = "PAVAD_SIMULATE_SEEDS";
/// Most steps of each seed.
const STEPS: &str = "PAVAD_SIMULATE_STEPS";
/// Numbers of steps that are left out, with commas between them.
const WITHOUT: &str = "PAVAD_SIMULATE_WITHOUT";
/// Longest search for a shorter story.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of a story that are printed, its last ones.
const TOLD: usize = 200;

/// How much of a seed is run. Steps count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub steps: u64,
    pub without: Vec<u64>,
}

impl Plan {
    pub const WHOLE: Self = Self { steps: u64::MAX, without: Vec::new() };

    pub fn has(&self, step: u64) -> bool {
        step <= self.steps && !self.without.contains(&step)
    }
}

/// What came of a seed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Each property that did not hold, and how.
    pub broken: Vec<String>,
    /// Steps that there were.
    pub steps: u64,
    /// What happened, a line each.
    pub story: Vec<String>,
}

/// A simulation by its name, as in `NAME_by_seed`.
pub struct Simulation<F> {
    pub name: &'static str,
    /// Whether single steps can be left out.
    pub leaves_out: bool,
    pub run: F,
}

impl<F: Fn(u64, &Plan) -> Outcome + Sync> Simulation<F> {
    /// Runs the seeds that were asked for, or the usual ones.
    pub fn every_seed(&self, usual: Range<u64>) {
        let seeds = variable(SEEDS, range).unwrap_or(usual);
        let plan = Plan {
            steps: variable(STEPS, |text| text.parse().ok()).unwrap_or(u64::MAX),
            without: variable(WITHOUT, numbers).unwrap_or_default(),
        };
        let (started, count) = (Instant::now(), seeds.end.saturating_sub(seeds.start));
        if let Some(seed) = self.first_failing(seeds, &plan) {
            panic!("{}", self.tell(seed, &self.shortest(seed, plan)));
        }
        println!("{}: {count} seeds in {:.1} s", self.name, started.elapsed().as_secs_f64());
    }

    fn outcome(&self, seed: u64, plan: &Plan) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| (self.run)(seed, plan))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Outcome { broken: vec![format!("no panic: {text}")], ..Outcome::default() }
        })
    }

    fn first_failing(&self, seeds: Range<u64>, plan: &Plan) -> Option<u64> {
        let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || seed > failed.load(Ordering::Relaxed) {
                            return;
                        }
                        if !self.outcome(seed, plan).broken.is_empty() {
                            failed.fetch_min(seed, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        Some(failed.into_inner()).filter(|seed| *seed != u64::MAX)
    }

    /// The shortest plan found that breaks the same property: first a shorter beginning, then without
    /// the steps that do not matter.
    fn shortest(&self, seed: u64, plan: Plan) -> Plan {
        let whole = self.outcome(seed, &plan);
        let property = whole.broken.first().map(|text| name_of(text).to_owned());
        let fails = |plan: &Plan| {
            let broken = self.outcome(seed, plan).broken;
            broken.iter().any(|text| Some(name_of(text)) == property.as_deref())
        };
        let until = Instant::now() + PATIENCE;
        let mut plan = Plan { steps: plan.steps.min(whole.steps.max(1)), ..plan };
        // Not every longer beginning fails, so halves are tried first, then single steps.
        let mut stride = plan.steps / 2;
        while stride > 0 && Instant::now() < until {
            let shorter = Plan { steps: plan.steps.saturating_sub(stride), ..plan.clone() };
            if shorter.steps > 0 && fails(&shorter) {
                plan = shorter;
                stride = stride.min(plan.steps / 2);
            } else {
                stride /= 2;
            }
        }
        if self.leaves_out {
            for step in (1..=plan.steps).rev().filter(|step| plan.has(*step)).collect::<Vec<_>>() {
                if Instant::now() > until {
                    break;
                }
                let mut shorter = plan.clone();
                shorter.without.push(step);
                if fails(&shorter) {
                    plan = shorter;
                }
            }
            plan.without.sort_unstable();
        }
        plan
    }

    /// The story of a plan that fails, and the command that runs it again.
    fn tell(&self, seed: u64, plan: &Plan) -> String {
        let Outcome { broken, story, .. } = self.outcome(seed, plan);
        let left = story.len().saturating_sub(TOLD);
        let mut text = format!("{}, seed {seed}: {}\n", self.name, broken.join("; "));
        if left > 0 {
            text += &format!("  ({left} lines before)\n");
        }
        for line in &story[left..] {
            text += &format!("  {line}\n");
        }
        let mut again =
            format!("cargo xtask simulate --only {} --seeds {seed}..{}", self.name, seed + 1);
        if plan.steps != u64::MAX {
            again += &format!(" --steps {}", plan.steps);
        }
        if !plan.without.is_empty() {
            let numbers: Vec<String> = plan.without.iter().map(u64::to_string).collect();
            again += &format!(" --without {}", numbers.join(","));
        }
        text + "again: " + &again
    }
}

/// The name of the property, before the first colon.
fn name_of(broken: &str) -> &str {
    broken.split(':').next().unwrap_or(broken)
}

fn variable<T>(name: &str, of: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(of(&text).unwrap_or_else(|| panic!("{name} cannot be {text:?}")))
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|number| number.parse().ok()).collect()
}

/// A simulation whose seed 5 fails if its steps 3 and 7 are both taken.
fn example() -> Simulation<impl Fn(u64, &Plan) -> Outcome + Sync> {
    let run = |seed: u64, plan: &Plan| {
        let story: Vec<u64> = (1..=20).filter(|step| plan.has(*step)).collect();
        let fails = seed == 5 && story.contains(&3) && story.contains(&7);
        let broken = if fails { vec!["three and seven: both".to_owned()] } else { Vec::new() };
        let story = story.iter().map(|step| format!("step {step}")).collect();
        Outcome { broken, steps: 20, story }
    };
    Simulation { name: "example", leaves_out: true, run }
}

#[test]
fn the_first_failing_seed_is_found_and_made_short() {
    let simulation = example();
    assert_eq!(simulation.first_failing(0..100, &Plan::WHOLE), Some(5));
    assert_eq!(simulation.first_failing(6..100, &Plan::WHOLE), None);
    let plan = simulation.shortest(5, Plan::WHOLE);
    assert_eq!(plan, Plan { steps: 7, without: vec![1, 2, 4, 5, 6] });
    let text = simulation.tell(5, &plan);
    assert!(text.contains("  step 3\n  step 7\nagain: "), "{text}");
    let again = "simulate --only example --seeds 5..6 --steps 7 --without 1,2,4,5,6";
    assert!(text.ends_with(again), "{text}");
}

#[test]
fn a_panic_is_a_failure_of_its_seed() {
    let run = |seed: u64, _: &Plan| -> Outcome {
        assert!(seed != 2, "no seed 2");
        Outcome::default()
    };
    let simulation = Simulation { name: "example", leaves_out: false, run };
    assert_eq!(simulation.first_failing(0..9, &Plan::WHOLE), Some(2));
    assert!(simulation.tell(2, &Plan::WHOLE).contains("no panic: no seed 2"));
}
