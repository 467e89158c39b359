//! Reading configuration files field by field, so that every complaint names file and field.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{Error, Result};

/// No size in any configuration comes near this; larger ones are damage, and would overflow products.
const LARGEST: u64 = 1 << 24;

/// A JSON object, read field by field.
///
/// A field that is absent has the reference implementation's default, which is how `save_pretrained`
/// and older files mean it. A field that nobody asked for is an error in [`Fields::finish`]: a
/// newer release that adds one may compute something else.
#[derive(Debug)]
pub(crate) struct Fields {
    path: PathBuf,
    map: Map<String, Value>,
    asked: RefCell<BTreeSet<String>>,
}

impl Fields {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                path: path.into(),
                hint: "the model directory is incomplete; fetch it again".into(),
            },
            _ => Error::Read { path: path.into(), source },
        })?;
        Self::parse(path, &bytes)
    }

    /// Parses what was read from `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |problem: String| Error::Damaged { path: path.into(), problem };
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => {
                Ok(Self { path: path.into(), map, asked: RefCell::default() })
            }
            Ok(_) => Err(damaged("a JSON object is expected".into())),
            Err(e) => Err(damaged(format!("not JSON ({e}); fetch the file again"))),
        }
    }

    /// What is wrong with a field.
    pub fn problem(&self, field: &str, problem: impl Into<String>) -> Error {
        // Names and values come from the file; a message is one line whatever is in them.
        let line = |text: &str| text.replace(char::is_control, " ");
        let (field, problem) = (line(field), line(&problem.into()));
        Error::Config { path: self.path.clone(), field, problem }
    }

    /// The value of a field, unless it is absent.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.asked.borrow_mut().insert(field.into());
        self.map.get(field)
    }

    /// The value of a field, unless it is absent or null.
    fn given(&self, field: &str) -> Option<&Value> {
        self.value(field).filter(|v| !v.is_null())
    }

    fn expected(&self, field: &str, value: &Value, what: &str) -> Error {
        self.problem(field, format!("{value} is given, {what} is expected"))
    }

    fn one_size(&self, field: &str, value: &Value) -> Result<usize> {
        match value.as_u64() {
            Some(n @ 1..=LARGEST) => Ok(n as usize),
            _ => Err(self.expected(field, value, "a whole number from 1")),
        }
    }

    /// A positive whole number.
    pub fn size(&self, field: &str, default: usize) -> Result<usize> {
        match self.value(field) {
            None => Ok(default),
            Some(value) => self.one_size(field, value),
        }
    }

    /// A positive whole number or null.
    pub fn optional_size(&self, field: &str, default: Option<usize>) -> Result<Option<usize>> {
        match self.value(field) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(value) => self.one_size(field, value).map(Some),
        }
    }

    /// A number.
    pub fn number(&self, field: &str, default: f64) -> Result<f64> {
        match self.value(field) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.expected(field, value, "a number")),
        }
    }

    /// A number or null.
    pub fn optional_number(&self, field: &str) -> Result<Option<f64>> {
        self.given(field).map(|_| self.number(field, 0.0)).transpose()
    }

    /// True or false.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.value(field) {
            None => Ok(default),
            Some(value) => {
                value.as_bool().ok_or_else(|| self.expected(field, value, "true or false"))
            }
        }
    }

    /// A text.
    pub fn text(&self, field: &str, default: &str) -> Result<String> {
        match self.value(field) {
            None => Ok(default.into()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Err(self.expected(field, value, "a text")),
        }
    }

    /// A list, each element through `element`.
    fn list<T>(
        &self,
        field: &str,
        default: &[T],
        element: impl Fn(&Value) -> Result<T>,
    ) -> Result<Vec<T>>
    where
        T: Clone,
    {
        match self.value(field) {
            None => Ok(default.to_vec()),
            Some(Value::Array(values)) => values.iter().map(element).collect(),
            Some(value) => Err(self.expected(field, value, "a list")),
        }
    }

    /// A list of positive whole numbers.
    pub fn sizes(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        self.list(field, default, |v| self.one_size(field, v))
    }

    /// A list of numbers.
    pub fn numbers(&self, field: &str, default: &[f64]) -> Result<Vec<f64>> {
        self.list(field, default, |v| {
            v.as_f64().ok_or_else(|| self.expected(field, v, "a list of numbers"))
        })
    }

    /// A list of true or false.
    pub fn flags(&self, field: &str, default: &[bool]) -> Result<Vec<bool>> {
        self.list(field, default, |v| {
            v.as_bool().ok_or_else(|| self.expected(field, v, "a list of true or false"))
        })
    }

    /// Accepts fields that change nothing here.
    pub fn ignore(&self, fields: &[&str]) {
        self.asked.borrow_mut().extend(fields.iter().map(ToString::to_string));
    }

    /// Refuses a field that is set.
    pub fn refuse(&self, field: &str, why: &str) -> Result<()> {
        match self.value(field) {
            Some(value) if !unset(value) => {
                Err(self.problem(field, format!("{value} is not supported: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// What `make` reads off the fields; those that it did not ask for are refused.
    pub fn whole<T>(&self, make: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let made = make(self)?;
        self.finish()?;
        Ok(made)
    }

    /// Refuses fields that nobody asked for, unless they are private (`_diffusers_version`) or unset.
    pub fn finish(&self) -> Result<()> {
        let asked = self.asked.borrow();
        let unknown = self
            .map
            .iter()
            .find(|(name, v)| !name.starts_with('_') && !asked.contains(*name) && !unset(v));
        match unknown {
            None => Ok(()),
            Some((name, value)) => Err(self.problem(
                name,
                format!("this field (value {value}) is not known; it may change what is computed"),
            )),
        }
    }
}

/// Whether a value says that something is not used.
fn unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(Path::new("transformer/config.json"), text.as_bytes()).unwrap()
    }

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn complaints_name_file_and_field() {
        let fields = fields(r#"{"num_layers": -1, "dim_mult": [1, "a"], "eps": "small", "x": 3}"#);
        let all = [
            message(fields.size("num_layers", 1)),
            message(fields.sizes("dim_mult", &[])),
            message(fields.number("eps", 0.0)),
            message(fields.finish()),
        ];
        for (message, field) in all.iter().zip(["num_layers", "dim_mult", "eps", "x"]) {
            assert!(
                message.starts_with(&format!("transformer/config.json: {field}: ")),
                "{message}"
            );
        }
    }

    #[test]
    fn absent_is_the_default_and_unset_is_not_unknown() {
        let fields = fields(r#"{"_class_name": "X", "new": null, "newer": false, "patch": null}"#);
        assert_eq!(fields.size("num_layers", 40).unwrap(), 40);
        assert_eq!(fields.optional_size("patch", Some(2)).unwrap(), None);
        fields.finish().unwrap();
    }

    #[test]
    fn what_is_no_object_is_damage() {
        for text in ["[1]", "{", ""] {
            let result = Fields::parse(Path::new("a.json"), text.as_bytes());
            assert!(matches!(result, Err(Error::Damaged { .. })), "{text}");
        }
    }
}
