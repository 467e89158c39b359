//! What a reader accepts and what it refuses, by name.

mod common;

use common::{finish, key_pair, minimal, payload, raw_file, raw_payload, sample, sign};
use model_bundle::container::{MAX_FILE_SIZE, MAX_MANIFEST_SIZE};
use model_bundle::{Bundle, Error, Trust};
use sha2::{Digest, Sha256};

#[test]
fn a_bundle_comes_back_as_it_was_written() {
    let keys = key_pair();
    let (builder, manifest) = sample();
    let bytes = finish(&builder.payload(&manifest).unwrap(), &keys);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.pavad");
    std::fs::write(&path, &bytes).unwrap();

    let bundle = Bundle::open(&path, &Trust::Keys(vec![keys.1])).unwrap();
    assert_eq!(*bundle.manifest(), manifest);
    assert_eq!(*bundle.signer(), keys.1);
    assert_eq!(bundle.graph("local", "ort"), Some(&b"local ort"[..]));
    assert_eq!(bundle.graph("local", "tract"), Some(&b"local tract"[..]));
    assert_eq!(bundle.graph("head", "ort"), bundle.graph("head", "tract"));
    assert_eq!(bundle.graph("head", "cuda"), None);
    assert_eq!(bundle.graph_entry("backbone", "ort").unwrap().precision, "int8");
    let golden = bundle.manifest().golden.iter().find(|g| g.graph == "head").unwrap();
    assert_eq!(bundle.tensor(&golden.output.blob), [0.0, 0.25, 0.5]);
    assert_eq!(bundle.digest(), <[u8; 32]>::from(Sha256::digest(&bytes)));
    assert_eq!(bundle.as_bytes(), bytes);
}

#[test]
fn equal_blobs_are_stored_once_and_payloads_repeat() {
    let (builder, manifest) = sample();
    let heads: Vec<_> = manifest.graphs.iter().filter(|g| g.name == "head").collect();
    assert_eq!(heads[0].blob, heads[1].blob);
    assert_eq!(builder.payload(&manifest).unwrap(), payload(&sample()));
}

#[test]
fn trust_is_in_the_keys_given() {
    let (keys, others) = (key_pair(), key_pair());
    let bytes = finish(&payload(&minimal()), &keys);
    let open = |trust| Bundle::from_bytes(bytes.clone(), &trust);
    open(Trust::Keys(vec![others.1, keys.1])).unwrap();
    open(Trust::Embedded).unwrap();
    for trust in [Trust::Keys(vec![others.1]), Trust::Keys(vec![])] {
        let Err(Error::UntrustedKey { key }) = open(trust) else { panic!("accepted") };
        assert_eq!(key, keys.1.id());
    }
}

#[test]
fn a_key_with_a_trusted_id_but_another_secret_is_refused() {
    let (keys, others) = (key_pair(), key_pair());
    let mut forged = *others.1.as_bytes();
    forged[2..10].copy_from_slice(&keys.1.as_bytes()[2..10]);
    let mut bytes = finish(&payload(&minimal()), &others);
    bytes[24..66].copy_from_slice(&forged);
    let refused = Bundle::from_bytes(bytes.clone(), &Trust::Keys(vec![keys.1]));
    assert!(matches!(refused, Err(Error::UntrustedKey { .. })));
    // Claiming the trusted key itself leaves a signature that does not fit it.
    bytes[24..66].copy_from_slice(keys.1.as_bytes());
    let refused = Bundle::from_bytes(bytes, &Trust::Keys(vec![keys.1]));
    assert!(matches!(refused, Err(Error::BadSignature)));
}

#[test]
fn a_signature_of_another_payload_is_refused_by_the_writer_too() {
    let keys = key_pair();
    let payload = payload(&minimal());
    let other = sign(b"something else", &keys.0);
    assert!(matches!(payload.finish(&other, &keys.1), Err(Error::BadSignature)));
    let signature = sign(payload.as_bytes(), &keys.0);
    assert!(matches!(payload.finish(&signature, &key_pair().1), Err(Error::BadSignature)));
}

#[test]
fn a_verified_payload_can_be_signed_again() {
    let (keys, others) = (key_pair(), key_pair());
    let first = finish(&payload(&sample()), &keys);
    let bundle = Bundle::from_bytes(first, &Trust::Embedded).unwrap();
    let second = finish(&bundle.payload(), &others);
    let again = Bundle::from_bytes(second, &Trust::Keys(vec![others.1])).unwrap();
    assert_eq!(again.manifest(), bundle.manifest());
    assert_eq!(again.payload(), bundle.payload());
}

