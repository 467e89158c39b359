//! What a manifest may say of its detectors: ranges, and the graphs that they want.

use crate::Error;
use crate::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, LocalSpec, MotionSpec, SemanticSpec,
    SmoothingSpec, SnippetSpec, StreamSpec, ZScore,
};
use crate::states::{self, stream_spec};
use crate::text::{is_label, is_name};
use crate::validate::{all_differ, check};

/// Most values of the window of features that a stream keeps: 256 MiB.
const MAX_WINDOW_VALUES: u64 = 1 << 26;
/// Longest time in an event specification: a day, in seconds.
const MAX_SECONDS: f64 = 86_400.0;

/// Checks the detectors alone, as the host does before there are graphs.
pub fn validate(detectors: &Detectors) -> Result<(), Error> {
    input(&detectors.input)?;
    let Detectors { local, motion, semantic, .. } = detectors;
    if let Some(spec) = local {
        local_spec(spec, &detectors.input)?;
    }
    if let Some(spec) = motion {
        motion_spec(spec, &detectors.input)?;
    }
    if let Some(spec) = semantic {
        semantic_spec(spec)?;
    }
    let weights = [
        local.as_ref().map_or(0.0, |d| d.weight),
        motion.as_ref().map_or(0.0, |d| d.weight),
        semantic.as_ref().map_or(0.0, |d| d.weight),
    ];
    check(weights.iter().sum::<f64>() > 0.0, "detectors", "must have one with a positive weight")?;
    let names: Vec<String> = graph_roles(detectors).into_iter().map(|r| r.name).collect();
    check(all_differ(&names), "detectors", "must give their graphs different names")?;
    let future = local.as_ref().map_or(0, |l| l.reach().1 as u32);
    smoothing(&detectors.smoothing, future)?;
    calibration(&detectors.calibration)?;
    events(&detectors.events)?;
    ends(&detectors.calibration, &detectors.events)
}

fn input(spec: &InputSpec) -> Result<(), Error> {
    let size = 16..=8192;
    check(size.contains(&spec.width), "detectors.input.width", "must be 16 to 8192")?;
    check(size.contains(&spec.height), "detectors.input.height", "must be 16 to 8192")?;
    check(
        spec.frame_rate > 0.0 && spec.frame_rate <= 1000.0,
        "detectors.input.frame_rate",
        "must be above 0 and at most 1000",
    )
}

fn local_spec(spec: &LocalSpec, input: &InputSpec) -> Result<(), Error> {
    let at = |name: &str| format!("detectors.local.{name}");
    check(is_name(&spec.graph), at("graph"), "must be 1 to 64 of a-z, 0-9 and -")?;
    check(
        spec.offsets.len() <= 16
            && spec.offsets.iter().all(|o| *o != 0 && (-256..=256).contains(o))
            && all_differ(&spec.offsets),
        at("offsets"),
        "must be at most 16 different frames from -256 to 256, without 0",
    )?;
    check(spec.mean.is_finite(), at("mean"), "must be finite")?;
    check(is_divisor(spec.std), at("std"), "must be finite and above 0")?;
    check(is_divisor(spec.diff_scale), at("diff_scale"), "must be finite and above 0")?;
    check((1..=64).contains(&spec.map_stride), at("map_stride"), "must be 1 to 64")?;
    let stride = spec.map_stride;
    check(
        input.width.is_multiple_of(stride) && input.height.is_multiple_of(stride),
        at("map_stride"),
        "must divide the input's width and height",
    )?;
    let shortest = input.width.min(input.height) / stride;
    check(
        spec.pool % 2 == 1 && spec.pool <= shortest,
        at("pool"),
        "must be odd and fit in the map",
    )?;
    check(
        (1..=64).contains(&spec.kinds.len())
            && spec.kinds.iter().all(|k| is_label(k))
            && all_differ(&spec.kinds),
        at("kinds"),
        "must be 1 to 64 different names",
    )?;
    if let Some(stream) = &spec.stream {
        stream_spec(stream, &[1, 1, input.height, input.width], "detectors.local.stream")?;
    }
    z_score(&spec.z, "detectors.local")?;
    weight(spec.weight, "detectors.local")
}

