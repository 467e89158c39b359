//! A capture thread: from a source to the camera's queue.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::hub::{Hub, Item};
use crate::capture::{self, FrameSource, Next};

/// The body of a capture thread.
pub(super) fn capture(hub: &Hub, number: usize, mut source: Box<dyn FrameSource>) {
    let stop = || hub.is_stopped();
    let run = catch_unwind(AssertUnwindSafe(|| {
        let (mut every, mut count) = (1, 0);
        hub.flow().set_rate(number, source.rate());
        loop {
            let wanted = hub.flow().wanted(number);
            if wanted != every {
                (every, count) = (wanted, 0);
                hub.push(number, Item::Gap(None, thinned(source.rate(), every)));
            }
            let mut frame = hub.spare(number);
            let keep = every > 0 && count % every == 0;
            let next = if keep {
                source.next(&mut frame, &stop)
            } else {
                source.discard(&mut frame, &stop)
            };
            match next {
                Ok(Next::Frame(stamp)) => {
                    hub.flow().saw(number);
                    count = count.wrapping_add(1);
                    if keep {
                        hub.push(number, Item::Frame(frame, stamp));
                    } else {
                        hub.give_back(number, frame);
                    }
                }
                Ok(Next::Gap(why)) => {
                    count = 0;
                    hub.flow().set_rate(number, source.rate());
                    hub.give_back(number, frame);
                    hub.push(number, Item::Gap(why, thinned(source.rate(), every)));
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

/// The rate of what is left of a source when one of every `every` frames is kept.
fn thinned(rate: f64, every: u32) -> f64 {
    rate / f64::from(every.max(1))
}
