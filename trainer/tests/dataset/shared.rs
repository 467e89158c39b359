//! The real annotations and videos, where a copy lies beside the project: known totals.

use std::path::{Path, PathBuf};

use serde_json::Value;
use trainer::dataset::{Name, read};

use crate::site::run;

/// `shared/data` beside the project or above it.
fn shared(name: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(name))
        .find(|path| path.is_dir());
    if found.is_none() {
        println!("skipped: no shared/data/{name} beside the project");
    }
    found
}

fn check(name: &str, dir: &Path) -> Value {
    let (code, out, err) = run(name, dir, &["--json"]);
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

/// What was found, in the order of the report: normal training videos and frames, abnormal training
/// videos, test videos, abnormal ones, test frames, abnormal ones.
fn found(report: &Value) -> Vec<Option<u64>> {
    report["counts"].as_array().unwrap().iter().map(|count| count["found"].as_u64()).collect()
}

#[test]
fn ped2_is_a_partial_copy_that_agrees() {
    let Some(dir) = shared("ped2") else { return };
    let report = check("ped2", &dir);
    assert_eq!(report["outcome"], "partial");
    let expected = [Some(16), Some(2550), None, Some(6), Some(6), Some(990), Some(875)];
    assert_eq!(found(&report), expected);
    assert_eq!(report["differences"].as_array().unwrap().len(), 0);
    let dataset = read(Name::Ped2, &dir).unwrap();
    assert_eq!((dataset.train_normal.len(), dataset.test.len()), (16, 6));
}

#[test]
fn annotations_alone_agree() {
    let Some(dir) = shared("annotations") else { return };
    let original = check("shanghaitech", &dir.join("shanghaitech"));
    assert_eq!(found(&original)[3..], [Some(107), Some(107), Some(40_791), Some(17_326)]);
    let weak = check("shanghaitech-weak", &dir.join("shanghaitech"));
    assert_eq!(found(&weak)[0], Some(175));
    assert_eq!(found(&weak)[2..], [Some(63), Some(199), Some(44), None, Some(7962)]);
    let ucf = check("ucf-crime", &dir.join("ucf-crime"));
    assert_eq!(found(&ucf)[0], Some(800));
    assert_eq!(found(&ucf)[2..], [Some(810), Some(290), Some(140), None, Some(84_345)]);
    let xd = check("xd-violence", &dir.join("xd-violence"));
    assert_eq!(found(&xd)[3..], [None, Some(500), None, Some(538_324)]);
    for report in [&original, &weak, &ucf, &xd] {
        assert_eq!(
            (&report["outcome"], &report["annotations_only"]),
            (&"agrees".into(), &true.into())
        );
        assert!(!report["not_checked"].as_array().unwrap().is_empty());
        assert!(!report["known_discrepancies"].as_array().unwrap().is_empty());
    }
}
