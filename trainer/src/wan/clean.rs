//! Cleaning a prompt before it is split into tokens.
//!
//! diffusers runs `ftfy.fix_text`, `html.unescape` twice, and then makes every run of white space one
//! space. Of ftfy this is everything but the repair of text that was decoded with the wrong
//! character set ("schÃ¶n"), which is guesswork over tables; such text is left as it is.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Longest name of an entity.
const LONGEST_ENTITY: usize = 24;

/// Cleans a prompt.
pub fn prompt(text: &str) -> String {
    // From the first tag on the text is HTML, and its entities are left for later.
    let mut html = false;
    let mut fixed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        html |= line.contains('<');
        fixed.push_str(&fix_line(line, html));
    }
    let once = htmlize::unescape(fixed);
    let twice = htmlize::unescape(once);
    twice.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// ftfy's repairs, repeated until nothing changes.
fn fix_line(line: &str, html: bool) -> String {
    let mut text = line.to_string();
    loop {
        let unescaped = if html { text.clone() } else { unescape_closed(&text) };
        let fixed: String = plain(&unescaped).nfc().collect();
        if fixed == text {
            return text;
        }
        text = fixed;
    }
}

/// Decodes entities that end in a semicolon; `this&not that` is no entity.
fn unescape_closed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let name = rest[1..].strip_prefix('#').unwrap_or(&rest[1..]);
        let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let closed = (1..=LONGEST_ENTITY).contains(&length) && name[length..].starts_with(';');
        match closed.then_some(rest.len() - name.len() + length + 1) {
            Some(end) => {
                let (entity, after) = rest.split_at(end);
                let decoded: Cow<'_, str> = htmlize::unescape(entity);
                // What is left with its semicolon was no entity as a whole.
                out.push_str(if decoded.ends_with(';') { entity } else { &decoded });
                rest = after;
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Terminal escapes, C1 controls, ligatures, widths, quotes, line breaks, control characters.
fn plain(text: &str) -> String {
    let text = without_terminal_escapes(text).replace("\r\n", "\n");
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}'..='\u{201b}' | '\u{02bc}' => out.push('\''),
            '\u{201c}'..='\u{201f}' => out.push('"'),
            '\r' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            // Meant in Windows' character set.
            '\u{80}'..='\u{9f}' => out.push(WINDOWS_1252[c as usize - 0x80]),
            // Latin ligatures and digraphs; other scripts keep theirs.
            'Ĳ' => out.push_str("IJ"),
            'ĳ' => out.push_str("ij"),
            'ŉ' => out.push_str("'n"),
            'ﬅ' => out.push_str("ſt"),
            'Ǳ'
            | 'ǲ'
            | 'ǳ'
            | 'Ǆ'
            | 'ǅ'
            | 'ǆ'
            | 'Ǉ'
            | 'ǈ'
            | 'ǉ'
            | 'Ǌ'
            | 'ǋ'
            | 'ǌ'
            | '\u{fb00}'..='\u{fb06}' => decompose(c, &mut out),
            // Fullwidth and halfwidth forms.
            '\u{3000}' => out.push(' '),
            '\u{ff01}'..='\u{ffef}' => decompose(c, &mut out),
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
            '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => {}
            c => out.push(c),
        }
    }
    out
}

fn decompose(c: char, out: &mut String) {
    out.extend(std::iter::once(c).nfkc());
}

/// Characters 80 to 9F of Windows-1252; the five that it lacks stand for themselves.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Drops `ESC [ digits letter`.
fn without_terminal_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(after.len());
        if after[end..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            rest = &after[end + 1..];
        } else {
            out.push_str("\u{1b}[");
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_reference_cleans() {
        // What `prompt_clean` of diffusers 0.42.1 with ftfy 6.3.1 gives.
        for (text, expected) in [
            ("  A man\t runs \n\n away. ", "A man runs away."),
            ("\u{201c}fast\u{201d} \u{2018}car\u{2019}\u{2026}", "\"fast\" 'car'\u{2026}"),
            ("色调艳丽，过曝，静态", "色调艳丽,过曝,静态"),
            ("ＬＯＵＤ　ﾀｰﾝ ﬁre ﬅ ŉ Ǆ", "LOUD ターン fire ſt 'n DŽ"),
            ("cafe\u{301} \u{feff}x\u{7}y \u{1b}[31mred\u{1b}[0m", "café xy red"),
            ("a &amp; b &amp;amp; c &notit; &copy &#38;", "a & b & c ¬it; © &"),
            ("<b>1 &lt; 2</b> &amp;lt;", "<b>1 < 2</b> <"),
            ("x\u{a0}\u{2003}y\u{85}z", "x y…z"),
            ("", ""),
        ] {
            assert_eq!(prompt(text), expected, "{text:?}");
        }
    }
}
