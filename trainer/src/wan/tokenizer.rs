//! From a prompt to tokens, as the model directory's `tokenizer` folder says.

use std::path::Path;

use serde_json::Value;
use tokenizers::{TruncationDirection, TruncationParams};

use super::error::{Error, Result};
use super::fields::Fields;
use super::sentencepiece;

/// Largest file that is read; umT5's `tokenizer.json` has about 17 MB.
const LARGEST_FILE: u64 = 256 << 20;

/// A tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    truncate_left: bool,
}

impl Tokenizer {
    /// Loads `tokenizer.json`, or else `spiece.model`; `tokenizer_config.json` is optional.
    ///
    /// # Errors
    /// Names the file.
    pub fn load(folder: &Path) -> Result<Self> {
        let settings = folder.join("tokenizer_config.json");
        let settings = if settings.exists() { Some(Fields::read(&settings)?) } else { None };
        let mut truncate_left = false;
        let mut extra_ids = 100;
        if let Some(settings) = &settings {
            if settings.text("padding_side", "right")? != "right" {
                let problem = "only padding after the text is supported";
                return Err(settings.problem("padding_side", problem));
            }
            truncate_left = match settings.text("truncation_side", "right")?.as_str() {
                "right" => false,
                "left" => true,
                _ => return Err(settings.problem("truncation_side", "left or right is expected")),
            };
            if let Some(n) = settings.value("extra_ids").and_then(Value::as_u64) {
                extra_ids = n.min(10_000) as usize;
            }
        }
        let file = folder.join("tokenizer.json");
        let model = folder.join("spiece.model");
        let (path, parsed) = if file.exists() {
            let parsed = parse(&read(&file)?);
            (file, parsed)
        } else if model.exists() {
            let parsed = sentencepiece::parse(&read(&model)?, extra_ids);
            (model, parsed)
        } else {
            let hint = format!("nor is {}", model.display());
            return Err(Error::Missing { path: file, hint });
        };
        let mut inner = parsed.map_err(|problem| {
            let problem = format!("no tokenizer ({problem}); fetch it again");
            Error::Damaged { path, problem }
        })?;
        // Truncation follows the request, and padding is not needed.
        inner.with_padding(None);
        Ok(Self { inner, truncate_left })
    }

    /// Tokens of a text, at most `longest`, with the marks that the tokenizer adds (`</s>`).
    ///
    /// # Errors
    /// [`Error::Request`] if not even the marks fit, or the text cannot be split.
    pub fn encode(&self, text: &str, longest: usize) -> Result<Vec<u32>> {
        let problem = |problem: String| Error::Request { what: "text", problem };
        let mut inner = self.inner.clone();
        let direction =
            if self.truncate_left { TruncationDirection::Left } else { TruncationDirection::Right };
        let truncation =
            TruncationParams { max_length: longest, direction, ..TruncationParams::default() };
        inner.with_truncation(Some(truncation)).map_err(|e| problem(e.to_string()))?;
        let encoding = inner.encode(text, true).map_err(|e| problem(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { path: path.into(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST_FILE {
        let problem = format!("{size} bytes are too many for a tokenizer");
        return Err(Error::Damaged { path: path.into(), problem });
    }
    std::fs::read(path).map_err(failed)
}

/// Parses a `tokenizer.json`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    check_maps(&value["normalizer"])?;
    tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| e.to_string().replace('\n', " "))
}

/// Checks SentencePiece's normalisation tables, wherever they are.
fn check_maps(value: &Value) -> Result<(), String> {
    use base64::Engine as _;
    match value {
        Value::Array(values) => values.iter().try_for_each(check_maps),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| match value.as_str() {
            Some(text) if name == "precompiled_charsmap" => {
                let bytes = base64::prelude::BASE64_STANDARD.decode(text);
                sentencepiece::check_map(&bytes.map_err(|e| e.to_string())?)
            }
            _ => check_maps(value),
        }),
        _ => Ok(()),
    }
}
