//! One connection to the broker, the same for MQTT 5 and 3.1.1.
//!
//! A link lives from one connection attempt to its end; it is never reconnected. What was not
//! acknowledged is sent again from the spool over the next link, so that the spool is the only
//! memory of what is still owed.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::{Outgoing, QoS, TlsConfiguration, Transport, v5};

use super::machine::{EndKind, Refusal, Terms};
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
    /// The link cannot be made, or has ended.
    #[error("broker {host}:{port}: {fault}")]
    Broker {
        /// The broker.
        host: String,
        /// Its port.
        port: u16,
        /// What happened.
        fault: Fault,
    },
}

/// What is the matter with a broker, or with the way to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It sent a packet larger than is ever taken; the link has ended.
    #[error("sent a message of more than 64 KiB")]
    Oversized,
    /// It speaks MQTT 3.1.1, and does not answer to MQTT 5.
    #[error("speaks MQTT 3.1.1 and not MQTT 5; set `mqtt.protocol = \"3.1.1\"`")]
    OnlyVersion311,
    /// It does not speak MQTT 3.1.1.
    #[error("does not speak MQTT 3.1.1; set `mqtt.protocol = \"5\"`")]
    NotVersion311,
    /// It has refused the connection.
    #[error("refuses the connection: {0}")]
    Refused(String),
    /// Another client has connected with our id.
    #[error("another client has connected with the id `{0}`; give each its own `mqtt.client_id`")]
    TakenOver(String),
    /// It has ended the link because of a message.
    #[error("ended the link because of a message: {1}")]
    Blamed(Refusal, String),
    /// It cannot be reached, or the connection broke.
    #[error("{0}")]
    Lost(String),
    /// It was reached and has not answered as a broker does: closed, silent, or gibberish.
    #[error("{0}")]
    NoAnswer(String),
}

impl Error {
    /// What kind of end it is; `accepted` if the broker had accepted the connection.
    pub fn kind(&self, accepted: bool) -> EndKind {
        let Self::Broker { fault, .. } = self else { return EndKind::Unreachable };
        match fault {
            Fault::Oversized => EndKind::Oversized,
            Fault::OnlyVersion311 | Fault::NotVersion311 | Fault::Refused(_) => EndKind::Refused,
            Fault::TakenOver(_) => EndKind::TakenOver,
            Fault::Blamed(refusal, _) => EndKind::Blamed(*refusal),
            Fault::Lost(_) | Fault::NoAnswer(_) if accepted => EndKind::Lost,
            Fault::Lost(_) | Fault::NoAnswer(_) => EndKind::Unreachable,
        }
    }

    /// Whether the message says what to do about it.
    pub fn has_remedy(&self) -> bool {
        let Self::Broker { fault, .. } = self else { return true };
        matches!(fault, Fault::OnlyVersion311 | Fault::NotVersion311 | Fault::TakenOver(_))
    }

    /// Whether the broker may be one of another version of MQTT.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::Broker { fault: Fault::NoAnswer(_), .. })
    }
}

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker has accepted the connection.
    Connected(Terms),
    /// The oldest message not yet on the wire has been sent with this packet id.
    Sent(u16),
    /// The broker has taken the message with this packet id.
    Acknowledged(u16),
    /// The broker has refused the message with this packet id, for a reason in its words.
    Refused(u16, Refusal, String),
    /// The broker has answered a subscription: granted or not.
    Subscribed(bool),
    /// A message has come on a topic that was subscribed to.
    Message(Incoming),
    /// A disconnect has been sent.
    Disconnecting,
    /// Something else has come from the broker.
    Heard,
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
    V311(rumqttc::AsyncClient),
    /// MQTT 5.
    V5(v5::AsyncClient),
}

/// The half that does the work: events come only while [`Link::next`] is awaited.
pub struct Link {
    events: Events,
    address: Address,
    /// What had come before the end, still to be told.
    left: VecDeque<Event>,
    end: Option<Error>,
}

enum Events {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// For messages.
#[derive(Debug, Clone)]
struct Address {
    host: String,
    port: u16,
    client_id: String,
}

impl Address {
    fn error(&self, fault: Fault) -> Error {
        Error::Broker { host: self.host.clone(), port: self.port, fault }
    }

