//! The client of an OpenAI-compatible server: vLLM, llama.cpp, Ollama and the like.
//!
//! `POST {base}/chat/completions` with the picture as a data URL. A server that is busy or stumbles is
//! asked again with growing pauses; one that says how long to wait is waited for.

use std::io::Read as _;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PromptRefiner, RefineError};

/// Longest answer that is read, in bytes: a description is some hundred characters.
const LONGEST: u64 = 1 << 20;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Characters of a server's error message that are passed on.
const QUOTED: usize = 200;

/// How the server is asked.
#[derive(Debug, Clone)]
pub struct OpenAiConfig {
    /// The address up to and including `/v1`.
    pub base: String,
    /// The model; empty: the first that the server lists.
    pub model: String,
    /// Sent as a bearer token.
    pub key: Option<String>,
    /// Seconds for one request, answer included.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
    /// Pause before the second try; doubled each time.
    pub pause: Duration,
}

/// The client.
pub struct OpenAi {
    config: OpenAiConfig,
    client: Client,
    model: OnceLock<String>,
}

/// Why a try failed.
enum Failure {
    /// Another try will not help.
    Final(RefineError),
    /// Another try may help, after the pause that the server asks for.
    Again(RefineError, Option<Duration>),
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl OpenAi {
    /// A client; asks the server for its model if none is given.
    ///
    /// # Errors
    /// [`RefineError::Refused`] for an address that is none, [`RefineError::Unavailable`] if the model is
    /// asked for and the server does not say.
    pub fn new(config: OpenAiConfig) -> Result<Self, RefineError> {
        let base = config.base.trim_end_matches('/');
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(RefineError::Refused(format!(
                "{base:?} is no http:// or https:// address"
            )));
        }
        let client = Client::builder()
            .timeout(config.timeout)
            // A key goes to the server that was named, nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| RefineError::Refused(chain(&e)))?;
        let client = Self {
            config: OpenAiConfig { base: base.to_owned(), ..config },
            client,
            model: OnceLock::new(),
        };
        let model = if client.config.model.is_empty() {
            client.repeat(|| client.first_model())?
        } else {
            client.config.model.clone()
        };
        // Set once, here.
        client.model.get_or_init(|| model);
        Ok(client)
    }

    fn first_model(&self) -> Result<String, Failure> {
        let answer = self.send(self.client.get(format!("{}/models", self.config.base)))?;
        let name = answer["data"][0]["id"].as_str().map(ToOwned::to_owned);
        name.ok_or_else(|| again("lists no model; name one".into()))
    }

    /// Tries, with growing pauses, until it works or the tries are used up.
    fn repeat<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, RefineError> {
        let mut pause = self.config.pause;
        for tries_left in (0..=self.config.retries).rev() {
            match attempt() {
                Ok(result) => return Ok(result),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error, _)) if tries_left == 0 => return Err(error),
                Err(Failure::Again(error, asked)) => {
                    let wait = asked.unwrap_or(pause);
                    if wait > LONGEST_PAUSE {
                        let seconds = wait.as_secs();
                        let text = format!("{error}; asks for a pause of {seconds} s");
                        return Err(RefineError::Unavailable(text));
                    }
                    log::debug!("{error}; trying again in {wait:?}");
                    thread::sleep(wait);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        unreachable!("the last try returns")
    }

    /// Sends a request; the JSON of a good answer.
    fn send(&self, request: reqwest::blocking::RequestBuilder) -> Result<Value, Failure> {
        let request = match &self.config.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let unavailable =
            |e: &reqwest::Error| Failure::Again(RefineError::Unavailable(chain(e)), None);
        let response = request.send().map_err(|e| unavailable(&e))?;
        let status = response.status();
        let asked = retry_after(&response);
        let mut body = Vec::new();
        let read = response.take(LONGEST + 1).read_to_end(&mut body);
        if let Err(error) = read {
            let text = format!("the answer breaks off: {error}");
            return Err(Failure::Again(RefineError::Unavailable(text), None));
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let said: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let said = format!("{status}: {}", said.chars().take(QUOTED).collect::<String>());
            let busy = status.is_server_error()
                || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
            return Err(if busy {
                Failure::Again(RefineError::Unavailable(said), asked)
            } else {
                Failure::Final(RefineError::Refused(said))
            });
        }
        if body.len() as u64 > LONGEST {
            return Err(again(format!("longer than {LONGEST} bytes")));
        }
        serde_json::from_slice(&body).map_err(|e| again(format!("not JSON: {e}")))
    }

    fn ask(&self, request: &Value, max_characters: usize) -> Result<String, Failure> {
        let address = format!("{}/chat/completions", self.config.base);
        let body = request.to_string();
        let request = self.client.post(address).header("content-type", "application/json");
        let answer = self.send(request.body(body))?;
        let answer = Answer::deserialize(answer)
            .map_err(|e| again(format!("not a chat completion: {e}")))?;
        let choice = answer.choices.into_iter().next();
        let choice = choice.ok_or_else(|| again("has no choice".into()))?;
        if choice.finish_reason.as_deref() == Some("content_filter") {
            return Err(Failure::Final(RefineError::Refused("the server's content filter".into())));
        }
        let text = tidy(&choice.message.content.unwrap_or_default());
        if text.is_empty() {
            return Err(again("is empty".into()));
        }
        let characters = text.chars().count();
        if choice.finish_reason.as_deref() == Some("length") {
            return Err(again(format!("was still going on after {characters} characters")));
        }
        if characters > max_characters {
            return Err(again(format!("has {characters} characters, more than {max_characters}")));
        }
        Ok(text)
    }
}

impl PromptRefiner for OpenAi {
    fn name(&self) -> &str {
        self.model.get().map_or("", String::as_str)
    }

    fn describe(
        &self,
        instruction: &str,
        jpeg: &[u8],
        max_characters: usize,
    ) -> Result<String, RefineError> {
        let picture = format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg));
        let request = json!({
            "model": self.name(),
            "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": picture}},
                {"type": "text", "text": instruction},
            ]}],
            // A token has some four characters; half as many more for those that think aloud a little.
            "max_tokens": (max_characters * 3 / 8).max(64),
            "temperature": 0.7,
            "top_p": 0.8,
            "stream": false,
        });
        self.repeat(|| self.ask(&request, max_characters))
    }
}

fn again(problem: String) -> Failure {
    Failure::Again(RefineError::Unusable(problem), None)
}

/// The pause that the server asks for, if it gives it in seconds.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with its causes, on one line; reqwest's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// One line without what a model adds although it was told not to: its thoughts, quotation marks.
fn tidy(answer: &str) -> String {
    let answer = match answer.rsplit_once("</think>") {
        Some((_, rest)) => rest,
        // Thoughts that were cut off are no answer.
        None if answer.trim_start().starts_with("<think>") => "",
        None => answer,
    };
    let words: Vec<&str> = answer.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    let quote = |c: char| matches!(c, '"' | '“' | '”' | '`');
    line.trim_matches(quote).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_tidied() {
        assert_eq!(tidy(" \"Two men\n fight.\" "), "Two men fight.");
        assert_eq!(tidy("<think>hm\n</think>\n\nA car burns."), "A car burns.");
        assert_eq!(tidy("<think>and so on"), "");
    }
}
