//! The part of Python's pickle format that weights files are written in.
//!
//! Nothing is executed: a call in the pickle becomes an [`Object::Call`] in a tree, and whoever
//! reads the tree knows the few calls that a weights file contains and refuses all others. Each
//! instruction adds at most one object, so memory is bounded by the length of the file.
//!
//! Instructions are those of Python's `pickletools`; the ones that no weights file uses are errors.

use std::collections::HashMap;

/// A value; what it consists of lies in the [`Pickle`] that it is part of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A longer integer, little-endian two's complement.
    Long(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A function or class by module and name.
    Global(&'a str, &'a str),
    /// An object, by its index.
    Object(usize),
}

/// An object that has parts or changes after it is made.
#[derive(Debug)]
pub enum Object<'a> {
    /// A tuple or a list.
    Sequence(Vec<Value<'a>>),
    /// A dictionary, in order.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// A call that Python would make, and the state that it would give to the result. Items set on
    /// the result are in `items`.
    Call {
        /// Function or class.
        callable: Value<'a>,
        /// Argument tuple.
        arguments: Value<'a>,
        /// State set afterwards.
        state: Option<Value<'a>>,
        /// Items set afterwards.
        items: Vec<(Value<'a>, Value<'a>)>,
    },
    /// Something kept outside of the pickle, by its identifier.
    Persistent(Value<'a>),
}

/// A decoded pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    /// The value the pickle stands for.
    pub root: Value<'a>,
    /// Bytes the pickle took.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// Decodes the pickle at the start of `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, ..Machine::default() };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => {
                    return Ok(Self { objects: machine.objects, root, length: machine.at });
                }
                Err(reason) => return Err(format!("damaged pickle at byte {at}: {reason}")),
            }
        }
    }

    /// What a value consists of, if it is an object.
    pub fn object(&self, value: Value<'_>) -> Option<&Object<'a>> {
        match value {
            Value::Object(index) => self.objects.get(index),
            _ => None,
        }
    }

    /// The parts of a tuple or list.
    pub fn sequence(&self, value: Value<'_>) -> Option<&[Value<'a>]> {
        match self.object(value)? {
            Object::Sequence(parts) => Some(parts),
            _ => None,
        }
    }

    /// A tuple of sizes.
    pub fn sizes(&self, value: Value<'_>) -> Option<Vec<usize>> {
        let parts = self.sequence(value)?.iter();
        parts
            .map(|part| if let Value::Int(i) = part { usize::try_from(*i).ok() } else { None })
            .collect()
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
    objects: Vec<Object<'a>>,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; gives the result at the end of the pickle.
    fn step(&mut self) -> Result<Option<Value<'a>>, String> {
        match self.byte()? {
            0x80 => _ = self.byte()?,  // PROTO
            0x95 => _ = self.take(8)?, // FRAME: a hint for readers from a stream
            b'.' => return self.pop().map(Some),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.push_int::<1>(|b| i64::from(b[0]))?,
            b'M' => self.push_int::<2>(|b| i64::from(u16::from_le_bytes(b)))?,
            b'J' => self.push_int::<4>(|b| i64::from(i32::from_le_bytes(b)))?,
            0x8a => {
                let length = usize::from(self.byte()?);
                let digits = self.take(length)?;
                self.stack.push(long(digits));
            }
            0x8c => self.text::<1>()?,
            b'X' => self.text::<4>()?,
            b'C' => self.raw::<1>()?,
            b'B' => self.raw::<4>()?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(module, name));
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => {
                    self.stack.push(Value::Global(module, name));
                }
                _ => return Err("a global without a name".into()),
            },
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' => self.make(Object::Sequence(vec![])),
            b'}' => self.make(Object::Dict(vec![])),
            b't' => {
                let parts = self.since_mark()?;
                self.make(Object::Sequence(parts));
            }
            count @ 0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(count - 0x84));
                let parts = self.stack.split_off(start.ok_or("the stack is empty")?);
                self.make(Object::Sequence(parts));
            }
            b'e' => {
                let parts = self.since_mark()?;
                self.append(&parts)?;
            }
            b'a' => {
                let part = self.pop()?;
                self.append(&[part])?;
            }
            b'u' => {
                let parts = self.since_mark()?;
                self.set(&parts)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'q' => {
                let slot = usize::from(self.byte()?);
                self.remember(slot)?;
            }
            b'r' => {
                let slot = self.length::<4>()?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let slot = usize::from(self.byte()?);
                self.recall(slot)?;
            }
            b'j' => {
                let slot = self.length::<4>()?;
                self.recall(slot)?;
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.make(Object::Call { callable, arguments, state: None, items: vec![] });
            }
            b'b' => {
                let new = self.pop()?;
                match self.top()? {
                    Object::Call { state, .. } => *state = Some(new),
                    _ => return Err("state for something that takes none".into()),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.make(Object::Persistent(id));
            }
            other => return Err(format!("instruction {other:#04x} has no place in weights")),
        }
        Ok(None)
    }

    fn make(&mut self, object: Object<'a>) {
        self.objects.push(object);
        self.stack.push(Value::Object(self.objects.len() - 1));
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("the stack is empty".into());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn since_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or("no mark")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    /// The object on top of the stack.
    fn top(&mut self) -> Result<&mut Object<'a>, String> {
        match self.stack.last() {
            Some(Value::Object(index)) => self.objects.get_mut(*index),
            _ => None,
        }
        .ok_or_else(|| "no object to change".into())
    }

    fn append(&mut self, parts: &[Value<'a>]) -> Result<(), String> {
        match self.top()? {
            Object::Sequence(list) => list.extend_from_slice(parts),
            _ => return Err("elements for something that is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, parts: &[Value<'a>]) -> Result<(), String> {
        let (pairs, rest) = parts.as_chunks::<2>();
        match self.top()? {
            Object::Dict(items) | Object::Call { items, .. } if rest.is_empty() => {
                items.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err("items for something that is no dictionary".into()),
        }
    }

    fn remember(&mut self, slot: usize) -> Result<(), String> {
        let value = *self.stack.last().ok_or("the stack is empty")?;
        self.memo.insert(slot, value);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), String> {
        let value = self.memo.get(&slot).ok_or_else(|| format!("nothing remembered as {slot}"))?;
        self.stack.push(*value);
        Ok(())
    }

    fn push_int<const N: usize>(&mut self, int: fn([u8; N]) -> i64) -> Result<(), String> {
        let value = int(self.array()?);
        self.stack.push(Value::Int(value));
        Ok(())
    }

    fn text<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.length::<N>()?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "text is not UTF-8")?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn raw<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.length::<N>()?;
        let bytes = self.take(length)?;
        self.stack.push(Value::Bytes(bytes));
        Ok(())
    }

    /// A length of `N` bytes, little-endian.
    fn length<const N: usize>(&mut self) -> Result<usize, String> {
        let bytes: [u8; N] = self.array()?;
        Ok(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or("a line without an end")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "text is not UTF-8".into())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length);
        let taken = taken.ok_or_else(|| format!("{length} bytes wanted, {} left", rest.len()))?;
        self.at += length;
        Ok(taken)
    }
}

