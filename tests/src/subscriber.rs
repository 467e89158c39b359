//! A subscriber as a user would write one: it takes every alert of a device.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alert_wire::Alert;
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

/// What has been received, in order.
#[derive(Debug, Default, Clone)]
pub struct Received {
    /// Alerts without repetitions: a message is known by its incident and sequence number.
    pub alerts: Vec<Alert>,
    /// The JSON of each of them.
    pub json: Vec<String>,
    /// Messages that came again; at-least-once allows them.
    pub repeated: usize,
    /// Payloads that are no alert.
    pub malformed: Vec<String>,
    /// The device's availability, each change.
    pub availability: Vec<String>,
    /// The device's last status message, JSON.
    pub status: Option<String>,
}

/// A subscriber with a persistent session.
pub struct Subscriber {
    client: Client,
    received: Arc<Mutex<Received>>,
    subscribed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Subscribes to all events of `root` (such as `pavad/demo`); `each` is called with every new
    /// alert. Returns once the broker has confirmed.
    ///
    /// # Errors
    /// If the broker does not confirm within ten seconds.
    pub fn start(
        port: u16,
        root: &str,
        mut each: impl FnMut(&Alert) + Send + 'static,
    ) -> Result<Self, String> {
        let mut options = MqttOptions::new("pavad-subscriber", "127.0.0.1", port);
        options.set_clean_session(false);
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut connection) = Client::new(options, 64);
        let received = Arc::new(Mutex::new(Received::default()));
        let subscribed = Arc::new(AtomicBool::new(false));
        let (own, confirmed, again) =
            (Arc::clone(&received), Arc::clone(&subscribed), client.clone());
        let topics = ["events/+", "availability", "status"].map(|name| format!("{root}/{name}"));
        let thread = std::thread::spawn(move || {
            let mut seen = HashSet::new();
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        // Asked for again after every reconnect: harmless if the session lived.
                        for topic in &topics {
                            if again.try_subscribe(topic.clone(), QoS::AtLeastOnce).is_err() {
                                return;
                            }
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        confirmed.store(true, Ordering::Release);
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let text = String::from_utf8_lossy(&message.payload).into_owned();
                        let mut received = lock(&own);
                        if message.topic.ends_with("/availability") {
                            received.availability.push(text);
                            continue;
                        }
                        if message.topic.ends_with("/status") {
                            received.status = Some(text);
                            continue;
                        }
                        match Alert::from_json(text.as_bytes()) {
                            Ok(alert) => {
                                if seen.insert((alert.id.clone(), alert.sequence)) {
                                    each(&alert);
                                    received.alerts.push(alert);
                                    received.json.push(text);
                                } else {
                                    received.repeated += 1;
                                }
                            }
                            Err(_) => received.malformed.push(text),
                        }
                    }
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                    Ok(_) => {}
                    // The broker is away; it is asked again until it is back.
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        let subscriber = Self { client, received, subscribed, thread: Some(thread) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !subscriber.subscribed.load(Ordering::Acquire) {
            if Instant::now() > deadline {
                return Err(format!("the broker on port {port} does not confirm a subscription"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(subscriber)
    }

    /// What has been received so far.
    pub fn received(&self) -> Received {
        lock(&self.received).clone()
    }

    /// Waits until `enough` holds of what has been received, at most `limit`; what has been
    /// received by then.
    pub fn wait(&self, limit: Duration, enough: impl Fn(&Received) -> bool) -> Received {
        let deadline = Instant::now() + limit;
        loop {
            let received = self.received();
            if enough(&received) || Instant::now() > deadline {
                return received;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // If the broker is away, the thread ends with the process.
        if self.client.disconnect().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let deadline = Instant::now() + Duration::from_secs(2);
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}
