//! What is chosen by running the graph: ranges, layers that stay in float; and the page that tells of it.

use super::*;

#[test]
fn auto_takes_the_method_that_measures_best() {
    let Some(backend) = ort() else { return };
    let model = residual();
    let options =
        Options { method: Method::Auto, compare_samples: 3, hold_out: true, ..Options::default() };
    let all = samples(13, 3 * 24 * 32);
    let q = quantize(&model, &mut all.iter().cloned(), &options, backend).unwrap();
    assert_eq!((q.report.samples, q.report.compared_samples), (10, 3));
    assert_eq!(q.report.methods.len(), Method::MEASURED.len());
    let best = q.report.methods.iter().map(|t| t.sqnr_db).fold(f64::NEG_INFINITY, f64::max);
    let chosen = q.report.methods.iter().find(|t| t.method == q.report.method).unwrap();
    assert_eq!(chosen.sqnr_db, best);
    assert!((q.report.outputs[0].sqnr_db - best).abs() < 1e-9);
    // Too few to do without: all take part.
    let q = quantize(&model, &mut all[..11].iter().cloned(), &options, backend).unwrap();
    assert_eq!((q.report.samples, q.report.compared_samples), (11, 3));
}

#[test]
fn the_layers_that_cost_most_are_left_in_float() {
    let Some(backend) = ort() else { return };
    let model = residual();
    let all = samples(8, 3 * 24 * 32);
    let report = |options: Options| {
        let options = Options { compare_samples: 2, ..options };
        quantize(&model, &mut all.iter().cloned(), &options, backend).unwrap().report
    };
    let search = |search| report(Options { sensitivity: Some(search), ..Options::default() });
    let ranked = search(Search::default());
    let found = ranked.sensitivity.unwrap();
    assert_eq!((found.layers.len(), found.unmeasured, found.float_layers.len()), (4, 0, 0));
    assert!(found.layers.is_sorted_by(|a, b| a.sqnr_db <= b.sqnr_db));
    // The worse half by rank is the half that helps more when one of it is in float.
    let without = |layer: &str| {
        let options = Options { keep_float: vec![layer.to_owned()], ..Options::default() };
        report(options).outputs[0].sqnr_db
    };
    let gains: Vec<f64> = found.layers.iter().map(|l| without(&l.node)).collect();
    let helps_more = |worse: f64| gains[2..].iter().all(|better| worse > *better);
    assert!(gains[..2].iter().all(|g| helps_more(*g)), "{gains:?} {:?}", found.layers);

    // Between what the worst alone brings and what all bring.
    let target = gains[0] + 3.0;
    let report = search(Search { target_sqnr_db: Some(target), ..Search::default() });
    let found = report.sensitivity.unwrap();
    assert_eq!(found.reached, Some(true), "{:?}", found.trials);
    let mut named = found.float_layers.clone();
    named.sort();
    let mut float = report.float_layers.clone();
    float.sort();
    assert_eq!(float, named);
    assert!(named.len() >= 2 && report.outputs[0].sqnr_db >= target);
    // One fewer would not have been enough, and was tried.
    let fewer = found.trials.iter().find(|t| t.float_layers + 1 == named.len()).unwrap();
    assert!(fewer.sqnr_db < target);

    let two = search(Search { max_float_layers: Some(2), ..Search::default() });
    assert_eq!(two.float_layers.len(), 2);
    let none = search(Search { target_sqnr_db: Some(190.0), seconds: 0, ..Search::default() });
    let found = none.sensitivity.unwrap();
    assert_eq!((found.unmeasured, found.reached), (4, Some(false)));
}

#[test]
fn the_page_tells_what_the_report_does_and_needs_nothing_else() {
    let Some(backend) = ort() else { return };
    let mut model = residual();
    let graph = model.graph.as_mut().unwrap();
    graph.node.iter_mut().find(|n| n.name == "block").unwrap().name = "<block&1>".to_owned();
    let options = Options {
        method: Method::Auto,
        sensitivity: Some(Search { max_float_layers: Some(1), ..Search::default() }),
        ..Options::default()
    };
    let all = samples(4, 3 * 24 * 32);
    let q = quantize(&model, &mut all.iter().cloned(), &options, backend).unwrap();
    let timing = time(&model.encode_to_vec(), &q.model.encode_to_vec(), &all[0], backend).unwrap();
    assert!(timing.float_ms > 0.0 && timing.int8_ms > 0.0 && timing.runs >= 3);
    let html = page("net", &q.report, Some(&timing));
    assert!(html.contains("&lt;block&amp;1&gt;") && !html.contains("<block"));
    for layer in &q.report.layers {
        assert!(layer.node == "<block&1>" || html.contains(&layer.node), "{}", layer.node);
    }
    let wanted = ["Sensitivity", "by measurement", "fp32 / INT8", "chosen"];
    assert!(wanted.iter().all(|w| html.contains(w)));
    assert!(!html.contains("http") && !html.contains("<script"));
    assert_eq!(html.matches("<table>").count(), html.matches("</table>").count());
}
