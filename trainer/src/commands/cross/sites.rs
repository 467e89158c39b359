//! The sites, from words or from a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::usage;
use crate::commands::toml_problem;

/// A site that is trained on, watched, or both.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub name: String,
    /// A bundle or a checkpoint.
    pub model: Option<PathBuf>,
    /// Videos to watch.
    pub videos: Option<PathBuf>,
    /// Their ground truth.
    pub labels: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    site: Vec<Site>,
}

/// The sites of words and of a file, checked: each name once, what is named is there, and something is
/// trained on and something watched.
pub fn read(words: &[String], config: Option<&Path>) -> Result<Vec<Site>> {
    let mut sites = words.iter().map(|word| parse(word)).collect::<Result<Vec<_>>>()?;
    if let Some(path) = config {
        sites.extend(from_file(path)?);
    }
    for (i, site) in sites.iter().enumerate() {
        let name = &site.name;
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(usage(format!("site '{name}': a name has letters, digits, '-' and '_'")));
        }
        if sites[..i].iter().any(|other| other.name == *name) {
            return Err(usage(format!("site {name} is given twice")));
        }
        for path in [&site.model, &site.videos, &site.labels].into_iter().flatten() {
            if !path.exists() {
                return Err(usage(format!("site {name}: {}: not there", path.display())));
            }
        }
        if site.labels.is_some() && site.videos.is_none() {
            return Err(usage(format!("site {name}: labels without videos")));
        }
    }
    if !sites.iter().any(|site| site.model.is_some()) {
        return Err(usage("no site has a model: give --site NAME=MODEL,DIR,LABELS".into()));
    }
    if !sites.iter().any(|site| site.videos.is_some()) {
        return Err(usage("no site has videos to watch: give --site NAME=MODEL,DIR,LABELS".into()));
    }
    Ok(sites)
}

/// `NAME=MODEL,DIR[,LABELS]`, of which MODEL and DIR may be `-`.
fn parse(word: &str) -> Result<Site> {
    let wrong = || usage(format!("--site {word}: expected NAME=MODEL,DIR[,LABELS]"));
    let (name, rest) = word.split_once('=').ok_or_else(wrong)?;
    let parts: Vec<&str> = rest.split(',').collect();
    let path = |part: &str| (part != "-").then(|| PathBuf::from(part));
    match parts[..] {
        [model, videos] if !model.is_empty() && !videos.is_empty() => {
            Ok(Site { name: name.into(), model: path(model), videos: path(videos), labels: None })
        }
        [model, videos, labels]
            if !(model.is_empty() || videos.is_empty() || labels.is_empty()) =>
        {
            let labels = Some(labels.into());
            Ok(Site { name: name.into(), model: path(model), videos: path(videos), labels })
        }
        _ => Err(wrong()),
    }
}

fn from_file(path: &Path) -> Result<Vec<Site>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| shown.to_string())?;
    let mut file: File = toml::from_str(&text)
        .map_err(|error| usage(format!("{shown}: {}", toml_problem(&text, &error))))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for site in &mut file.site {
        for path in [&mut site.model, &mut site.videos, &mut site.labels].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
    Ok(file.site)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_string()).collect()
    }

    #[test]
    fn words_and_files_give_the_same_sites() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir(place("test")).unwrap();
        for name in ["a.pavad", "l.json"] {
            std::fs::write(place(name), "").unwrap();
        }
        let text =
            "[[site]]\nname = \"a\"\nmodel = \"a.pavad\"\nvideos = \"test\"\nlabels = \"l.json\"\n";
        std::fs::write(place("sites.toml"), text).unwrap();
        let word = format!(
            "a={},{},{}",
            place("a.pavad").display(),
            place("test").display(),
            place("l.json").display()
        );
        let file = read(&[], Some(&place("sites.toml"))).unwrap();
        assert_eq!(file, read(&[word], None).unwrap());
        assert_eq!(file[0].labels, Some(place("l.json")));
    }

    #[test]
    fn wrong_sites_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().display().to_string();
        let message = |w: &[&str]| read(&words(w), None).unwrap_err().to_string();
        for wrong in ["a", "a=", "a=x", "a=x,", "a=x,y,z,w", "a=,y"] {
            assert!(message(&[wrong]).contains("NAME=MODEL,DIR"), "{wrong}");
        }
        assert!(message(&["a b=-,-"]).contains("'a b'"));
        assert!(message(&["a=/nowhere.pavad,-"]).contains("/nowhere.pavad"));
        let model = format!("a={there},-");
        assert!(message(&[&model, &model]).contains("twice"));
        assert!(message(&[&model]).contains("videos to watch"));
        assert!(message(&[&format!("a=-,{there}")]).contains("no site has a model"));
        assert!(message(&[]).contains("no site has a model"));
        assert!(message(&[&format!("a={there},-,{there}")]).contains("labels without videos"));
    }
}
