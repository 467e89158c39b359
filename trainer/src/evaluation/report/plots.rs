//! Plots with two axes: curves, the reliability diagram, norms.

use super::charts::series;
use super::svg::{MAX_POINTS, Scale, escape, number, polyline, thin_curve};
use crate::evaluation::metrics::ReliabilityBin;
use crate::evaluation::norms::NormHistogram;

/// Width and height of a square plot, and its plotting area: left, right, top, bottom.
const SQUARE: (f64, f64) = (424.0, 400.0);
const AREA: (f64, f64, f64, f64) = (44.0, 412.0, 10.0, 352.0);

/// A named line and what the legend says of it.
pub struct Line<'a> {
    /// Name; it gives colour and dashes.
    pub name: &'a str,
    /// Area or mean under the line.
    pub value: Option<f64>,
    /// (x, y), both in 0 to 1.
    pub points: &'a [(f64, f64)],
}

/// Curves over 0 to 1, with a legend. `diagonal` draws the line of chance.
pub fn curves(title: &str, axes: (&str, &str), lines: &[Line<'_>], diagonal: bool) -> String {
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    let mut plot = begin(&format!("{title}: {}", names.join(", ")), axes);
    if diagonal {
        plot.push_str(&diagonal_line("diagonal"));
    }
    let (x, y) = scales();
    // The most important curve is listed first and drawn last, on top.
    for line in lines.iter().rev() {
        let points = thin_curve(line.points, MAX_POINTS);
        plot.push_str(&format!(
            "<polyline class=\"curve series-{}\" points=\"{}\"><title>{}</title></polyline>\n",
            series(line.name),
            polyline(points.into_iter().map(|(a, b)| (x.at(a), y.at(b)))),
            escape(line.name)
        ));
    }
    plot.push_str("</svg>\n<ul class=\"legend\">");
    for line in lines {
        let value = line.value.map_or(String::new(), |value| format!(" <b>{value:.3}</b>"));
        plot.push_str(&format!(
            "<li><svg width=\"34\" height=\"10\" aria-hidden=\"true\"><line class=\"curve series-{}\" \
             x1=\"1\" x2=\"33\" y1=\"5\" y2=\"5\"/></svg> {}{value}</li>",
            series(line.name),
            escape(line.name)
        ));
    }
    plot.push_str("</ul>\n");
    plot
}

/// The reliability diagram: bars to the share of abnormal frames, a dot at the mean score whose area
/// tells how many frames there are.
pub fn reliability(bins: &[ReliabilityBin]) -> String {
    let mut plot = begin("Reliability diagram", ("score", "share of abnormal frames"));
    let (x, y) = scales();
    let frames: usize = bins.iter().map(|bin| bin.frames).sum();
    for bin in bins {
        let Some((score, share)) = bin.mean_score.zip(bin.abnormal_share) else { continue };
        let title = format!(
            "Scores {} to {}: {} frames, mean score {score:.3}, abnormal {share:.3}",
            number(bin.from),
            number(bin.to),
            bin.frames
        );
        let radius = 3.0 + 13.0 * (bin.frames as f64 / frames.max(1) as f64).sqrt();
        plot.push_str(&format!(
            "<g><title>{}</title><rect class=\"bin\" x=\"{}\" width=\"{}\" y=\"{}\" height=\"{}\"/>\
             <circle class=\"bin-dot\" cx=\"{}\" cy=\"{}\" r=\"{}\"/></g>\n",
            escape(&title),
            number(x.at(bin.from) + 1.0),
            number(x.at(bin.to) - x.at(bin.from) - 2.0),
            number(y.at(share)),
            number(y.at(0.0) - y.at(share)),
            number(x.at(score)),
            number(y.at(share)),
            number(radius)
        ));
    }
    plot.push_str(&diagonal_line("diagonal strong"));
    plot.push_str("</svg>\n");
    plot
}

/// Norms of features: the outline of each set's histogram over a logarithmic axis, with a legend.
pub fn norms(histogram: &NormHistogram) -> String {
    const WIDTH: f64 = 860.0;
    const HEIGHT: f64 = 260.0;
    let (left, right, top, bottom) = (50.0, WIDTH - 12.0, 10.0, HEIGHT - 48.0);
    let (Some(least), Some(most)) = (histogram.edges.first(), histogram.edges.last()) else {
        return String::new();
    };
    let highest = histogram.sets.iter().flat_map(|set| &set.shares).copied().fold(0.0, f64::max);
    let x = Scale::new((least.ln(), most.ln()), (left, right));
    let y = Scale::new((0.0, highest.max(f64::MIN_POSITIVE)), (bottom, top));
    let names: Vec<&str> = histogram.sets.iter().map(|set| set.name.as_str()).collect();
    let label = escape(&format!("Histogram of feature norms: {}", names.join(", ")));
    let mut plot = format!(
        "<svg class=\"norms\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{label}\"><title>{label}</title>\n"
    );
    for step in 0..=2 {
        let share = highest * f64::from(step) / 2.0;
        let at = number(y.at(share));
        plot.push_str(&format!(
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at}\" y2=\"{at}\"/>\
             <text class=\"label\" x=\"{}\" y=\"{at}\" text-anchor=\"end\" \
             dominant-baseline=\"central\">{:.0}\u{a0}%</text>\n",
            left - 8.0,
            100.0 * share
        ));
    }
    for tick in log_ticks(*least, *most) {
        let at = number(x.at(tick.ln()));
        plot.push_str(&format!(
            "<line class=\"grid\" x1=\"{at}\" x2=\"{at}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <text class=\"label\" x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 18.0,
            compact(tick)
        ));
    }
    plot.push_str(&format!(
        "<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">norm, logarithmic</text>\n",
        number(f64::midpoint(left, right)),
        HEIGHT - 8.0
    ));
    let mut legend = String::from("<ul class=\"legend\">");
    for (i, set) in histogram.sets.iter().enumerate() {
        let number_of = set_series(i);
        let mut outline = vec![(left, bottom)];
        for (edges, share) in histogram.edges.windows(2).zip(&set.shares) {
            let at = y.at(*share);
            outline.extend([(x.at(edges[0].ln()), at), (x.at(edges[1].ln()), at)]);
        }
        outline.push((right, bottom));
        let (name, median, mean) = (escape(&set.name), compact(set.median), compact(set.mean));
        plot.push_str(&format!(
            "<polyline class=\"curve series-{number_of}\" points=\"{}\"><title>{name}</title>\
             </polyline>\n",
            polyline(outline)
        ));
        legend.push_str(&format!(
            "<li><svg width=\"34\" height=\"10\" aria-hidden=\"true\"><line class=\"curve \
             series-{number_of}\" x1=\"1\" x2=\"33\" y1=\"5\" y2=\"5\"/></svg> <span>{name}: \
             mean <b>{mean}</b>, median <b>{median}</b>, {} vectors</span></li>",
            set.count
        ));
    }
    plot.push_str("</svg>\n");
    legend.push_str("</ul>\n");
    plot + &legend
}

