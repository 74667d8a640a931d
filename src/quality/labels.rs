//! Answers against labels that people gave.

use std::collections::HashSet;

use indexmap::{IndexMap, IndexSet};

use super::resample::Units;
use super::wrong::Wrong;
use crate::answer::{Answer, AnswerFile, Span};
use crate::suite::Labelled;
use crate::task::Metric;

/// Accuracy, and the mean over classes of F1.
pub fn of_labels(gold: &Labelled<String>, answers: &AnswerFile) -> Result<IndexMap<Metric, Units>, Wrong> {
    let mut pairs = Vec::new();
    let mut classes = IndexSet::new();
    for (wanted, answer) in gold.items.iter().zip(answers.answers()?) {
        if let (Some(wanted), Answer::Label(given)) = (wanted, answer?) {
            let wanted = classes.insert_full(wanted.to_lowercase()).0;
            pairs.push((wanted, classes.insert_full(gold.name_of(&given).to_lowercase()).0));
        }
    }
    let (mut accuracy, mut f1) = (Units::of_means(), Units::of_classes(classes.len()));
    for (wanted, given) in pairs {
        accuracy.push(&[f64::from(u8::from(wanted == given)), 1.0]);
        let mut sums = vec![0.0; 3 * classes.len()];
        sums[3 * wanted] += 1.0;
        sums[3 * given + 1] += 1.0;
        sums[3 * wanted + 2] += f64::from(u8::from(wanted == given));
        f1.push(&sums);
    }
    Ok([(Metric::Accuracy, accuracy), (Metric::MacroF1, f1)].into_iter().collect())
}

/// F1 of spans: one is right when its ends and its label are.
pub fn of_spans(gold: &Labelled<Vec<Span>>, answers: &AnswerFile) -> Result<IndexMap<Metric, Units>, Wrong> {
    let named = |span: &Span| (span.start, span.end, gold.name_of(&span.label).to_lowercase());
    let mut units = Units::of_classes(1);
    for (wanted, answer) in gold.items.iter().zip(answers.answers()?) {
        if let (Some(wanted), Answer::Spans(given)) = (wanted, answer?) {
            let wanted: HashSet<_> =
                wanted.iter().map(|span| (span.start, span.end, span.label.to_lowercase())).collect();
            let given: HashSet<_> = given.iter().map(named).collect();
            let both = wanted.intersection(&given).count();
            units.push(&[wanted.len() as f64, given.len() as f64, both as f64]);
        }
    }
    Ok([(Metric::GoldF1, units)].into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::write;

    fn judged(answers: &[Answer], by: impl Fn(&AnswerFile) -> IndexMap<Metric, Units>) -> Vec<(Metric, f64)> {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = write(&folder.path().join("a"), answers).unwrap();
        by(&AnswerFile::open(&path).unwrap())
            .into_iter()
            .map(|(metric, units)| (metric, units.value()))
            .collect()
    }

    #[test]
    fn classes_count_alike_however_many_documents_they_have() {
        let label = |label: &str| Some(label.to_owned());
        let gold = Labelled {
            items: vec![label("good"), label("good"), label("good"), label("bad"), None],
            names: [("POSITIVE".to_owned(), "good".to_owned())].into_iter().collect(),
        };
        let answers = ["POSITIVE", "Good", "bad", "bad", "neither"].map(|label| Answer::Label(label.into()));
        let judged = judged(&answers, |file| of_labels(&gold, file).unwrap());
        // good: 2 of 3 found, no other; bad: 1 of 1 found, and one other.
        assert_eq!(judged, [(Metric::Accuracy, 0.75), (Metric::MacroF1, (0.8 + 2.0 / 3.0) / 2.0)]);
    }

    #[test]
    fn a_span_is_right_with_both_ends_and_its_label() {
        let span = |start, end, label: &str| Span { start, end, label: label.into() };
        let gold = Labelled {
            items: vec![Some(vec![span(0, 4, "PER"), span(5, 9, "LOC")]), None, Some(vec![])],
            names: [("person".to_owned(), "PER".to_owned())].into_iter().collect(),
        };
        let given = vec![span(0, 4, "person"), span(5, 8, "LOC")];
        let answers = [Answer::Spans(given), Answer::Spans(vec![span(0, 1, "PER")]), Answer::Spans(vec![])];
        assert_eq!(judged(&answers, |file| of_spans(&gold, file).unwrap()), [(Metric::GoldF1, 0.5)]);
    }
}
