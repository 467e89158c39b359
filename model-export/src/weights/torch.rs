//! Weights in PyTorch's file format before 1.6, a state dictionary.
//!
//! Five pickles (magic number, protocol, system, the state dictionary, the order of storages), then
//! each storage: its length as a little-endian `u64` and its elements. (`torch/serialization.py`,
//! `_legacy_save`.)

use std::collections::{BTreeMap, HashMap};

use super::{
    Array, floats,
    pickle::{Object, Pickle, Value},
};

/// The magic number `0x1950a86a20f9469cfc6c`, little-endian.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether this file starts with the magic number of the format.
pub fn recognises(bytes: &[u8]) -> bool {
    // PROTO 2, LONG1 of 10 bytes.
    bytes.starts_with(&[0x80, 0x02, 0x8a, 0x0a]) && bytes[4..].starts_with(MAGIC)
}

/// Reads all `f32` tensors; integers (counters of batches) are left out.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    let mut rest = bytes;
    let mut next = || -> Result<Pickle<'_>, String> {
        let pickle = Pickle::decode(rest)?;
        rest = &rest[pickle.length..];
        Ok(pickle)
    };
    let (_magic, _protocol, _system) = (next()?, next()?, next()?);
    let (state, order) = (next()?, next()?);
    let tensors = tensors(&state)?;

    // The size of an element is known from the tensors only.
    let keys = order.sequence(order.root).ok_or("no list of storages")?;
    let users: HashMap<_, _> =
        tensors.iter().map(|(name, tensor)| (tensor.storage, (name, tensor))).collect();
    let mut storages = HashMap::new();
    for key in keys {
        let Value::Text(key) = key else {
            return Err("the key of a storage is no text".into());
        };
        let (name, user) =
            users.get(key).ok_or_else(|| format!("storage {key} is of no tensor"))?;
        let (count, after) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| format!("file ends before tensor {name}"))?;
        let size = usize::try_from(u64::from_le_bytes(*count)).ok();
        let size = size.and_then(|count| count.checked_mul(user.element_size()));
        let data = size.and_then(|size| after.split_at_checked(size));
        let (data, after) = data.ok_or_else(|| format!("file ends inside tensor {name}"))?;
        storages.insert(*key, data);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes after the last tensor", rest.len()));
    }

    let mut budget = bytes.len() / size_of::<f32>();
    let mut arrays = BTreeMap::new();
    for (name, tensor) in &tensors {
        if tensor.float {
            let storage = storages.get(tensor.storage).copied().unwrap_or_default();
            let array = tensor.array(storage).map_err(|why| format!("tensor {name}: {why}"))?;
            budget = budget
                .checked_sub(array.data.len())
                .ok_or_else(|| format!("tensor {name}: more values than the file holds"))?;
            arrays.insert((*name).to_owned(), array);
        }
    }
    Ok(arrays)
}

/// Where a tensor's values lie.
struct Tensor<'a> {
    storage: &'a str,
    float: bool,
    offset: usize,
    shape: Vec<usize>,
}

impl Tensor<'_> {
    fn element_size(&self) -> usize {
        if self.float { size_of::<f32>() } else { size_of::<i64>() }
    }

    fn array(&self, storage: &[u8]) -> Result<Array, String> {
        let count = self.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let bytes = count.and_then(|count| {
            let start = self.offset.checked_mul(size_of::<f32>())?;
            let end = start.checked_add(count.checked_mul(size_of::<f32>())?)?;
            storage.get(start..end)
        });
        let bytes = bytes.ok_or_else(|| format!("shape {:?} exceeds its storage", self.shape))?;
        Ok(Array { shape: self.shape.clone(), data: floats(bytes) })
    }
}

/// The tensors of the state dictionary, in its order.
fn tensors<'a>(state: &Pickle<'a>) -> Result<Vec<(&'a str, Tensor<'a>)>, String> {
    let items = match state.object(state.root) {
        Some(
            Object::Dict(items)
            | Object::Call { callable: Value::Global("collections", "OrderedDict"), items, .. },
        ) => items,
        _ => return Err("not a state dictionary: save `model.state_dict()`".into()),
    };
    let tensor = |(key, value): &(Value<'a>, Value<'a>)| {
        let Value::Text(name) = *key else {
            return Err("a key is no text".to_owned());
        };
        let tensor = tensor(state, *value);
        Ok((name, tensor.ok_or_else(|| format!("{name} is no contiguous float tensor"))?))
    };
    items.iter().map(tensor).collect()
}

/// A call of `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
fn tensor<'a>(state: &Pickle<'a>, value: Value<'a>) -> Option<Tensor<'a>> {
    let Object::Call {
        callable: Value::Global("torch._utils", "_rebuild_tensor_v2"),
        arguments,
        ..
    } = state.object(value)?
    else {
        return None;
    };
    let &[storage, Value::Int(offset), size, stride, ..] = state.sequence(*arguments)? else {
        return None;
    };
    let (shape, stride) = (state.sizes(size)?, state.sizes(stride)?);
    if !is_row_major(&shape, &stride) {
        return None;
    }
    // ("storage", type, key, device, elements, view)
    let Object::Persistent(id) = state.object(storage)? else {
        return None;
    };
    let &[Value::Text("storage"), Value::Global("torch", kind), Value::Text(key), ..] =
        state.sequence(*id)?
    else {
        return None;
    };
    let float = match kind {
        "FloatStorage" => true,
        "LongStorage" => false,
        _ => return None,
    };
    Some(Tensor { storage: key, float, offset: usize::try_from(offset).ok()?, shape })
}

fn is_row_major(shape: &[usize], stride: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.len() == stride.len()
        && shape.iter().zip(stride).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.save({"w": torch.tensor([[1.5, -2.0]])}, f, _use_new_zipfile_serialization=False)`.
    const FILE: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\
        \x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((\
        X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x007q\x05\
        X\x03\x00\x00\x00cpuq\x06K\x02Ntq\x07QK\x00K\x01K\x02\x86q\x08K\x02K\x01\x86q\x09\x89\
        ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.\x80\x02]q\x00X\x01\x00\x00\x007q\x01a.\
        \x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc0?\x00\x00\x00\xc0";

    #[test]
    fn a_state_dictionary_is_read() {
        assert!(recognises(FILE));
        let tensors = read(FILE).unwrap();
        assert_eq!(tensors["w"], Array { shape: vec![1, 2], data: vec![1.5, -2.0] });
    }

    #[test]
    fn no_damage_panics_and_none_of_it_goes_unseen_at_the_end() {
        for end in 0..FILE.len() {
            assert!(read(&FILE[..end]).is_err());
        }
        assert!(read(&[FILE, b"x"].concat()).is_err());
        for at in 0..FILE.len() {
            let mut bytes = FILE.to_vec();
            bytes[at] ^= 0x5a;
            let _ = read(&bytes);
        }
    }

    #[test]
    fn row_major_strides_are_recognised() {
        assert!(is_row_major(&[2, 3], &[3, 1]));
        assert!(is_row_major(&[], &[]));
        assert!(is_row_major(&[1, 3], &[7, 1]));
        assert!(!is_row_major(&[3, 2], &[1, 3]));
    }
}