    fn error_v311(&self, error: &rumqttc::ConnectionError) -> Error {
        use rumqttc::{ConnectReturnCode as Code, ConnectionError, StateError, mqttbytes};
        self.error(match error {
            ConnectionError::MqttState(StateError::Deserialization(
                mqttbytes::Error::PayloadSizeLimitExceeded(_),
            )) => Fault::Oversized,
            ConnectionError::ConnectionRefused(Code::RefusedProtocolVersion) => {
                Fault::NotVersion311
            }
            ConnectionError::ConnectionRefused(code) => Fault::Refused(format!("{code:?}")),
            ConnectionError::NetworkTimeout
            | ConnectionError::NotConnAck(_)
            | ConnectionError::MqttState(_) => Fault::NoAnswer(error.to_string()),
            other => Fault::Lost(other.to_string()),
        })
    }

    fn error_v5(&self, error: &v5::ConnectionError) -> Error {
        use v5::mqttbytes::v5::{ConnectReturnCode as Code, DisconnectReasonCode as Reason};
        use v5::{ConnectionError, StateError, mqttbytes};
        self.error(match error {
            ConnectionError::MqttState(StateError::Deserialization(
                mqttbytes::Error::PayloadSizeLimitExceeded { .. },
            )) => Fault::Oversized,
            ConnectionError::MqttState(
                StateError::OutgoingPacketTooLarge { .. }
                | StateError::Deserialization(mqttbytes::Error::OutgoingPacketTooLarge { .. }),
            ) => Fault::Blamed(Refusal::TooLarge, error.to_string()),
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code,
                reason_string,
            }) => {
                let said = reason_string.as_ref().map(|text| format!(": {text}"));
                let said = format!("{reason_code:?}{}", said.unwrap_or_default());
                match reason_code {
                    Reason::SessionTakenOver => Fault::TakenOver(self.client_id.clone()),
                    Reason::NotAuthorized
                    | Reason::TopicNameInvalid
                    | Reason::TopicFilterInvalid
                    | Reason::PayloadFormatInvalid
                    | Reason::RetainNotSupported => Fault::Blamed(Refusal::Denied, said),
                    Reason::PacketTooLarge => Fault::Blamed(Refusal::TooLarge, said),
                    Reason::QuotaExceeded | Reason::MessageRateTooHigh => {
                        Fault::Blamed(Refusal::Quota, said)
                    }
                    _ => Fault::Lost(format!("ended the link: {said}")),
                }
            }
            ConnectionError::ConnectionRefused(
                Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion,
            ) => Fault::OnlyVersion311,
            ConnectionError::ConnectionRefused(code) => Fault::Refused(format!("{code:?}")),
            ConnectionError::Timeout(_)
            | ConnectionError::NotConnAck(_)
            | ConnectionError::MqttState(_) => Fault::NoAnswer(error.to_string()),
            other => Fault::Lost(other.to_string()),
        })
    }
}

/// Prepares a link; the connection is made by the first [`Link::next`].
///
/// # Errors
/// If a file named in the configuration cannot be read.
pub fn open(config: &MqttConfig) -> Result<(Sender, Link), Error> {
    let address = Address {
        host: config.host.clone(),
        port: config.port,
        client_id: config.client_id.clone(),
    };
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
            let (client, mut events) = rumqttc::AsyncClient::new(options, QUEUE);
            let mut network = rumqttc::NetworkOptions::new();
            network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
            network.set_tcp_nodelay(NO_DELAY);
            events.set_network_options(network);
            (Sender::V311(client), Link::new(Events::V311(Box::new(events)), address))
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
            let (client, events) = v5::AsyncClient::new(options, QUEUE);
            (Sender::V5(client), Link::new(Events::V5(Box::new(events)), address))
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
    fn new(events: Events, address: Address) -> Self {
        Self { events, address, left: VecDeque::new(), end: None }
    }

    /// Waits for what happens next. Once begun it must be awaited to its end, or the link be dropped:
    /// given up half way, a message may be lost between the program and the network.
    ///
    /// # Errors
    /// If the connection failed or broke: the link has ended.
    pub async fn next(&mut self) -> Result<Event, Error> {
        if let Some(event) = self.left.pop_front() {
            return Ok(event);
        }
        if let Some(end) = self.end.take() {
            return Err(end);
        }
        // What the broker had acknowledged or refused before it ended the link is told first.
        match &mut self.events {
            Events::V311(events) => match events.poll().await {
                Ok(event) => return Ok(event_v311(&event)),
                Err(e) => {
                    self.left = events.state.events.drain(..).map(|e| event_v311(&e)).collect();
                    self.end = Some(self.address.error_v311(&e));
                }
            },
            Events::V5(events) => match events.poll().await {
                Ok(event) => return Ok(event_v5(&event)),
                Err(e) => {
                    self.left = events.state.events.drain(..).map(|e| event_v5(&e)).collect();
                    self.end = Some(self.address.error_v5(&e));
                }
            },
        }
        match self.left.pop_front() {
            Some(event) => Ok(event),
            None => Err(self.end.take().expect("set a few lines above")),
        }
    }
}

