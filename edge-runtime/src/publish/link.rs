//! One connection to the broker, the same for MQTT 5 and 3.1.1.
//!
//! A link lives from one connection attempt to its end; it is never reconnected. What was not
//! acknowledged is sent again from the spool over the next link, so that the spool is the only
//! memory of what is still owed.

use std::time::Duration;

use rumqttc::{Outgoing, QoS, TlsConfiguration, Transport, v5};

use crate::config::{MqttConfig, Protocol, TlsConfig};
use alert_wire::Availability;

/// Longest time to connect, and to hand bytes to the network, before the attempt has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Small messages go out at once: held back until the broker has acknowledged the packet before, an event
/// now and then waits for the 40 ms by which the broker's system delays that.
const NO_DELAY: bool = true;
/// Room for requests not yet on the wire; more than the publisher ever has in flight.
const QUEUE: usize = 64;
/// Largest packet that is taken from the broker. Far above any command, so that a wrong one is
/// counted and refused rather than ending the link. An MQTT 5 broker is told, and keeps larger ones
/// to itself.
const MAX_INCOMING: u32 = 64 << 10;
/// Largest packet that is sent: a picture.
const MAX_OUTGOING: usize = 16 << 20;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate, key or password file cannot be read.
    #[error("{path}: {source}; check `mqtt.tls` and `mqtt.password_file`")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The broker sent a packet larger than is ever taken; the link has ended.
    #[error("broker {host}:{port}: sent a message of more than 64 KiB")]
    Oversized {
        /// The broker.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A message was larger than the broker takes; the link has ended.
    #[error("broker {host}:{port}: takes no message of more than {limit} bytes")]
    BrokerLimit {
        /// The broker.
        host: String,
        /// Its port.
        port: u16,
        /// Its limit.
        limit: usize,
    },
    /// The broker cannot be reached, refuses, or the connection broke.
    #[error("broker {host}:{port}: {message}")]
    Connection {
        /// The broker.
        host: String,
        /// Its port.
        port: u16,
        /// What happened.
        message: String,
    },
}

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker has accepted the connection.
    Connected,
    /// The oldest message not yet on the wire has been sent with this packet id.
    Sent(u16),
    /// The broker has taken the message with this packet id.
    Acknowledged(u16),
    /// The broker has refused the message with this packet id.
    Refused(u16, String),
    /// A message has come on a topic that was subscribed to.
    Message(Incoming),
    /// A disconnect has been sent.
    Disconnecting,
    /// Nothing of interest.
    Other,
}

/// A message from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Vec<u8>,
    /// Whether it was sent at some earlier time and kept by the broker.
    pub retained: bool,
}

/// The sending half.
#[derive(Clone)]
pub enum Sender {
    /// MQTT 3.1.1.
    V311(rumqttc::Client),
    /// MQTT 5.
    V5(v5::Client),
}

/// The half that does the work: events come only while [`Link::next`] is called.
pub enum Link {
    /// MQTT 3.1.1.
    V311(Box<rumqttc::Connection>, Address),
    /// MQTT 5.
    V5(Box<v5::Connection>, Address),
}

/// For messages.
#[derive(Debug, Clone)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    fn error(&self, message: String) -> Error {
        Error::Connection { host: self.host.clone(), port: self.port, message }
    }

    fn oversized(&self) -> Error {
        Error::Oversized { host: self.host.clone(), port: self.port }
    }

    fn error_v311(&self, error: &rumqttc::ConnectionError) -> Error {
        use rumqttc::{ConnectionError, StateError, mqttbytes};
        match error {
            ConnectionError::MqttState(StateError::Deserialization(
                mqttbytes::Error::PayloadSizeLimitExceeded(_),
            )) => self.oversized(),
            other => self.error(other.to_string()),
        }
    }

    fn error_v5(&self, error: &v5::ConnectionError) -> Error {
        use v5::{ConnectionError, StateError, mqttbytes};
        match error {
            ConnectionError::MqttState(StateError::Deserialization(
                mqttbytes::Error::PayloadSizeLimitExceeded { .. },
            )) => self.oversized(),
            ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { max, .. }) => {
                let limit = *max as usize;
                Error::BrokerLimit { host: self.host.clone(), port: self.port, limit }
            }
            other => self.error(other.to_string()),
        }
    }
}

