//! What a manifest may say of the states of a streaming graph.

use crate::Error;
use crate::detectors::Port;
use crate::manifest::{InitialState, StateSpec, StreamSpec};
use crate::validate::{all_differ, check};

/// Most states of a graph.
pub const MAX_STATES: usize = 32;
/// Most values of all states of a graph: 64 MiB.
const MAX_VALUES: u64 = 1 << 24;
/// Longest name of an input or output, in bytes.
const MAX_NAME: usize = 64;

/// Checks the states of a graph whose newest frame has the shape `frame`.
pub(crate) fn stream_spec(stream: &StreamSpec, frame: &[u32], at: &str) -> Result<(), Error> {
    let states = &stream.states;
    check(
        states.len() <= MAX_STATES,
        format!("{at}.states"),
        format!("must be at most {MAX_STATES}"),
    )?;
    for (i, state) in states.iter().enumerate() {
        let at = |field: &str| format!("{at}.states[{i}].{field}");
        for (field, name) in [("input", &state.input), ("output", &state.output)] {
            let printable = name.bytes().all(|b| b.is_ascii_graphic());
            let valid = (1..=MAX_NAME).contains(&name.len()) && printable;
            check(valid, at(field), "must be 1 to 64 printable characters without a space")?;
        }
        check(
            (1..=8).contains(&state.shape.len()) && state.shape.iter().all(|d| *d >= 1),
            at("shape"),
            "must have 1 to 8 sizes of at least 1",
        )?;
        check(
            state.initial == InitialState::Zero || holds_frames(state, frame),
            at("shape"),
            format!("must be that of the frame, {frame:?}, with a multiple of its channels"),
        )?;
    }
    let count = |state: &StateSpec| {
        state.shape.iter().try_fold(1u64, |count, size| count.checked_mul((*size).into()))
    };
    let total = states.iter().try_fold(0u64, |total, state| total.checked_add(count(state)?));
    check(
        total.is_some_and(|total| total <= MAX_VALUES),
        format!("{at}.states"),
        "must have at most 2^24 values together",
    )?;
    // What a graph takes and what it gives may have the same name in no format that there is.
    let names = |field: fn(&StateSpec) -> &String, taken: [&str; 3]| {
        let names: Vec<&str> = states.iter().map(|s| field(s).as_str()).chain(taken).collect();
        all_differ(&names)
    };
    let taken = ["frame", "features", "maps"];
    check(
        names(|s| &s.input, taken)
            && names(|s| &s.output, taken)
            && states.iter().all(|s| states.iter().all(|other| s.input != other.output)),
        format!("{at}.states"),
        "must have different names, none of them frame, features or maps",
    )
}

/// Whether a state's channels are whole frames.
fn holds_frames(state: &StateSpec, frame: &[u32]) -> bool {
    state.shape.len() == frame.len()
        && state.shape.iter().zip(frame).enumerate().all(|(axis, (size, of_frame))| {
            if axis == 1 { size.is_multiple_of(*of_frame) } else { size == of_frame }
        })
}

/// The inputs and the outputs of a graph's states.
pub(crate) fn ports(stream: &StreamSpec) -> (Vec<Port>, Vec<Port>) {
    let shape = |state: &StateSpec| state.shape.iter().map(|&size| size.into()).collect();
    let states = stream.states.iter();
    states.map(|s| ((s.input.clone(), shape(s)), (s.output.clone(), shape(s)))).unzip()
}
