//! From a prompt to tokens, as the model directory's `tokenizer` folder says.

use std::path::Path;

use prost::Message;
use serde_json::Value;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, TruncationDirection, TruncationParams};

use super::error::{Error, Result};
use super::fields::Fields;

/// Largest `spiece.model` that is read; umT5's has 4.5 MB.
const LARGEST_MODEL: u64 = 256 << 20;

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
        let mut inner = if file.exists() {
            tokenizers::Tokenizer::from_file(&file).map_err(|e| Error::Damaged {
                path: file.clone(),
                problem: format!("no tokenizer ({e}); fetch it again"),
            })?
        } else if model.exists() {
            from_sentencepiece(&model, extra_ids)?
        } else {
            let hint = format!("nor is {}", model.display());
            return Err(Error::Missing { path: file, hint });
        };
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

/// The fields of SentencePiece's `ModelProto` that matter here (sentencepiece_model.proto).
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    /// 3 is a control symbol, 4 one that the user defined.
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

/// Builds the tokenizer that transformers' `T5Tokenizer` builds of a SentencePiece model.
fn from_sentencepiece(path: &Path, extra_ids: usize) -> Result<tokenizers::Tokenizer> {
    let read = |source| Error::Read { path: path.into(), source };
    let size = std::fs::metadata(path).map_err(read)?.len();
    let damaged = |problem: String| Error::Damaged { path: path.into(), problem };
    if size > LARGEST_MODEL {
        return Err(damaged(format!("{size} bytes are too many for a SentencePiece model")));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    parse_sentencepiece(&bytes, extra_ids)
        .map_err(|problem| damaged(format!("no SentencePiece model ({problem}); fetch it again")))
}

fn parse_sentencepiece(bytes: &[u8], extra_ids: usize) -> Result<tokenizers::Tokenizer, String> {
    /// What T5 has at this place.
    const UNKNOWN: usize = 2;
    let proto = ModelProto::decode(bytes).map_err(|e| e.to_string())?;
    let mut pieces: Vec<(String, f64)> = Vec::with_capacity(proto.pieces.len() + extra_ids);
    let mut special = Vec::new();
    for piece in &proto.pieces {
        let text = piece.piece.clone().unwrap_or_default();
        if matches!(piece.kind, Some(3 | 4)) && !text.is_empty() {
            let token = AddedToken::from(text.clone(), piece.kind == Some(3)).normalized(false);
            special.push(token);
        }
        pieces.push((text, f64::from(piece.score.unwrap_or_default())));
    }
    for i in (0..extra_ids).rev() {
        let text = format!("<extra_id_{i}>");
        special.push(AddedToken::from(text.clone(), true).normalized(false));
        pieces.push((text, 0.0));
    }
    let end = pieces.iter().position(|(text, _)| text == "</s>").ok_or("it has no </s>")?;
    let model = Unigram::from(pieces, Some(UNKNOWN), false).map_err(|e| e.to_string())?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let map = proto.normalizer.and_then(|n| n.precompiled_charsmap).filter(|map| !map.is_empty());
    if let Some(map) = map {
        let normalizer = Precompiled::from(&map).map_err(|e| e.to_string())?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(|e| e.to_string())?;
    }
    let words = Sequence::new(vec![
        WhitespaceSplit.into(),
        Metaspace::new('▁', PrependScheme::Always, true).into(),
    ]);
    tokenizer.with_pre_tokenizer(Some(words));
    let template = TemplateProcessing::builder()
        .try_single("$A </s>")
        .map_err(|e| e.to_string())?
        .special_tokens(vec![("</s>", end as u32)])
        .build()
        .map_err(|e| e.to_string())?;
    tokenizer.with_post_processor(Some(template));
    tokenizer.add_special_tokens(special).map_err(|e| e.to_string())?;
    Ok(tokenizer)
}
