//! SentencePiece's model files (`spiece.model`) as transformers' `T5Tokenizer` reads them.

use std::collections::BTreeSet;

use prost::Message;
use tokenizers::AddedToken;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;

/// Number of the unknown token; T5 has it there, whatever the file says.
const UNKNOWN: usize = 2;
/// Kinds of piece: a control symbol, one that the user defined.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// The fields of `ModelProto` that matter here (sentencepiece_model.proto).
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
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
}

/// Builds the tokenizer of a model file; `extra_ids` tokens `<extra_id_…>` follow its pieces.
///
/// # Errors
/// What is wrong with the file.
pub fn parse(bytes: &[u8], extra_ids: usize) -> Result<tokenizers::Tokenizer, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let proto = ModelProto::decode(bytes).map_err(|e| text(&e))?;
    let mut pieces: Vec<(String, f64)> = Vec::with_capacity(proto.pieces.len() + extra_ids);
    let mut special = Vec::new();
    for piece in proto.pieces {
        let name = piece.piece.unwrap_or_default();
        let kind = piece.kind.unwrap_or_default();
        if [CONTROL, USER_DEFINED].contains(&kind) && !name.is_empty() {
            special.push(AddedToken::from(name.clone(), kind == CONTROL).normalized(false));
        }
        pieces.push((name, f64::from(piece.score.unwrap_or_default())));
    }
    for i in (0..extra_ids).rev() {
        let name = format!("<extra_id_{i}>");
        special.push(AddedToken::from(name.clone(), true).normalized(false));
        pieces.push((name, 0.0));
    }
    let end = pieces.iter().position(|(name, _)| name == "</s>").ok_or("it has no </s>")?;
    let model = Unigram::from(pieces, Some(UNKNOWN), false).map_err(|e| text(&e))?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let map = proto.normalizer.and_then(|n| n.precompiled_charsmap).filter(|map| !map.is_empty());
    if let Some(map) = map {
        check_map(&map)?;
        let normalizer = Precompiled::from(&map).map_err(|e| text(&e))?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(|e| text(&e))?;
    }
    let words = Sequence::new(vec![
        WhitespaceSplit.into(),
        Metaspace::new('▁', PrependScheme::Always, true).into(),
    ]);
    tokenizer.with_pre_tokenizer(Some(words));
    let template = TemplateProcessing::builder()
        .try_single("$A </s>")
        .map_err(|e| text(&e))?
        .special_tokens(vec![("</s>", end as u32)])
        .build()
        .map_err(|e| text(&e))?;
    tokenizer.with_post_processor(Some(template));
    tokenizer.add_special_tokens(special).map_err(|e| text(&e))?;
    Ok(tokenizer)
}

/// Checks a normalisation table, all of it that a text can lead to: the crate that looks texts up in it
/// trusts it.
///
/// The layout is a length in bytes, a double-array trie of that length (units of 32 bits, after Darts),
/// and the replacements, each ended by a zero; a leaf's value is the place of its replacement.
///
/// # Errors
/// What is wrong.
pub fn check_map(map: &[u8]) -> Result<(), String> {
    let damaged = || "its normalisation table is damaged".to_string();
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let (length, rest) = map.split_at_checked(4).ok_or_else(damaged)?;
    let (trie, texts) = rest.split_at_checked(word(length) as usize).ok_or_else(damaged)?;
    let texts = std::str::from_utf8(texts).map_err(|_| damaged())?;
    let trie: Vec<usize> = trie.as_chunks::<4>().0.iter().map(|b| word(b) as usize).collect();
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let root = *trie.first().ok_or_else(damaged)?;
    let mut seen = BTreeSet::from([offset(root)]);
    let mut open = vec![offset(root)];
    while let Some(node) = open.pop() {
        // Any byte may follow a node, and its unit is looked at: all lie in one block of 256.
        if node | 0xff >= trie.len() {
            return Err(damaged());
        }
        for byte in 1..=255 {
            let unit = trie[node ^ byte];
            if unit & ((1 << 31) | 0xff) != byte {
                continue;
            }
            let next = node ^ byte ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let value = trie.get(next).ok_or_else(damaged)? & ((1 << 31) - 1);
                if !texts.is_char_boundary(value) {
                    return Err(damaged());
                }
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read(folder.join("tests/golden/wan/sentencepiece/spiece.model")).unwrap()
    }

    #[test]
    fn damage_is_refused_and_never_a_panic() {
        let model = model();
        assert!(parse(&model, 3).unwrap().encode("ＡＢ car", true).is_ok());
        let mut refused = 0;
        for i in 0..model.len() {
            for bit in [0x01, 0x10, 0x80] {
                let mut damaged = model.clone();
                damaged[i] ^= bit;
                match parse(&damaged, 3) {
                    Ok(tokenizer) => drop(tokenizer.encode("ＡＢ car[bag] ab ｚ </s>", true)),
                    Err(problem) => {
                        assert!(!problem.contains('\n'), "{problem}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 500, "{refused}");
    }

    #[test]
    fn a_table_that_leads_out_of_itself_is_refused() {
        for map in [&[][..], &[8, 0, 0, 0, 1], &[4, 0, 0, 0, 0, 4, 0, 0], &[0; 4]] {
            assert!(check_map(map).is_err(), "{map:?}");
        }
    }
}