fn motion_spec(spec: &MotionSpec, input: &InputSpec) -> Result<(), Error> {
    check(
        spec.box_size >= 1 && spec.box_size <= input.width.min(input.height),
        "detectors.motion.box_size",
        "must be at least 1 and fit in the input",
    )?;
    check(
        spec.epsilon > 0.0 && spec.epsilon <= 255.0,
        "detectors.motion.epsilon",
        "must be above 0 and at most 255",
    )?;
    z_score(&spec.z, "detectors.motion")?;
    weight(spec.weight, "detectors.motion")?;
    excess_over(spec.excess_over, "detectors.motion")
}

fn semantic_spec(spec: &SemanticSpec) -> Result<(), Error> {
    let at = |name: &str| format!("detectors.semantic.{name}");
    check(is_name(&spec.backbone), at("backbone"), "must be 1 to 64 of a-z, 0-9 and -")?;
    check(is_name(&spec.head), at("head"), "must be 1 to 64 of a-z, 0-9 and -")?;
    check((1..=65_536).contains(&spec.feature_size), at("feature_size"), "must be 1 to 65536")?;
    check((1..=4096).contains(&spec.window), at("window"), "must be 1 to 4096")?;
    if let Some(grid) = &spec.grid {
        check((1..=512).contains(&grid.columns), at("grid.columns"), "must be 1 to 512")?;
        check((1..=512).contains(&grid.rows), at("grid.rows"), "must be 1 to 512")?;
        let [cells, window, size] = [spec.cells(), spec.window, spec.feature_size].map(u64::from);
        check(
            cells * window * size <= MAX_WINDOW_VALUES,
            at("grid"),
            "must have at most 2^26 values: cells times window times feature_size",
        )?;
    }
    let SnippetSpec { frames, stride, width, height, mean, std, stream } = &spec.snippet;
    check((1..=256).contains(frames), at("snippet.frames"), "must be 1 to 256")?;
    check((1..=*frames).contains(stride), at("snippet.stride"), "must be 1 to snippet.frames")?;
    check((8..=2048).contains(width), at("snippet.width"), "must be 8 to 2048")?;
    check((8..=2048).contains(height), at("snippet.height"), "must be 8 to 2048")?;
    check(mean.iter().all(|m| m.is_finite()), at("snippet.mean"), "must be finite")?;
    check(std.iter().all(|s| is_divisor(*s)), at("snippet.std"), "must be finite and above 0")?;
    if let Some(stream) = stream {
        stream_spec(stream, &[1, 3, *height, *width], &at("snippet.stream"))?;
    }
    z_score(&spec.z, "detectors.semantic")?;
    weight(spec.weight, "detectors.semantic")?;
    excess_over(spec.excess_over, "detectors.semantic")
}

fn smoothing(spec: &SmoothingSpec, future: u32) -> Result<(), Error> {
    check((0.0..=1000.0).contains(&spec.sigma), "detectors.smoothing.sigma", "must be 0 to 1000")?;
    check(spec.radius <= 4096, "detectors.smoothing.radius", "must be at most 4096")?;
    check(
        spec.sigma == 0.0 || spec.radius >= 1,
        "detectors.smoothing.radius",
        "must be at least 1 unless sigma is 0",
    )?;
    check(
        (spec.radius + future..=8192).contains(&spec.lag),
        "detectors.smoothing.lag",
        "must be at least the radius plus the largest positive local offset, and at most 8192",
    )
}

fn calibration(spec: &Calibration) -> Result<(), Error> {
    let at = |name: &str| format!("detectors.calibration.{name}");
    check(spec.threshold.is_finite(), at("threshold"), "must be finite")?;
    check(is_positive(spec.scale), at("scale"), "must be finite and above 0")?;
    check(
        spec.false_alarms_per_hour.is_finite() && spec.false_alarms_per_hour >= 0.0,
        at("false_alarms_per_hour"),
        "must be finite and not negative",
    )?;
    if let Some(normal) = &spec.normal {
        check(
            normal.level.is_finite() && normal.level < spec.threshold,
            at("normal.level"),
            "must be finite and below the threshold",
        )?;
        check(is_positive(normal.spread), at("normal.spread"), "must be finite and above 0")?;
    }
    Ok(())
}

