//! As metrics of services that keep a trend: Bencher, and github-action-benchmark. What they keep is how many times the base's figure
//! the new arm's is, which a change of the runner leaves alone.

use serde_json::{Map, Value, json};

use crate::analysis::gate::{Compared, GateReport};

/// Bencher's metric format: a benchmark a stage, a measure a figure, with its interval.
pub fn bencher(report: &GateReport) -> Value {
    let measure = |figure: &Compared| {
        let mut metric = json!({ "value": figure.ratio.value });
        if let Some(interval) = figure.ratio.interval {
            metric["lower_value"] = interval.low.into();
            metric["upper_value"] = interval.high.into();
        }
        (format!("{}-beside-base", figure.figure.name().replace(' ', "-")), metric)
    };
    let stages = report.stages.iter().filter(|stage| !stage.figures.is_empty()).map(|stage| {
        let measures: Map<String, Value> = stage.figures.iter().map(measure).collect();
        (format!("{}/{}", report.suite, stage.stage), Value::Object(measures))
    });
    Value::Object(stages.collect())
}

/// github-action-benchmark's format for what is better the smaller it is (`customSmallerIsBetter`).
pub fn benchmark(report: &GateReport) -> Value {
    let entries = report.stages.iter().flat_map(|stage| {
        stage.figures.iter().map(|figure| {
            let mut entry = json!({
                "name": format!("{}/{}: {}", report.suite, stage.stage, figure.figure.name()),
                "unit": "times the base",
                "value": figure.ratio.value,
                "extra": stage.sentence,
            });
            if let Some(error) = figure.ratio.relative_error() {
                entry["range"] = format!("± {:.4}", error * figure.ratio.value).into();
            }
            entry
        })
    });
    Value::Array(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn figures_are_multiples_of_the_base_with_their_intervals() {
        let own = &bencher(&report())["a<b/embed"]["time-a-document-beside-base"];
        assert_eq!(*own, json!({ "value": 1.08, "lower_value": 1.06, "upper_value": 1.10 }));
        let entries = benchmark(&report());
        assert_eq!((&entries[0]["value"], &entries[0]["unit"]), (&json!(1.08), &json!("times the base")));
        assert_eq!(entries[0]["range"], "± 0.0200");
    }

    #[test]
    fn a_stage_without_pairs_has_no_metric() {
        let mut report = report();
        report.stages[0].figures.clear();
        assert_eq!((bencher(&report), benchmark(&report)), (json!({}), json!([])));
    }
}
