//! Prompt refinement against a server that misbehaves in every way a client has to live with.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trainer::synthesis::classes::{BUILT_IN, Classes};
use trainer::synthesis::plan::{Planned, Planner, PromptFrom};
use trainer::synthesis::refine::{OpenAi, OpenAiConfig, PromptRefiner, RefineError};
use video::{Frame, Writer};

/// What the server does with a request.
#[derive(Clone)]
enum Reply {
    /// Status, headers, body.
    Send(u16, &'static str, String),
    /// Announces more than it sends, and closes.
    Cut,
    /// Says nothing for a second.
    Hang,
}

fn says(text: &str) -> Reply {
    let body = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
    Reply::Send(200, "", body.to_string())
}

fn status(code: u16) -> Reply {
    Reply::Send(code, "", "{\"error\": \"no\"}".into())
}

/// A server on this machine; it answers with the replies in turn, and with the last for ever.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut replies) = (Arc::clone(&requests), VecDeque::from_iter(replies));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let reply =
                    if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() };
                let seen = Arc::clone(&seen);
                thread::spawn(move || serve(stream.unwrap(), reply.unwrap(), &seen));
            }
        });
        Self { address, requests }
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn client(&self) -> OpenAi {
        OpenAi::new(self.config()).unwrap()
    }

    fn config(&self) -> OpenAiConfig {
        OpenAiConfig {
            base: self.address.clone(),
            model: "vlm".into(),
            key: Some("secret".into()),
            timeout: Duration::from_millis(400),
            retries: 2,
            pause: Duration::from_millis(5),
        }
    }
}

fn serve(mut stream: TcpStream, reply: Reply, seen: &Mutex<Vec<(String, Value)>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|l| {
            l.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    seen.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap_or(Value::Null)));
    match reply {
        Reply::Send(code, headers, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {code} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
            );
            drop(stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()));
        }
        Reply::Cut => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\""));
        }
        Reply::Hang => thread::sleep(Duration::from_secs(1)),
    }
}

fn describe(replies: impl IntoIterator<Item = Reply>) -> (Result<String, RefineError>, usize) {
    let server = Server::new(replies);
    let result = server.client().describe("Describe a fight.", b"\xff\xd8jpeg", 60);
    (result, server.count())
}

#[test]
fn the_request_is_what_such_servers_take() {
    let server = Server::new([says("\"Two people\n fight.\"")]);
    let text = server.client().describe("Describe a fight.", b"\xff\xd8jpeg", 60).unwrap();
    assert_eq!(text, "Two people fight.");
    let requests = server.requests.lock().unwrap();
    let (head, body) = &requests[0];
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer secret"), "{head}");
    assert_eq!(body["model"], "vlm");
    let content = &body["messages"][0]["content"];
    assert_eq!(content[1]["text"], "Describe a fight.");
    let url = content[0]["image_url"]["url"].as_str().unwrap();
    let data = url.strip_prefix("data:image/jpeg;base64,").unwrap();
    assert_eq!(STANDARD.decode(data).unwrap(), b"\xff\xd8jpeg");
}

#[test]
fn the_first_model_is_taken_if_none_is_named() {
    let server = Server::new([
        status(503),
        Reply::Send(200, "", json!({"data": [{"id": "first"}, {"id": "second"}]}).to_string()),
    ]);
    let client = OpenAi::new(OpenAiConfig { model: String::new(), ..server.config() }).unwrap();
    assert_eq!(client.name(), "first");
    let nobody = OpenAiConfig {
        base: "http://127.0.0.1:9/v1".into(),
        model: String::new(),
        ..server.config()
    };
    assert!(matches!(OpenAi::new(nobody), Err(RefineError::Unavailable(_))));
}

#[test]
fn a_server_that_stumbles_is_asked_again() {
    let long = says(&"word ".repeat(20));
    let unfinished =
        json!({"choices": [{"message": {"content": "Two"}, "finish_reason": "length"}]});
    for stumble in [
        status(500),
        status(429),
        Reply::Cut,
        Reply::Hang,
        Reply::Send(200, "", "not json".into()),
        Reply::Send(200, "", "{\"choices\": []}".into()),
        Reply::Send(200, "", "{\"choices\": 7}".into()),
        Reply::Send(200, "", unfinished.to_string()),
        says("   "),
        says("<think>I never finish"),
        long,
    ] {
        let (result, count) = describe([stumble, says("Two fight.")]);
        assert_eq!((result, count), (Ok("Two fight.".into()), 2));
    }
}

