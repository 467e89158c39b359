//! A capture thread: from a source to the camera's queue.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::hub::{Hub, Item};
use crate::capture::{self, Demand, FrameSource, Next};

/// The body of a capture thread.
pub(super) fn capture(hub: &Hub, number: usize, mut source: Box<dyn FrameSource>) {
    let stop = || hub.is_stopped();
    let run = catch_unwind(AssertUnwindSafe(|| {
        let mut demand = Demand::all();
        let mut rate = source.rate();
        loop {
            let wanted = hub.flow().wanted(number);
            if wanted != demand.rate() {
                demand = Demand::of(wanted);
                hub.push(number, Item::Gap(None, demand.left_of(rate)));
            }
            let mut frame = hub.spare(number);
            let next = source.next(&mut frame, &mut demand, &stop);
            if source.rate() != rate {
                rate = source.rate();
                hub.push(number, Item::Rate(demand.left_of(rate)));
            }
            match next {
                Ok(Next::Frame(stamp)) => {
                    hub.flow().saw(number);
                    hub.push(number, Item::Frame(frame, stamp));
                }
                Ok(Next::Passed) => {
                    hub.flow().saw(number);
                    hub.give_back(number, frame);
                }
                Ok(Next::Gap(why)) => {
                    // Times begin anew where a recording does.
                    demand = Demand::of(wanted);
                    hub.give_back(number, frame);
                    hub.push(number, Item::Gap(why, demand.left_of(rate)));
                }
                Ok(Next::Away(why)) => {
                    hub.give_back(number, frame);
                    hub.push(number, Item::Away(why));
                }
                Ok(Next::End) => return None,
                Err(e) => return Some(e),
            }
        }
    }));
    let error = run.unwrap_or_else(|_| {
        Some(capture::Error::Device {
            path: format!("camera {number}").into(),
            what: "the source failed in an unforeseen way".into(),
        })
    });
    hub.push(number, Item::End(error));
}