/// Prepares a link; the connection is made by the first [`Link::next`].
///
/// # Errors
/// If a file named in the configuration cannot be read.
pub fn open(config: &MqttConfig) -> Result<(Sender, Link), Error> {
    let address = Address { host: config.host.clone(), port: config.port };
    let transport = config.tls.as_ref().map(transport).transpose()?;
    let login = match (&config.username, &config.password_file) {
        (Some(user), Some(path)) => {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            Some((user.clone(), text.lines().next().unwrap_or_default().to_owned()))
        }
        (Some(user), None) => Some((user.clone(), String::new())),
        _ => None,
    };
    let keep_alive = Duration::from_secs(config.keep_alive.into());
    let will_topic = config.topics().availability();
    let will = Availability::Offline.as_str();
    Ok(match config.protocol {
        Protocol::V311 => {
            let mut options =
                rumqttc::MqttOptions::new(&config.client_id, &config.host, config.port);
            options
                .set_keep_alive(keep_alive)
                .set_clean_session(true)
                .set_max_packet_size(MAX_INCOMING as usize, MAX_OUTGOING)
                .set_last_will(rumqttc::LastWill::new(
                    will_topic.as_str(),
                    will,
                    QoS::AtLeastOnce,
                    true,
                ));
            if let Some((user, password)) = login {
                options.set_credentials(user, password);
            }
            if let Some(transport) = transport {
                options.set_transport(transport);
            }
            let (client, mut connection) = rumqttc::Client::new(options, QUEUE);
            let mut network = rumqttc::NetworkOptions::new();
            network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
            network.set_tcp_nodelay(NO_DELAY);
            connection.eventloop.set_network_options(network);
            (Sender::V311(client), Link::V311(Box::new(connection), address))
        }
        Protocol::V5 => {
            let mut options = v5::MqttOptions::new(&config.client_id, &config.host, config.port);
            options
                .set_keep_alive(keep_alive)
                .set_clean_start(true)
                .set_max_packet_size(Some(MAX_INCOMING))
                .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
                .set_last_will(v5::mqttbytes::v5::LastWill::new(
                    will_topic.as_str(),
                    will,
                    v5::mqttbytes::QoS::AtLeastOnce,
                    true,
                    None,
                ));
            if let Some((user, password)) = login {
                options.set_credentials(user, password);
            }
            if let Some(transport) = transport {
                options.set_transport(transport);
            }
            let mut network = options.network_options();
            network.set_tcp_nodelay(NO_DELAY);
            options.set_network_options(network);
            let (client, connection) = v5::Client::new(options, QUEUE);
            (Sender::V5(client), Link::V5(Box::new(connection), address))
        }
    })
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn transport(tls: &TlsConfig) -> Result<Transport, Error> {
    // Named here because rustls refuses to choose where a build has two providers. An error means
    // that it has been named before.
    let _ = rumqttc::tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client_auth = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        _ => None,
    };
    let ca = read(&tls.ca_file)?;
    Ok(Transport::Tls(TlsConfiguration::Simple { ca, alpn: None, client_auth }))
}

impl Sender {
    /// Queues a message of quality of service 1. Returns false if the queue is full or the link
    /// has ended; the message is then to be sent again later.
    pub fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        match self {
            Self::V311(client) => {
                client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok()
            }
            Self::V5(client) => {
                client.try_publish(topic, v5::mqttbytes::QoS::AtLeastOnce, retain, payload).is_ok()
            }
        }
    }

    /// Asks for the messages of a topic filter. Returns false as [`Sender::publish`] does.
    pub fn subscribe(&self, filter: &str) -> bool {
        match self {
            Self::V311(client) => client.try_subscribe(filter, QoS::AtLeastOnce).is_ok(),
            Self::V5(client) => {
                client.try_subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).is_ok()
            }
        }
    }

    /// Queues a disconnect, after which the broker does not publish the last will.
    pub fn disconnect(&self) {
        let sent = match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
        if !sent {
            log::debug!("the link ended before it could be closed");
        }
    }
}

impl Link {
    /// The error for a message that the broker has refused.
    pub fn refused(&self, reason: &str) -> Error {
        let (Self::V311(_, address) | Self::V5(_, address)) = self;
        address.error(format!("message refused: {reason}; check the broker's access rules"))
    }

    /// The end of a link that was closed from this side.
    pub fn closed(&self) -> Error {
        let (Self::V311(_, address) | Self::V5(_, address)) = self;
        address.error("closed".into())
    }

    /// Waits for what happens next.
    ///
    /// # Errors
    /// If the connection failed or broke: the link has ended.
    pub fn next(&mut self) -> Result<Event, Error> {
        match self {
            Self::V311(connection, address) => match connection.recv() {
                Ok(Ok(event)) => Ok(event_v311(&event)),
                Ok(Err(e)) => Err(address.error_v311(&e)),
                Err(_) => Err(address.error("closed".into())),
            },
            Self::V5(connection, address) => match connection.recv() {
                Ok(Ok(event)) => Ok(event_v5(&event)),
                Ok(Err(e)) => Err(address.error_v5(&e)),
                Err(_) => Err(address.error("closed".into())),
            },
        }
    }
}

fn outgoing(event: &Outgoing) -> Event {
    match event {
        Outgoing::Publish(id) => Event::Sent(*id),
        Outgoing::Disconnect => Event::Disconnecting,
        _ => Event::Other,
    }
}

fn event_v311(event: &rumqttc::Event) -> Event {
    match event {
        rumqttc::Event::Incoming(rumqttc::Packet::ConnAck(_)) => Event::Connected,
        rumqttc::Event::Incoming(rumqttc::Packet::PubAck(ack)) => Event::Acknowledged(ack.pkid),
        rumqttc::Event::Incoming(rumqttc::Packet::Publish(message)) => Event::Message(Incoming {
            topic: message.topic.clone(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        rumqttc::Event::Outgoing(o) => outgoing(o),
        rumqttc::Event::Incoming(_) => Event::Other,
    }
}

fn event_v5(event: &v5::Event) -> Event {
    use v5::mqttbytes::v5::{Packet, PubAckReason};
    match event {
        v5::Event::Incoming(Packet::ConnAck(_)) => Event::Connected,
        v5::Event::Incoming(Packet::PubAck(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                Event::Acknowledged(ack.pkid)
            }
            reason => Event::Refused(ack.pkid, format!("{reason:?}")),
        },
        v5::Event::Incoming(Packet::Publish(message)) => Event::Message(Incoming {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        v5::Event::Outgoing(o) => outgoing(o),
        v5::Event::Incoming(_) => Event::Other,
    }
}
