//! `trainer site`: what a site's footage shows, before anything is trained on it.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use trainer::evaluation::report::data_uri;
use trainer::evaluation::report::svg::escape;
use trainer::synthesis::composite::{FigureReading, SiteReading};
use trainer::synthesis::{Composite, NormalClip, PseudoClip, Synthesizer, contact_sheet};
use video::{Frame, encode_jpeg};

use super::train::config::TrainConfig;
use super::train::model_input;
use super::train::normals::{self, Normals};
use super::write_file;

/// Pseudo-abnormal clips that are shown.
const CLIPS: u64 = 6;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\
    img{max-width:100%;image-rendering:auto}.view{position:relative;width:fit-content}\
    .view svg{position:absolute;inset:0;width:100%;height:100%}\
    .warning{border-left:4px solid #c60;padding:.3em .8em;margin:.5em 0;background:#fff4e5;color:#333}\
    td,th{padding:.1em .8em .1em 0;text-align:left}";

/// Reads a site's normal footage and shows on one page what was understood of it: what is there when nobody
/// is, who walks where and how tall they are, what cannot be learned here, and what training
/// would make of it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trainer site --normal videos/normal --out site.html")]
pub struct SiteArgs {
    /// The site's normal videos, or folders of images.
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// The page: one file, with its pictures inside.
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// Configuration of the training; without it, the defaults.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The same seed shows the same examples.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &SiteArgs) -> Result<()> {
    let config = TrainConfig::read(args.config.as_deref())?;
    let footage = normals::read(&args.normal, &config)?;
    let composite = Composite::new(&footage.training, &config.composite, args.seed)?;
    let input = model_input(&config, &footage.input, composite.person_height());
    let clips: Vec<PseudoClip> =
        (0..CLIPS).map(|i| composite.synthesize(i)).collect::<Result<_, _>>()?;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Site: {name}</title>\
         <style>{STYLE}</style></head><body>\n<h1>What {name} shows</h1>\n",
        name = escape(&args.normal.display().to_string())
    );
    let picture = (footage.input.width, footage.input.height);
    writeln!(
        page,
        "<p>Read at {}x{}, {} frames a second; the model's picture is {}x{}.</p>",
        picture.0, picture.1, footage.input.frame_rate, input.width, input.height
    )?;
    let readings = composite.readings();
    if readings.len() > 1 {
        writeln!(
            page,
            "<p class=\"warning\">The footage shows {} different views: the camera was moved, the light \
             changed altogether, or these are several cameras.</p>",
            readings.len()
        )?;
    }
    for reading in &readings {
        page.push_str(&view(reading)?);
    }
    page.push_str(&used(&footage));
    let sheet = contact_sheet(&clips, composite.kinds(), 5);
    writeln!(
        page,
        "<h2>What training makes of it</h2>\n<p>Pseudo-abnormal clips: one row an event, what changed is \
         outlined.</p>\n{}\n</body></html>",
        image(&sheet, "pseudo-abnormal clips")?
    )?;
    write_file(&args.out, page.as_bytes())?;
    log::info!("wrote {}", args.out.display());
    Ok(())
}

/// A view: words, warnings, background with the ways, people, and their heights by place.
fn view(reading: &SiteReading) -> Result<String> {
    let mut out = format!("<h2>{}</h2>\n", escape(&summary(reading)));
    for warning in &reading.warnings {
        writeln!(out, "<p class=\"warning\">{}</p>", escape(&warning.to_string()))?;
    }
    let (w, h) = (reading.background.width(), reading.background.height());
    writeln!(
        out,
        "<div class=\"view\">{}<svg viewBox=\"0 0 {w} {h}\">{}</svg></div>",
        image(&reading.background, "the background")?,
        ways(&reading.figures)
    )?;
    let [top, middle, bottom] = reading.heights;
    writeln!(
        out,
        "<p>Lines are the ways of feet. Somebody whose feet are at the top of the picture is taken to be {top:.0} \
         pixels high, in the middle {middle:.0}, at the bottom {bottom:.0}.</p>"
    )?;
    if !reading.figures.is_empty() {
        writeln!(
            out,
            "<h3>People</h3>\n<p>Cut out of the footage; these will fall, run and ride.</p>\n{}\n{}",
            image(&reading.people, "people")?,
            table(&reading.figures)
        )?;
    }
    Ok(out)
}

/// What was read, in a line.
fn summary(reading: &SiteReading) -> String {
    let clips = match &reading.clips[..] {
        [only] => only.clone(),
        [first, .., last] => format!("{} clips, {first} to {last}", reading.clips.len()),
        [] => "no clip".to_owned(),
    };
    format!(
        "{clips}: {} people, {:.0} pixels high, {:.1} pixels a frame",
        reading.figures.len(),
        reading.height,
        reading.speed
    )
}

fn ways(figures: &[FigureReading]) -> String {
    let line = |figure: &FigureReading| {
        let points: Vec<String> =
            figure.way.iter().map(|[x, y]| format!("{x:.0},{y:.0}")).collect();
        format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#f0f\" stroke-opacity=\".6\"/>",
            points.join(" ")
        )
    };
    figures.iter().map(line).collect()
}

/// At most so many people are listed.
const LISTED: usize = 40;

fn table(figures: &[FigureReading]) -> String {
    let mut rows = String::from(
        "<table><tr><th>clip</th><th>frames</th><th>height</th><th>pixels a frame</th></tr>\n",
    );
    for figure in figures.iter().take(LISTED) {
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.1}</td></tr>\n",
            escape(&figure.clip),
            figure.frames,
            figure.height,
            figure.speed
        );
    }
    rows += "</table>\n";
    if figures.len() > LISTED {
        rows += &format!("<p>And {} more.</p>\n", figures.len() - LISTED);
    }
    rows
}

/// Which footage is used for what.
fn used(footage: &Normals) -> String {
    let list = |clips: &[NormalClip]| {
        let seconds: f64 = clips.iter().map(|c| c.frames.len() as f64 / c.frame_rate).sum();
        let names: Vec<String> = clips
            .iter()
            .map(|c| format!("{} ({:.0} s)", escape(&c.name), c.frames.len() as f64 / c.frame_rate))
            .collect();
        format!("{:.1} minutes in {} clips: {}", seconds / 60.0, clips.len(), names.join(", "))
    };
    format!(
        "<h2>Footage</h2>\n<p>For training {}.</p>\n<p>Held out for calibration {}.</p>\n",
        list(&footage.training),
        list(&footage.held_out)
    )
}

fn image(frame: &Frame, alt: &str) -> Result<String> {
    if frame.width() == 0 {
        return Ok(String::new());
    }
    let jpeg = encode_jpeg(frame, 88).context("cannot encode a picture")?;
    Ok(format!("<img alt=\"{alt}\" src=\"{}\">", data_uri("jpeg", &jpeg)))
}
