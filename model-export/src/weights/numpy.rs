//! Weights as a pickle of nested dictionaries of NumPy arrays, as Flax programs save them.
//!
//! A tensor's name is its path through the dictionaries joined by `/`, for example
//! `params/Mixed_3b/Branch_0/Conv3d_0a_1x1/Conv_0/kernel`.

use std::collections::BTreeMap;

use super::{
    Array, floats,
    pickle::{Object, Pickle, Value},
};

/// Deeper dictionaries than this are no weights.
const MAX_DEPTH: usize = 16;

/// Reads all arrays of a pickle.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    let pickle = Pickle::decode(bytes)?;
    if pickle.length != bytes.len() {
        return Err(format!("{} bytes after the end of the pickle", bytes.len() - pickle.length));
    }
    let mut tensors = BTreeMap::new();
    // A dictionary that is used twice would be read twice: stop where there is more than the file.
    let mut budget = bytes.len() / size_of::<f32>();
    walk(&pickle, pickle.root, "", 0, &mut budget, &mut tensors)?;
    Ok(tensors)
}

fn walk(
    pickle: &Pickle<'_>,
    value: Value<'_>,
    path: &str,
    depth: usize,
    budget: &mut usize,
    tensors: &mut BTreeMap<String, Array>,
) -> Result<(), String> {
    // Each visit costs, so that dictionaries of the same dictionaries do not go on for ever.
    let mut spend = |count| {
        *budget = budget
            .checked_sub(count)
            .ok_or_else(|| format!("tensor {path}: more values than the file holds"))?;
        Ok::<_, String>(())
    };
    spend(1)?;
    match pickle.object(value) {
        Some(Object::Dict(items)) if depth < MAX_DEPTH => {
            for (key, value) in items {
                let Value::Text(key) = key else {
                    return Err(format!("a key under {path:?} is no text"));
                };
                let path =
                    if path.is_empty() { (*key).to_owned() } else { format!("{path}/{key}") };
                walk(pickle, *value, &path, depth + 1, budget, tensors)?;
            }
            Ok(())
        }
        Some(Object::Call { callable, state: Some(state), .. }) if is_array(*callable) => {
            let array = array(pickle, *state).map_err(|why| format!("tensor {path}: {why}"))?;
            spend(array.data.len())?;
            tensors.insert(path.to_owned(), array);
            Ok(())
        }
        _ => Err(format!("{path:?} is neither a dictionary nor an array")),
    }
}

fn is_array(callable: Value<'_>) -> bool {
    matches!(
        callable,
        Value::Global("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")
    )
}

/// An array from its state: version, shape, dtype, Fortran order, bytes.
fn array(pickle: &Pickle<'_>, state: Value<'_>) -> Result<Array, String> {
    let Some(&[_, shape, dtype, Value::Bool(fortran), Value::Bytes(bytes)]) =
        pickle.sequence(state)
    else {
        return Err("not the state of an array".into());
    };
    if fortran {
        return Err("stored in Fortran order, which is not read".into());
    }
    if !is_float(pickle, dtype) {
        return Err("not little-endian float32".into());
    }
    let shape = pickle.sizes(shape).ok_or("its shape is no tuple of sizes")?;
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    if count.and_then(|count| count.checked_mul(size_of::<f32>())) != Some(bytes.len()) {
        return Err(format!("shape {shape:?} does not fit its {} bytes", bytes.len()));
    }
    Ok(Array { shape, data: floats(bytes) })
}

/// Whether a dtype is `dtype("f4", ...)` with the state `(version, "<", ...)`.
fn is_float(pickle: &Pickle<'_>, dtype: Value<'_>) -> bool {
    let Some(Object::Call {
        callable: Value::Global("numpy", "dtype"),
        arguments,
        state: Some(state),
        ..
    }) = pickle.object(dtype)
    else {
        return false;
    };
    let kind = pickle.sequence(*arguments).and_then(|parts| parts.first());
    let order = pickle.sequence(*state).and_then(|parts| parts.get(1));
    kind == Some(&Value::Text("f4")) && order == Some(&Value::Text("<"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"a": {"b": np.array([[1.5, -2.0]], "<f4")}}, protocol=4)`.
    const ARRAY: &[u8] = b"\x80\x04}\x8c\x01a}\x8c\x01b\x8c\x15numpy.core.multiarray\
        \x8c\x0c_reconstruct\x93\x8c\x05numpy\x8c\x07ndarray\x93K\x00\x85C\x01b\x87R(K\x01K\x01K\x02\x86\
        \x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f4\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xff\
        J\xff\xff\xff\xffK\x00tb\x89C\x08\x00\x00\xc0?\x00\x00\x00\xc0tbss.";

    #[test]
    fn arrays_are_named_by_their_path() {
        let tensors = read(ARRAY).unwrap();
        assert_eq!(tensors["a/b"], Array { shape: vec![1, 2], data: vec![1.5, -2.0] });
    }

    #[test]
    fn a_dictionary_that_is_used_again_and_again_is_not_followed_for_ever() {
        // Twelve levels of ten entries, each level the same dictionary: 10^12 paths.
        let mut bytes = b"\x80\x04}q\x00".to_vec();
        for level in 1..=12u8 {
            bytes.extend([b'}', b'q', level, b'(']);
            for key in 0..10 {
                bytes.extend([0x8c, 1, b'a' + key, b'h', level - 1]);
            }
            bytes.push(b'u');
        }
        bytes.push(b'.');
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("more values than the file holds"), "{error}");
    }

    #[test]
    fn no_damage_panics_and_a_shape_must_fit() {
        for end in 0..ARRAY.len() {
            assert!(read(&ARRAY[..end]).is_err());
        }
        for at in 0..ARRAY.len() {
            let mut bytes = ARRAY.to_vec();
            bytes[at] ^= 0x5a;
            let _ = read(&bytes);
        }
        let at = ARRAY.windows(4).position(|w| w == b"K\x01K\x02").unwrap();
        let mut bytes = ARRAY.to_vec();
        bytes[at + 3] = 3;
        let error = read(&bytes).unwrap_err();
        assert!(error.contains("a/b"), "{error}");
    }
}
