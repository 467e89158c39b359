//! The options of a task, word by word: `--name`, `--name VALUE` or `--name=VALUE`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::slice::Iter;
use std::str::FromStr;

use crate::shell::Failure;

/// The words after a task's name.
pub struct Words<'a> {
    task: &'a str,
    rest: Iter<'a, String>,
    /// The word at hand, its name and what stands behind its `=`.
    word: &'a str,
    name: &'a str,
    given: Option<&'a str>,
}

impl<'a> Words<'a> {
    /// The words of `task`, which is named in messages.
    pub fn new(task: &'a str, words: &'a [String]) -> Self {
        Self { task, rest: words.iter(), word: "", name: "", given: None }
    }

    /// The next option's name.
    pub fn option(&mut self) -> Option<&'a str> {
        self.word = self.rest.next()?;
        (self.name, self.given) = match self.word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (self.word, None),
        };
        Some(self.name)
    }

    /// The value of the option at hand.
    pub fn value(&mut self) -> Result<&'a str, Failure> {
        let value = self.given.or_else(|| self.rest.next().map(String::as_str));
        value.ok_or_else(|| Failure::usage(format!("{}: {} needs a value", self.task, self.name)))
    }

    /// The value of the option at hand, a number in a range.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        range: RangeInclusive<T>,
    ) -> Result<T, Failure> {
        let text = self.value()?;
        let number = text.parse().ok().filter(|n| range.contains(n));
        number.ok_or_else(|| {
            let (least, most) = range.into_inner();
            Failure::usage(format!("{}: {} {text}: {least} to {most}", self.task, self.name))
        })
    }

    /// The failure of an option that the task does not have.
    pub fn unknown(&self) -> Failure {
        Failure::usage(format!("{}: no option '{}'", self.task, self.word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_or_are_attached() {
        let words = ["--a", "1", "--b=2", "--c=d=e", "--f", "--a"].map(String::from);
        let mut words = Words::new("task", &words);
        assert_eq!((words.option(), words.number(1..=9).ok()), (Some("--a"), Some(1)));
        assert_eq!((words.option(), words.value().ok()), (Some("--b"), Some("2")));
        assert_eq!((words.option(), words.value().ok()), (Some("--c"), Some("d=e")));
        assert_eq!(words.option(), Some("--f"));
        assert_eq!(words.unknown().to_string(), "task: no option '--f'");
        assert_eq!(words.option(), Some("--a"));
        assert_eq!(words.value().unwrap_err().to_string(), "task: --a needs a value");
        assert_eq!(words.option(), None);
    }

    #[test]
    fn numbers_have_a_range() {
        let words = ["--a=0", "--a=x", "--a=3"].map(String::from);
        let mut words = Words::new("task", &words);
        words.option();
        assert_eq!(words.number(1..=3).unwrap_err().to_string(), "task: --a 0: 1 to 3");
        words.option();
        assert_eq!(words.number(1..=3).unwrap_err().to_string(), "task: --a x: 1 to 3");
        words.option();
        assert_eq!(words.number(1..=3).ok(), Some(3));
    }
}
