//! Any bytes as a `tokenizer.json` and as a SentencePiece model: refused on one line, or able to split a
//! text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainer::wan::{sentencepiece, tokenizer};

fuzz_target!(|bytes: &[u8]| {
    for parsed in [tokenizer::parse(bytes), sentencepiece::parse(bytes, 3)] {
        match parsed {
            Ok(tokenizer) => drop(tokenizer.encode("A man runs; ＡＢ \u{4f60} </s>.", true)),
            Err(problem) => assert!(!problem.contains('\n'), "{problem:?}"),
        }
    }
});
