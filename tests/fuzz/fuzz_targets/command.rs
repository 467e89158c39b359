//! Any message from the broker as a command: obeyed or refused, never a panic.
#![no_main]

use alert_wire::Topics;
use edge_runtime::control::Order;
use edge_runtime::publish::Incoming;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], bool)| {
    let topics = Topics::new("pavad/cam-01").expect("is a root topic");
    let (topic, payload, retained) = input;
    // Half of the messages begin as commands do.
    for topic in [topic.to_owned(), format!("pavad/cam-01/{topic}")] {
        let message = Incoming { topic, payload: payload.into(), retained };
        let order = Order::parse(&message, &topics, &["door".into()]);
        assert!(order.is_err() || !retained);
    }
});
