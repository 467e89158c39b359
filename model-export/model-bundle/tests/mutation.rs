//! Damage of every kind, in a fixed order: nothing damaged is accepted, and nothing panics.

mod common;

use common::{finish, key_pair, minimal, payload, raw_file, raw_payload, sample};
use model_bundle::{Bundle, Error, Trust};

/// SplitMix64 (Steele, Lea, Flood 2014): mutations that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

fn refused(bytes: Vec<u8>, trust: &Trust, what: &str) -> Error {
    let Err(error) = Bundle::from_bytes(bytes, trust) else { panic!("accepted {what}") };
    let message = error.to_string();
    assert!(!message.is_empty() && !message.contains('\n'), "{what}: {message:?}");
    error
}

#[test]
fn every_changed_byte_is_refused() {
    // Every byte through all of header, key, signature and payload, each changed in its lowest,
    // its highest and the letter-case bit, and to every bit's opposite; under both kinds of trust.
    let keys = key_pair();
    let good = finish(&payload(&minimal()), &keys);
    for trust in [Trust::Embedded, Trust::Keys(vec![keys.1])] {
        for position in 0..good.len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[position] ^= mask;
                refused(bytes, &trust, &format!("byte {position} ^ {mask:#x}"));
            }
        }
    }
}

#[test]
fn every_value_of_every_signature_byte_is_refused() {
    let keys = key_pair();
    let good = finish(&payload(&minimal()), &keys);
    let payload_size = payload(&minimal()).as_bytes().len();
    for position in 0..good.len() - payload_size {
        for value in 0..=255u8 {
            let mut bytes = good.clone();
            if bytes[position] != value {
                bytes[position] = value;
                refused(bytes, &Trust::Embedded, &format!("byte {position} = {value:#x}"));
            }
        }
    }
}

#[test]
fn every_length_but_the_whole_is_refused() {
    let keys = key_pair();
    let good = finish(&payload(&minimal()), &keys);
    for length in 0..good.len() {
        let error = refused(good[..length].to_vec(), &Trust::Embedded, &format!("{length} bytes"));
        let expected = if length == 0 {
            matches!(error, Error::NotABundle)
        } else {
            matches!(error, Error::Truncated { .. })
        };
        assert!(expected, "{length} bytes: {error}");
    }
}

#[test]
fn blocks_moved_removed_and_repeated_are_refused() {
    let keys = key_pair();
    let good = finish(&payload(&sample()), &keys);
    let trust = Trust::Keys(vec![keys.1]);
    let mut random = Random(1);
    for round in 0..300 {
        let mut bytes = good.clone();
        let start = random.below(bytes.len());
        let length = 1 + random.below((bytes.len() - start).min(64));
        let block: Vec<u8> = bytes.drain(start..start + length).collect();
        if round % 3 > 0 {
            let to = random.below(bytes.len());
            bytes.splice(to..to, block.iter().copied());
        }
        if round % 3 == 2 {
            bytes.splice(start..start, block);
        }
        if bytes != good {
            refused(bytes, &trust, &format!("round {round}"));
        }
    }
}

#[test]
fn mutated_manifests_under_a_valid_signature_never_panic() {
    // What only the holder of a trusted key could do: the signature is good, the content is not.
    let keys = key_pair();
    let (builder, manifest) = sample();
    let json = serde_json::to_vec(&manifest).unwrap();
    let blobs = builder.payload(&manifest).unwrap().as_bytes()[4 + json.len()..].to_vec();
    let tokens: [&[u8]; 12] = [
        b"0",
        b"-1",
        b"1e999",
        b"4294967296",
        b"18446744073709551615",
        b"null",
        b"\"\"",
        b"[]",
        b"{}",
        b"1e-320",
        b"9",
        b",",
    ];
    let mut random = Random(2);
    let mut accepted = 0;
    for _ in 0..400 {
        let mut mutated = json.clone();
        let start = random.below(mutated.len());
        let length = random.below((mutated.len() - start).min(6));
        let token = tokens[random.below(tokens.len())];
        mutated.splice(start..start + length, token.iter().copied());
        let file = raw_file(&raw_payload(&mutated, &blobs), &keys);
        match Bundle::from_bytes(file, &Trust::Embedded) {
            Ok(bundle) => {
                accepted += 1;
                // Whatever is accepted holds what the validation promises.
                model_bundle::validate::validate(bundle.manifest()).unwrap();
                for graph in &bundle.manifest().graphs {
                    assert_eq!(bundle.blob(&graph.blob).len() as u64, graph.blob.size);
                }
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error:?}"),
        }
    }
    assert!(accepted < 200, "mutation is too tame: {accepted} of 400 accepted");
}