fn events(spec: &EventSpec) -> Result<(), Error> {
    let at = |name: &str| format!("detectors.events.{name}");
    check(spec.enter > 0.0 && spec.enter <= 1.0, at("enter"), "must be above 0 and at most 1")?;
    check(
        spec.exit > 0.0 && spec.exit < spec.enter,
        at("exit"),
        "must be above 0 and less than enter",
    )?;
    for (name, seconds) in [
        ("min_duration", spec.min_duration),
        ("end_after", spec.end_after),
        ("cool_down", spec.cool_down),
    ] {
        check((0.0..=MAX_SECONDS).contains(&seconds), at(name), "must be 0 to 86400 seconds")?;
    }
    Ok(())
}

/// That incidents end: a model that states the site's normal level has its `exit` above it.
fn ends(calibration: &Calibration, events: &EventSpec) -> Result<(), Error> {
    let above = calibration.normal.is_none_or(|normal| {
        let exponent = -(normal.level - calibration.threshold) / calibration.scale;
        events.exit > 1.0 / (1.0 + exponent.exp())
    });
    check(
        above,
        "detectors.events.exit",
        "must be above the score of detectors.calibration.normal.level, or no incident ends",
    )
}

/// What the detectors want of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its inputs in their order: name and shape. All but the first are states.
    pub inputs: Vec<Port>,
    /// Its outputs in their order; all but the first are states for the next call.
    pub outputs: Vec<Port>,
}

/// Name and shape of a graph's input or output.
pub type Port = (String, Vec<u64>);

impl Role {
    /// A graph that takes `whole`, or, if it streams, `frame` and its states.
    fn new(
        name: &str,
        whole: (&str, Vec<u64>),
        frame: Vec<u64>,
        output: (&str, Vec<u64>),
        stream: Option<&StreamSpec>,
    ) -> Self {
        let port = |(name, shape): (&str, Vec<u64>)| (name.to_owned(), shape);
        let input = if stream.is_some() { ("frame", frame) } else { whole };
        let (mut inputs, mut outputs) = (vec![port(input)], vec![port(output)]);
        if let Some(stream) = stream {
            let (taken, given) = states::ports(stream);
            inputs.extend(taken);
            outputs.extend(given);
        }
        Self { name: name.to_owned(), inputs, outputs }
    }
}

/// The graphs that the detectors refer to. For specs whose ranges have been checked, or not: no
/// arithmetic here can fail.
pub fn graph_roles(detectors: &Detectors) -> Vec<Role> {
    let mut roles = Vec::new();
    let (width, height) = (u64::from(detectors.input.width), u64::from(detectors.input.height));
    if let Some(spec) = &detectors.local {
        let stride = u64::from(spec.map_stride.max(1));
        let channels = 1 + spec.offsets.len() as u64;
        let kinds = spec.kinds.len() as u64;
        roles.push(Role::new(
            &spec.graph,
            ("stack", vec![1, channels, height, width]),
            vec![1, 1, height, width],
            ("maps", vec![1, kinds, height / stride, width / stride]),
            spec.stream.as_ref(),
        ));
    }
    if let Some(spec) = &detectors.semantic {
        let [frames, height, width] =
            [spec.snippet.frames, spec.snippet.height, spec.snippet.width].map(u64::from);
        let [cells, window, size] = [spec.cells(), spec.window, spec.feature_size].map(u64::from);
        let features = if spec.grid.is_some() { vec![1, cells, size] } else { vec![1, size] };
        roles.push(Role::new(
            &spec.backbone,
            ("snippet", vec![1, 3, frames, height, width]),
            vec![1, 3, height, width],
            ("features", features),
            spec.snippet.stream.as_ref(),
        ));
        let whole = ("features", vec![cells, window, size]);
        roles.push(Role::new(
            &spec.head,
            whole.clone(),
            whole.1,
            ("scores", vec![cells, window]),
            None,
        ));
    }
    roles
}

fn z_score(z: &ZScore, at: &str) -> Result<(), Error> {
    check(z.mean.is_finite(), format!("{at}.z.mean"), "must be finite")?;
    check(is_positive(z.std), format!("{at}.z.std"), "must be finite and above 0")
}

fn excess_over(knee: Option<f64>, at: &str) -> Result<(), Error> {
    check(knee.is_none_or(f64::is_finite), format!("{at}.excess_over"), "must be finite")
}

fn weight(weight: f64, at: &str) -> Result<(), Error> {
    check((0.0..=1e6).contains(&weight), format!("{at}.weight"), "must be 0 to 1000000")
}

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// A divisor whose reciprocal is finite too.
fn is_divisor(value: f32) -> bool {
    value.is_finite() && value > 0.0 && value.recip().is_finite()
}