/// A pickled long: an ordinary integer if it fits.
fn long(digits: &[u8]) -> Value<'_> {
    if digits.len() > 8 {
        return Value::Long(digits);
    }
    let negative = digits.last().is_some_and(|&byte| byte >= 0x80);
    let mut bytes = [if negative { 0xff } else { 0 }; 8];
    bytes[..digits.len()].copy_from_slice(digits);
    Value::Int(i64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_objects_see_later_changes() {
        // d = {}; [d, d]; then d["a"] = -2, as Python writes a dictionary that is used twice.
        let bytes = b"\x80\x02](}q\x00X\x01\x00\x00\x00aJ\xfe\xff\xff\xffsh\x00e.rest";
        let pickle = Pickle::decode(bytes).unwrap();
        assert_eq!(pickle.length, bytes.len() - 4);
        let list = pickle.sequence(pickle.root).unwrap();
        assert_eq!(list[0], list[1]);
        let Some(Object::Dict(items)) = pickle.object(list[1]) else { panic!("no dictionary") };
        assert_eq!(items[..], [(Value::Text("a"), Value::Int(-2))]);
    }

    #[test]
    fn a_call_is_recorded_and_not_made() {
        let pickle = Pickle::decode(b"cos\nsystem\n(X\x02\x00\x00\x00lstR.").unwrap();
        let Some(Object::Call { callable, .. }) = pickle.object(pickle.root) else {
            panic!("no call")
        };
        assert_eq!(*callable, Value::Global("os", "system"));
    }

    #[test]
    fn longs_have_a_sign() {
        assert_eq!(long(&[]), Value::Int(0));
        assert_eq!(long(&[0xff]), Value::Int(-1));
        assert_eq!(long(&[0xe9, 0x03]), Value::Int(1001));
        assert!(matches!(long(&[1; 9]), Value::Long(_)));
    }

    #[test]
    fn damage_is_told_with_its_place() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"t.",
            b"K",
            b"h\x00.",
            b"X\xff\xff\xff\xffa.",
            b"(.",
            b"NNNb.",
            b"\x85",
        ] {
            let error = Pickle::decode(bytes).unwrap_err();
            assert!(error.contains("at byte"), "{error}");
        }
    }
}
