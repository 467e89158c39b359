//! Text to ids.
//!
//! A `tokenizer.json` is taken as it is; `vocab.json` and `merges.txt` are put into the tokenizer that
//! transformers' `CLIPTokenizer` builds of them.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::{PostProcessor as _, TruncationParams};

use super::Error;

/// Longest text that is tokenized, in bytes: far more than any model looks at.
const LONGEST: usize = 64 << 10;

/// How CLIP splits normalised text into words.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Text to ids; the context's length is kept to.
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    context: usize,
}

impl Tokenizer {
    /// Reads the tokenizer of a model whose texts have at most `context` tokens.
    pub(super) fn read(dir: &Path, context: usize) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let config = object(&dir.join("tokenizer_config.json"))?;
        let (path, text) = if path.exists() {
            let text = Error::read_text(&path)?;
            (path, text)
        } else {
            let vocab = dir.join("vocab.json");
            if !vocab.exists() || !dir.join("merges.txt").exists() {
                return Err(Error::Missing {
                    dir: dir.into(),
                    what: "tokenizer.json (or vocab.json and merges.txt)".into(),
                });
            }
            let text = from_parts(dir, &config)?;
            (vocab, text)
        };
        let damaged =
            |e: &dyn std::fmt::Display| Error::damaged(&path, format!("is not a tokenizer: {e}"));
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(text.as_bytes()).map_err(|e| damaged(&e))?;
        // Files without a limit say 1e30.
        let limit = config.get("model_max_length").and_then(Value::as_f64).unwrap_or(f64::MAX);
        let context = (limit.max(0.0) as usize).min(context);
        let added = tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(false));
        if added >= context {
            return Err(damaged(&format!(
                "it adds {added} tokens to each text, and the model takes {context}"
            )));
        }
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length: context, ..Default::default() }))
            .map_err(|e| damaged(&e))?;
        Ok(Self { tokenizer, context })
    }

    /// The ids of a text, start and end included; what does not fit into the context is cut off before
    /// the end.
    ///
    /// # Errors
    /// [`Error::Text`].
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        let fail = |problem: String| Error::Text { text: text.chars().take(80).collect(), problem };
        if text.len() > LONGEST {
            return Err(fail(format!("longer than {LONGEST} bytes")));
        }
        let encoding = self.tokenizer.encode(text, true).map_err(|e| fail(e.to_string()))?;
        if encoding.get_ids().is_empty() {
            return Err(fail("has no tokens; the tokenizer adds no start and end".into()));
        }
        if !encoding.get_overflowing().is_empty() {
            log::warn!(
                "text {:?} is cut off: the model takes {} tokens",
                text.chars().take(60).collect::<String>(),
                self.context
            );
        }
        Ok(encoding.get_ids().to_vec())
    }

    /// The largest id that a text can give.
    pub(super) fn largest_id(&self) -> Option<usize> {
        self.tokenizer.get_vocab(true).into_values().max().map(|id| id as usize)
    }
}

/// A JSON object in a file; an empty one if there is no such file.
fn object(path: &Path) -> Result<Map<String, Value>, Error> {
    if !path.exists() {
        return Ok(Map::new());
    }
    serde_json::from_str(&Error::read_text(path)?)
        .map_err(|e| Error::damaged(path, format!("is not a JSON object: {e}")))
}

/// The `tokenizer.json` that belongs to `vocab.json` and `merges.txt`.
fn from_parts(dir: &Path, config: &Map<String, Value>) -> Result<String, Error> {
    let vocab_path = dir.join("vocab.json");
    let vocab = object(&vocab_path)?;
    let merges_path = dir.join("merges.txt");
    let merges: Vec<String> = Error::read_text(&merges_path)?
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.trim().is_empty())
        .map(ToOwned::to_owned)
        .collect();
    if let Some(line) = merges.iter().position(|m| m.split(' ').count() != 2) {
        let problem = format!("merge {}: {:?} is not two parts", line + 1, merges[line]);
        return Err(Error::damaged(&merges_path, problem));
    }
    let map = object(&dir.join("special_tokens_map.json"))?;
    let token = |name: &str, default: &str| -> String {
        let value = config.get(name).or_else(|| map.get(name));
        let text = value.and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
        text.unwrap_or(default).to_owned()
    };
    let id = |token: &str| {
        vocab.get(token).and_then(Value::as_u64).ok_or_else(|| {
            Error::damaged(&vocab_path, format!("has no id for the special token {token:?}"))
        })
    };
    let (start, end) = (token("bos_token", "<|startoftext|>"), token("eos_token", "<|endoftext|>"));
    let (unknown, pad) = (token("unk_token", "<|endoftext|>"), token("pad_token", "<|endoftext|>"));
    let mut special: Vec<&str> = Vec::new();
    for token in [&start, &end, &unknown, &pad] {
        if !special.contains(&token.as_str()) {
            special.push(token);
        }
    }
    let mut added = special
        .iter()
        .map(|token| {
            Ok(json!({
                "id": id(token)?, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            }))
        })
        .collect::<Result<Vec<Value>, Error>>()?;
    added.sort_by_key(|token| token["id"].as_u64());
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": {
            "type": "RobertaProcessing", "sep": [end, id(&end)?], "cls": [start, id(&start)?],
            "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": merges,
        },
    });
    Ok(tokenizer.to_string())
}