/// Colours and dashes of sets: those of the detectors, but the black one, in an order that keeps
/// neighbours apart.
fn set_series(set: usize) -> usize {
    [1, 2, 4, 3, 5, 0][set % 6]
}

/// Round numbers of an axis from `least` to `most`: 1, 2 and 5 times powers of ten, of a range of
/// many powers 1 alone.
fn log_ticks(least: f64, most: f64) -> Vec<f64> {
    let (low, high) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    let digits: &[f64] = if high - low > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let every = (high - low).max(1).unsigned_abs().div_ceil(8) as usize;
    (low..=high)
        .step_by(every)
        .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
        .filter(|tick| (least..=most).contains(tick))
        .collect()
}

/// Three digits, without an exponent where that is short.
fn compact(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if !(1e-3..1e6).contains(&v) => format!("{value:.1e}"),
        v if v < 1.0 => format!("{value:.3}").trim_end_matches('0').into(),
        v if v < 100.0 => number(value),
        _ => format!("{value:.0}"),
    }
}

fn scales() -> (Scale, Scale) {
    let (left, right, top, bottom) = AREA;
    (Scale::new((0.0, 1.0), (left, right)), Scale::new((0.0, 1.0), (bottom, top)))
}

fn diagonal_line(class: &str) -> String {
    let (left, right, top, bottom) = AREA;
    format!("<line class=\"{class}\" x1=\"{left}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{top}\"/>\n")
}

