//! The metrics by labels beside those of published libraries: trec_eval, scikit-learn and seqeval.
//! `scripts/metrics-fixture.py` has drawn the cases.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use super::labels;
use super::ranking::{self, Hit};
use crate::answer::{Answer, AnswerFile, Span, write};
use crate::suite::Labelled;
use crate::task::Metric;

const EXACT: f64 = 1e-9;

#[derive(Deserialize)]
struct Cases {
    ranking: Vec<Ranking>,
    labels: Vec<Labels>,
    spans: Vec<Spans>,
}

#[derive(Deserialize)]
struct Ranking {
    scores: BTreeMap<String, f32>,
    grades: BTreeMap<String, u32>,
    expected: [f64; 4],
}

#[derive(Deserialize)]
struct Labels {
    wanted: Vec<String>,
    given: Vec<String>,
    expected: [f64; 2],
}

#[derive(Deserialize)]
struct Spans {
    wanted: Vec<Vec<(usize, usize, String)>>,
    given: Vec<Vec<(usize, usize, String)>>,
    expected: [f64; 1],
}

fn cases() -> Cases {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics.json.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn rankings_are_worth_what_trec_eval_says() {
    let cases = cases().ranking;
    assert_eq!(cases.len(), 1000);
    for (number, case) in cases.iter().enumerate() {
        // In the order of ids, which is the order of ranks.
        let names: Vec<&String> = case.scores.keys().collect();
        let mut hits: Vec<Hit> = case
            .scores
            .values()
            .enumerate()
            .map(|(document, score)| Hit { score: *score, rank: document, document })
            .collect();
        hits.sort_unstable();
        let grade = |hit: &Hit| case.grades.get(names[hit.document]).copied().unwrap_or(0);
        let found: Vec<u32> = hits.iter().map(grade).collect();
        let all: Vec<u32> = case.grades.values().copied().collect();
        let own = ranking::scores(&found, &all);
        for (own, expected) in own.iter().zip(case.expected) {
            assert!((own - expected).abs() < EXACT, "case {number}: {own} {expected}");
        }
    }
}

#[test]
fn labels_are_worth_what_scikit_learn_says() {
    let folder = tempfile::tempdir().unwrap();
    for (number, case) in cases().labels.into_iter().enumerate() {
        let answers: Vec<Answer> = case.given.into_iter().map(Answer::Label).collect();
        let (path, _) = write(&folder.path().join("labels"), &answers).unwrap();
        let gold = Labelled { items: case.wanted.into_iter().map(Some).collect(), names: Default::default() };
        let units = labels::of_labels(&gold, &AnswerFile::open(&path).unwrap()).unwrap();
        for (metric, expected) in [Metric::Accuracy, Metric::MacroF1].into_iter().zip(case.expected) {
            let own = units[&metric].value();
            assert!((own - expected).abs() < EXACT, "case {number}: {} {own} {expected}", metric.name());
        }
    }
}

#[test]
fn spans_are_worth_what_seqeval_says() {
    let folder = tempfile::tempdir().unwrap();
    let spans = |spans: Vec<(usize, usize, String)>| {
        spans.into_iter().map(|(start, end, label)| Span { start, end, label }).collect::<Vec<_>>()
    };
    for (number, case) in cases().spans.into_iter().enumerate() {
        let answers: Vec<Answer> = case.given.into_iter().map(|given| Answer::Spans(spans(given))).collect();
        let (path, _) = write(&folder.path().join("spans"), &answers).unwrap();
        let wanted = case.wanted.into_iter().map(|wanted| Some(spans(wanted)));
        let gold = Labelled { items: wanted.collect(), names: Default::default() };
        let own =
            labels::of_spans(&gold, &AnswerFile::open(&path).unwrap()).unwrap()[&Metric::GoldF1].value();
        assert!((own - case.expected[0]).abs() < EXACT, "case {number}: {own} {}", case.expected[0]);
    }
}