#[test]
fn device_class_and_epoch_are_checked() {
    let keys = key_pair();
    let bytes = finish(&payload(&minimal()), &keys);
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded).unwrap();
    bundle.check_device("generic-linux").unwrap();
    let error = bundle.check_device("xavier").unwrap_err();
    assert!(matches!(&error, Error::WrongDeviceClass { .. }));
    assert_eq!(
        error.to_string(),
        "bundle is for devices of class orin-nano, generic-linux, this one is xavier"
    );
    bundle.check_epoch(3).unwrap();
    assert!(matches!(bundle.check_epoch(4), Err(Error::EpochTooOld { epoch: 3, min: 4 })));

    let (builder, mut manifest) = minimal();
    manifest.device_classes = vec!["any".into()];
    let bytes = finish(&builder.payload(&manifest).unwrap(), &keys);
    Bundle::from_bytes(bytes, &Trust::Embedded).unwrap().check_device("xavier").unwrap();
}

#[test]
fn foreign_files_and_formats_are_named() {
    let open = |bytes: &[u8]| Bundle::from_bytes(bytes.to_vec(), &Trust::Embedded).unwrap_err();
    for other in [&b""[..], b"PK\x03\x04", b"\x89PNG\r\n\x1a\n and more", &[0; 4096]] {
        assert!(matches!(open(other), Error::NotABundle), "{other:?}");
    }
    let mut bytes = finish(&payload(&minimal()), &key_pair());
    bytes[8] = 2;
    assert!(matches!(open(&bytes), Error::UnsupportedFormat { version: 2 }));
    bytes[8] = 1;
    bytes.push(0);
    assert!(matches!(open(&bytes), Error::TrailingBytes { extra: 1 }));
    let missing = Bundle::open("no/such/file.pavad".as_ref(), &Trust::Embedded).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read no/such/file.pavad: "), "{missing}");
}

#[test]
fn lengths_are_limited_before_anything_is_allocated() {
    let bytes = finish(&payload(&minimal()), &key_pair());
    let open = |bytes: Vec<u8>| Bundle::from_bytes(bytes, &Trust::Embedded).unwrap_err();
    let mut long_signature = bytes.clone();
    long_signature[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(open(long_signature), Error::TooLarge { what: "signature", .. }));
    let mut long_payload = bytes.clone();
    long_payload[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(open(long_payload), Error::TooLarge { what: "payload", .. }));

    // A sparse file: one byte over the limit on disk, none in memory.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.pavad");
    std::fs::File::create(&path).unwrap().set_len(MAX_FILE_SIZE + 1).unwrap();
    let error = Bundle::open(&path, &Trust::Embedded).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "file", .. }));
}

#[test]
fn a_validly_signed_payload_is_still_checked() {
    let keys = key_pair();
    let open =
        |payload: &[u8]| Bundle::from_bytes(raw_file(payload, &keys), &Trust::Keys(vec![keys.1]));
    let (builder, manifest) = sample();
    let good = builder.payload(&manifest).unwrap();
    let json = serde_json::to_vec(&manifest).unwrap();
    let blobs = good.as_bytes()[4 + json.len()..].to_vec();
    open(&raw_payload(&json, &blobs)).unwrap();

    assert!(matches!(open(b"abc"), Err(Error::Truncated { what: "manifest", .. })));
    assert!(matches!(open(&[0xff, 0, 0, 0]), Err(Error::Truncated { what: "manifest", .. })));
    let too_long = (MAX_MANIFEST_SIZE as u32 + 1).to_le_bytes();
    assert!(matches!(open(&too_long), Err(Error::TooLarge { what: "manifest", .. })));
    assert!(matches!(open(&raw_payload(b"{}", b"")), Err(Error::BadManifest { .. })));
    let deep = "[".repeat(100_000);
    assert!(matches!(open(&raw_payload(deep.as_bytes(), b"")), Err(Error::BadManifest { .. })));
    let future = br#"{"schema": 2, "something": "new"}"#;
    assert!(matches!(open(&raw_payload(future, b"")), Err(Error::UnknownSchema { schema: 2 })));

    let mut changed = blobs.clone();
    changed[0] ^= 1;
    let Err(Error::BlobMismatch { name }) = open(&raw_payload(&json, &changed)) else {
        panic!("accepted")
    };
    assert_eq!(name, "graphs[0] (local for ort)");
    for blobs in [&blobs[..blobs.len() - 1], &[&blobs[..], &[0]].concat()] {
        assert!(matches!(open(&raw_payload(&json, blobs)), Err(Error::BadManifest { .. })));
    }
}