/// A square plot's opening, grid and names of the axes.
fn begin(label: &str, (x_name, y_name): (&str, &str)) -> String {
    let (left, right, top, bottom) = AREA;
    let (x, y) = scales();
    let label = escape(label);
    let mut plot = format!(
        "<svg class=\"roc\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{label}\">\
         <title>{label}</title>\n",
        SQUARE.0, SQUARE.1
    );
    for step in 0..=4 {
        let value = f64::from(step) / 4.0;
        let (at_x, at_y) = (number(x.at(value)), number(y.at(value)));
        plot.push_str(&format!(
            "<line class=\"grid\" x1=\"{at_x}\" x2=\"{at_x}\" y1=\"{top}\" y2=\"{bottom}\"/>\
             <line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at_y}\" y2=\"{at_y}\"/>\
             <text class=\"label\" x=\"{at_x}\" y=\"{}\" text-anchor=\"middle\">{3}</text>\
             <text class=\"label\" x=\"{1}\" y=\"{at_y}\" text-anchor=\"end\" \
             dominant-baseline=\"central\">{3}</text>{2}",
            bottom + 17.0,
            left - 8.0,
            "\n",
            number(value)
        ));
    }
    plot.push_str(&format!(
        "<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x_name}</text>\
         <text class=\"label\" transform=\"translate(9 {}) rotate(-90)\" \
         text-anchor=\"middle\">{y_name}</text>\n",
        number(f64::midpoint(left, right)),
        SQUARE.1 - 8.0,
        number(f64::midpoint(top, bottom))
    ));
    plot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::metrics::reliability as bins;

    #[test]
    fn a_curve_by_hand() {
        let points = [(0.0, 0.0), (0.5, 1.0), (1.0, 1.0)];
        let line = Line { name: "a < b", value: Some(0.75), points: &points };
        let plot = curves("ROC", ("x", "y"), &[line], true);
        // Corners of the plotting area: (44, 352) and (412, 10).
        assert!(plot.contains(r#"points="44,352 228,10 412,10""#), "{plot}");
        assert!(plot.contains("a &lt; b <b>0.750</b>") && plot.contains("class=\"diagonal\""));
        assert!(!curves("PR", ("x", "y"), &[], false).contains("diagonal"));
    }

    #[test]
    fn a_reliability_diagram_by_hand() {
        let plot = reliability(&bins(&[0.25, 0.25, 0.75, 0.75], &[false; 4], 2));
        assert_eq!(plot.matches("<circle").count(), 2);
        // Mean score 0.25, no abnormal frame: at the bottom; half of the frames.
        let radius = number(3.0 + 13.0 * 0.5f64.sqrt());
        assert!(plot.contains(&format!(r#"cx="136" cy="352" r="{radius}""#)), "{plot}");
        assert!(plot.contains("2 frames, mean score 0.250, abnormal 0.000"));
        assert_eq!(reliability(&bins(&[0.9], &[true], 10)).matches("<circle").count(), 1);
    }

    #[test]
    fn norms_have_an_outline_and_a_line_in_the_legend() {
        let sets = [("normal".to_string(), vec![1.0, 2.0]), ("<p>".to_string(), vec![100.0])];
        let plot = norms(&NormHistogram::of(&sets));
        assert_eq!(plot.matches("<polyline").count(), 2);
        assert!(plot.contains("&lt;p&gt;: mean <b>100</b>, median <b>100</b>, 1 vectors"));
        for tick in ["1", "2", "5", "10", "20", "50", "100"] {
            assert!(plot.contains(&format!(">{tick}</text>")), "{tick}");
        }
        assert_eq!(norms(&NormHistogram::default()), "");
    }

    #[test]
    fn ticks_of_a_logarithmic_axis() {
        assert_eq!(log_ticks(3.0, 60.0), [5.0, 10.0, 20.0, 50.0]);
        assert_eq!(log_ticks(0.5, 2e5).len(), 6);
        assert!(log_ticks(1e-30, 1e30).len() < 10);
        let shown = [0.0, 0.05, 7.25, 199.48, 2e7].map(compact);
        assert_eq!(shown, ["0", "0.05", "7.25", "199", "2.0e7"]);
    }
}