#[test]
fn the_servers_own_pause_is_kept() {
    let busy = |seconds| Reply::Send(429, seconds, "busy".into());
    let start = Instant::now();
    let (result, count) = describe([busy("retry-after: 1\r\n"), says("Two fight.")]);
    assert_eq!((result.unwrap().as_str(), count), ("Two fight.", 2));
    assert!(start.elapsed() >= Duration::from_secs(1));
    // Nobody waits for an hour.
    let (result, count) = describe([busy("retry-after: 3600\r\n"), says("Two fight.")]);
    let error = result.unwrap_err();
    assert!(
        matches!(&error, RefineError::Unavailable(t) if t.contains("pause of 3600 s")),
        "{error}"
    );
    assert_eq!(count, 1);
}

#[test]
fn what_does_not_get_better_is_given_up() {
    for code in [400, 401, 403, 404, 422, 302] {
        let (result, count) = describe([status(code)]);
        assert!(matches!(result, Err(RefineError::Refused(_))), "{code}: {result:?}");
        assert_eq!(count, 1, "{code}");
    }
    let filtered =
        json!({"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]});
    let (result, _) = describe([Reply::Send(200, "", filtered.to_string())]);
    assert!(matches!(result, Err(RefineError::Refused(_))), "{result:?}");
    for (reply, expected) in [
        (status(503), "server not available: 503"),
        (Reply::Hang, "server not available: "),
        (Reply::Send(200, "", "x".repeat(2 << 20)), "unusable answer: longer than"),
        (Reply::Send(200, "", "[".into()), "unusable answer: not JSON"),
        (says(&"long ".repeat(30)), "unusable answer: has 149 characters"),
    ] {
        let (result, count) = describe([reply]);
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(count, 3, "{error}");
    }
}

/// A plan of four clips with this server's descriptions.
fn plan(folder: &Path, server: &Server) -> Planned {
    let normal = folder.join("normal");
    if !normal.exists() {
        std::fs::create_dir(&normal).unwrap();
        let mut writer = Writer::create(&normal.join("a.mp4"), 64, 48, 10.0).unwrap();
        for t in 0..60 {
            let luma: Vec<u8> = (0..64 * 48)
                .map(|i| if (i % 64usize).abs_diff(t) < 3 { 240 } else { (i % 64) as u8 + 50 })
                .collect();
            writer.write(&Frame::from_luma(64, 48, &luma).unwrap()).unwrap();
        }
        writer.finish().unwrap();
    }
    let mut classes = Classes::parse(BUILT_IN, Path::new("built-in")).unwrap();
    classes.selection.per_class = 2;
    classes.classes.truncate(2);
    let client = OpenAi::new(OpenAiConfig { retries: 0, ..server.config() }).unwrap();
    Planner {
        classes: &classes,
        clip: None,
        refiner: Some(&client),
        requests: 1,
        seed: 0,
        cache: &folder.join("cache"),
        stop: &AtomicBool::new(false),
        progress: &|_, _, _| {},
    }
    .plan(&normal)
    .unwrap()
}

#[test]
fn a_fallback_is_recorded_and_tried_again_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new([says("First."), status(500), says("Third."), status(404)]);
    let first = plan(folder.path(), &server).plan.lines;
    assert_eq!(server.count(), 4);
    let from: Vec<PromptFrom> = first.iter().map(|l| l.prompt_from).collect();
    use PromptFrom::{Fallback, Refined};
    assert_eq!(from, [Refined, Fallback, Refined, Fallback]);
    assert!(
        first[0].prompt.starts_with("First, fixed surveillance camera, "),
        "{}",
        first[0].prompt
    );
    assert_eq!(first[0].fallback, None);
    let phrase = "a person abusing and hitting another helpless person, fixed";
    assert!(first[1].prompt.starts_with(phrase), "{}", first[1].prompt);
    assert_eq!(
        first[1].fallback.as_deref(),
        Some("server not available: 500 Internal Server Error: {\"error\": \"no\"}")
    );
    assert!(
        first[3].fallback.as_ref().unwrap().starts_with("refused: 404"),
        "{:?}",
        first[3].fallback
    );

    // Only what is missing is asked for; the rest stays, ids included.
    let server = Server::new([says("Second."), says("Fourth.")]);
    let second = plan(folder.path(), &server).plan.lines;
    assert_eq!(server.count(), 2);
    assert!(second.iter().all(|l| l.prompt_from == Refined));
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    assert!(second[1].prompt.starts_with("Second,") && second[3].prompt.starts_with("Fourth,"));
}

#[test]
fn a_server_that_is_gone_does_not_hold_up_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new([status(503)]);
    let lines = plan(folder.path(), &server).plan.lines;
    // Three tries, then none.
    assert_eq!((server.count(), lines.len()), (3, 4));
    assert!(lines[3].fallback.as_ref().unwrap().contains("given up after 3 frames"));
}
