//! Where the blobs lie: side by side, covering everything after the manifest.

use crate::Error;
use crate::container::MAX_FILE_SIZE;
use crate::manifest::{BlobRef, GoldenTensor, Manifest};
use crate::validate::check;

/// A blob and the manifest entry that it belongs to.
#[derive(Debug)]
pub struct NamedBlob<'a> {
    /// The entry, for messages.
    pub name: String,
    /// Where the blob is.
    pub reference: &'a BlobRef,
    /// Whether it holds `f32` values.
    pub is_tensor: bool,
}

/// Every blob of the manifest, after checking that together they cover `available` bytes exactly:
/// no byte outside a blob, no byte in two, except that entries may share a whole blob.
pub fn blob_layout<'a>(
    manifest: &'a Manifest,
    available: u64,
) -> Result<Vec<NamedBlob<'a>>, Error> {
    let mut blobs = Vec::with_capacity(manifest.graphs.len() + 2 * manifest.golden.len());
    for (i, graph) in manifest.graphs.iter().enumerate() {
        let name = format!("graphs[{i}] ({} for {})", graph.name, graph.backend);
        blobs.push(NamedBlob { name, reference: &graph.blob, is_tensor: false });
    }
    for (i, entry) in manifest.golden.iter().enumerate() {
        let mut tensor = |name: &str, tensor: &'a GoldenTensor| {
            let name = format!("golden[{i}].{name}");
            blobs.push(NamedBlob { name, reference: &tensor.blob, is_tensor: true });
        };
        tensor("input", &entry.input);
        for (i, state) in entry.states.iter().enumerate() {
            tensor(&format!("states[{i}]"), state);
        }
        tensor("output", &entry.output);
        for (i, state) in entry.next.iter().enumerate() {
            tensor(&format!("next[{i}]"), state);
        }
    }
    let mut order: Vec<&NamedBlob<'_>> = blobs.iter().collect();
    order.sort_by_key(|blob| (blob.reference.offset, blob.reference.size));
    let (mut end, mut previous) = (0, None);
    for blob in order {
        let BlobRef { offset, size, sha256 } = blob.reference;
        let at = |name: &str| format!("{}.blob.{name}", blob.name);
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        check(
            sha256.len() == 64 && sha256.bytes().all(is_hex),
            at("sha256"),
            "must be 64 lower-case hexadecimal digits",
        )?;
        if previous == Some(blob.reference) {
            continue;
        }
        check(*offset == end, at("offset"), "must be where the blob before it ends")?;
        check((1..=MAX_FILE_SIZE).contains(size), at("size"), "must be 1 byte to the file limit")?;
        // Neither side can overflow: `end` never passes `available`, which is a real length.
        check(*size <= available - end, at("size"), "must not reach past the end of the file")?;
        end += size;
        previous = Some(blob.reference);
    }
    check(end == available, "graphs", format!("leave {} bytes uncovered", available - end))?;
    Ok(blobs)
}
