//! A plan as one HTML page: what is to be made, before hours are spent on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use video::{Frame, Resizer, encode_jpeg};

use super::{Plan, PlanLine, PromptFrom};

/// Largest width of a picture on the page, in pixels.
const WIDTH: usize = 320;

const STYLE: &str = include_str!("preview.css");
const SCRIPT: &str = include_str!("preview.js");

/// A small JPEG of a PNG.
///
/// # Errors
/// [`video::Error`] if it is no picture.
pub fn thumbnail(png: &[u8]) -> Result<Vec<u8>, video::Error> {
    let unreadable = |reason: String| video::Error::Unreadable { path: "frame".into(), reason };
    let picture = image::load_from_memory(png).map_err(|e| unreadable(e.to_string()))?.into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let frame = Frame::from_rgb(width, height, picture.into_raw())
        .ok_or_else(|| unreadable("its size does not match its data".into()))?;
    if width <= WIDTH {
        return encode_jpeg(&frame, 80);
    }
    let mut small = Frame::new(WIDTH, (height * WIDTH / width).max(1));
    Resizer::new().resize(&frame, &mut small)?;
    encode_jpeg(&small, 80)
}

/// The page; `pictures` are JPEGs by the lines' `image`.
pub fn page(plan: &Plan, pictures: &BTreeMap<&str, Option<Vec<u8>>>) -> String {
    let mut classes: Vec<(&str, Vec<&PlanLine>)> = Vec::new();
    for line in &plan.lines {
        match classes.iter_mut().find(|(name, _)| *name == line.class) {
            Some((_, lines)) => lines.push(line),
            None => classes.push((&line.class, vec![line])),
        }
    }
    let mut html =
        String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html +=
        "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Plan</title>\n<style>\n";
    html += STYLE;
    html += "</style>\n</head>\n<body>\n";
    // Writing to a string cannot fail.
    let _ = writeln!(
        html,
        "<header><h1>{} clips of {} classes</h1><p>Strike what should not be made, and save the plan. \
         <output id=\"left\"></output> <button id=\"save\">Save plan.jsonl</button></p></header>",
        plan.lines.len(),
        classes.len()
    );
    // Each picture is there once, however many lines use it.
    html += "<style>\n";
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, (name, jpeg)) in pictures.iter().enumerate() {
        names.insert(name, number);
        if let Some(jpeg) = jpeg {
            let data = STANDARD.encode(jpeg);
            let _ = writeln!(html, ".p{number} {{ content: url(data:image/jpeg;base64,{data}) }}");
        }
    }
    html += "</style>\n";
    for (class, lines) in classes {
        let _ =
            writeln!(html, "<h2>{} <small>{}</small></h2>\n<section>", escape(class), lines.len());
        for line in lines {
            card(&mut html, line, names.get(line.image.as_str()).copied());
        }
        html += "</section>\n";
    }
    html += "<script type=\"application/json\" id=\"plan\">\n";
    // Inside a script element only its end tag could end it.
    html += &serde_json::to_string(&plan.lines).expect("strings and numbers").replace("</", "<\\/");
    html += "\n</script>\n<script>\n";
    html += SCRIPT;
    html += "</script>\n</body>\n</html>\n";
    html
}

fn card(html: &mut String, line: &PlanLine, picture: Option<usize>) {
    let scores = line.scores.map_or_else(
        || "drawn at random".to_owned(),
        |s| {
            format!(
                "#{} · score {:.3} = {:.3} positive, {:.3} negative",
                s.rank, s.score, s.positive, s.negative
            )
        },
    );
    let from = match line.prompt_from {
        PromptFrom::Phrase => String::new(),
        PromptFrom::Refined => "<p class=\"from\">refined</p>".into(),
        PromptFrom::Fallback => format!(
            "<p class=\"from bad\">class phrase: {}</p>",
            escape(line.fallback.as_deref().unwrap_or_default())
        ),
    };
    let picture = picture.map_or(String::new(), |n| {
        format!("<img class=\"p{n}\" alt=\"frame {} of {}\">", line.frame, escape(&line.video))
    });
    let _ = writeln!(
        html,
        "<article id=\"{id}\">{picture}<p class=\"prompt\">{}</p>{from}<p>{scores}</p>\
         <p>{} · frame {} · {} · {id}</p>\
         <label><input type=\"checkbox\" value=\"{id}\"> strike</label></article>",
        escape(&line.prompt),
        escape(&line.video),
        line.frame,
        escape(&line.scene),
        id = escape(&line.id),
    );
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_everything_and_nothing_from_outside() {
        let mut plan = super::super::line::tests::plan(3);
        plan.lines[1].prompt = "<script>alert(1)</script> & \"more\"".into();
        plan.lines[2].prompt_from = PromptFrom::Fallback;
        plan.lines[2].fallback = Some("server not available: <b>".into());
        let mut png = Vec::new();
        let pixels = image::RgbImage::from_pixel(640, 480, image::Rgb([200, 30, 30]));
        pixels.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let jpeg = thumbnail(&png).unwrap();
        assert_eq!(image::load_from_memory(&jpeg).unwrap().width(), 320);
        let page = page(&plan, &BTreeMap::from([("frames/x.png", Some(jpeg))]));
        assert_eq!(page.matches("<article").count(), 3);
        assert_eq!(page.matches("data:image/jpeg;base64,").count(), 1);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"));
        assert!(page.contains("server not available: &lt;b&gt;"));
        // Two elements of ours end, none of the prompt's.
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("http://") && !page.contains("https://"));
        // What the page saves is the plan.
        let start = page.find("id=\"plan\">").unwrap() + 10;
        let end = start + page[start..].find("</script>").unwrap();
        let lines: Vec<PlanLine> = serde_json::from_str(&page[start..end]).unwrap();
        assert_eq!(lines, plan.lines);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(thumbnail(b"no picture").is_err());
    }
}