/// Whether the broker answers to MQTT 3.1.1: asked when it does not to MQTT 5.
pub async fn speaks_v311(config: &MqttConfig) -> bool {
    let config = MqttConfig { protocol: Protocol::V311, ..probing(config) };
    let Ok((sender, mut link)) = open(&config) else { return false };
    match link.next().await {
        Ok(Event::Connected(_)) => {
            sender.disconnect();
            let goodbye =
                async { while link.next().await.is_ok_and(|e| e != Event::Disconnecting) {} };
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, goodbye).await;
            true
        }
        // It refuses us, but in that language.
        Err(Error::Broker { fault: Fault::Refused(_), .. }) => true,
        _ => false,
    }
}

/// The way to the broker for one that only looks. A second client with the id of a running one would
/// throw that one out, and its last will would say that the device is offline.
pub fn probing(config: &MqttConfig) -> MqttConfig {
    let mut config = config.clone();
    config.client_id.push_str("-probe");
    config.root.push_str("/probe");
    config
}

fn outgoing(event: &Outgoing) -> Event {
    match event {
        Outgoing::Publish(id) => Event::Sent(*id),
        Outgoing::Disconnect => Event::Disconnecting,
        _ => Event::Other,
    }
}

fn event_v311(event: &rumqttc::Event) -> Event {
    use rumqttc::{Event as From, Packet, SubscribeReasonCode as Code};
    match event {
        From::Incoming(Packet::ConnAck(_)) => Event::Connected(Terms::default()),
        From::Incoming(Packet::PubAck(ack)) => Event::Acknowledged(ack.pkid),
        From::Incoming(Packet::SubAck(ack)) => {
            Event::Subscribed(ack.return_codes.iter().all(|code| *code != Code::Failure))
        }
        From::Incoming(Packet::Publish(message)) => Event::Message(Incoming {
            topic: message.topic.clone(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        From::Outgoing(o) => outgoing(o),
        From::Incoming(_) => Event::Heard,
    }
}

fn event_v5(event: &v5::Event) -> Event {
    use v5::Event as From;
    use v5::mqttbytes::v5::{Packet, PubAckReason as Reason, SubscribeReasonCode as Code};
    match event {
        From::Incoming(Packet::ConnAck(ack)) => Event::Connected(terms(ack)),
        From::Incoming(Packet::PubAck(ack)) => {
            let refusal = match ack.reason {
                Reason::Success | Reason::NoMatchingSubscribers => {
                    return Event::Acknowledged(ack.pkid);
                }
                Reason::NotAuthorized | Reason::TopicNameInvalid | Reason::PayloadFormatInvalid => {
                    Refusal::Denied
                }
                Reason::QuotaExceeded => Refusal::Quota,
                _ => Refusal::Unspecified,
            };
            Event::Refused(ack.pkid, refusal, format!("{:?}", ack.reason))
        }
        From::Incoming(Packet::SubAck(ack)) => {
            let mut codes = ack.return_codes.iter();
            Event::Subscribed(codes.all(|code| matches!(code, Code::Success(_))))
        }
        From::Incoming(Packet::Publish(message)) => Event::Message(Incoming {
            topic: String::from_utf8_lossy(&message.topic).into_owned(),
            payload: message.payload.to_vec(),
            retained: message.retain,
        }),
        From::Outgoing(o) => outgoing(o),
        From::Incoming(_) => Event::Heard,
    }
}

fn terms(ack: &v5::mqttbytes::v5::ConnAck) -> Terms {
    let Some(said) = &ack.properties else { return Terms::default() };
    Terms {
        max_packet: said.max_packet_size.map(|size| size as usize),
        receive_max: said.receive_max,
        retain: said.retain_available != Some(0),
    }
}
