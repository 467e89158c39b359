//! The page as a tree: a parser strict enough to notice an element that is not closed.

/// Elements that have no end.
const VOID: [&str; 3] = ["img", "meta", "br"];

/// An element with its attributes and what is in it.
#[derive(Debug, Default)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    content: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The elements directly in it.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.content.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// All elements of a name in it, in order.
    pub fn all(&self, name: &str) -> Vec<&Self> {
        let mut found = Vec::new();
        for child in self.children() {
            if child.name == name {
                found.push(child);
            }
            found.extend(child.all(name));
        }
        found
    }

    /// Its text with all that is in it.
    pub fn text(&self) -> String {
        let text = |node: &Node| match node {
            Node::Element(element) => element.text(),
            Node::Text(text) => text.clone(),
        };
        self.content.iter().map(text).collect()
    }
}

/// The root, which holds the page.
///
/// # Panics
/// If a tag is not closed, or closed in another's place.
pub fn parse(html: &str) -> Element {
    let mut open = vec![Element::default()];
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        let text = unescape(&rest[..at]);
        open.last_mut().unwrap().content.push(Node::Text(text));
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().unwrap();
            assert_eq!(element.name, name, "closed in another's place");
            open.last_mut().unwrap().content.push(Node::Element(element));
            continue;
        }
        let element = element(tag.trim_end_matches('/'));
        if tag.ends_with('/') || VOID.contains(&element.name.as_str()) {
            open.last_mut().unwrap().content.push(Node::Element(element));
        } else {
            open.push(element);
        }
    }
    assert_eq!(open.len(), 1, "not closed: {}", open[open.len() - 1].name);
    open.remove(0)
}

fn element(tag: &str) -> Element {
    let (name, mut rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    let mut attributes = Vec::new();
    while let Some((name, after)) = rest.trim_start().split_once("=\"") {
        let (value, next) = after.split_once('"').unwrap();
        attributes.push((name.to_string(), unescape(value)));
        rest = next;
    }
    assert!(rest.trim().is_empty(), "<{tag}>");
    Element { name: name.to_string(), attributes, content: Vec::new() }
}

fn unescape(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_string(), |text, (entity, c)| text.replace(entity, c))
}
