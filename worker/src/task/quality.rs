//! How much a candidate's answers agree with the reference's: 1 is all, 0 is nothing.

use std::collections::HashMap;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Task;
use crate::answer::{Answer, Span};
use crate::item::Item;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Mean cosine between a document's two vectors.
    Cosine,
    /// The cosine of the document on which the two differ most.
    WorstCosine,
    /// Share of each document's ten nearest neighbours that is the same.
    Top10,
    /// Share of a query's pairs of documents that are in the same order.
    Order,
    /// Share of documents with the same label.
    Labels,
    /// F1 of the spans, where a span counts when its ends and its label are the same.
    SpanF1,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::WorstCosine => "worst-cosine",
            Metric::Top10 => "top10",
            Metric::Order => "order",
            Metric::Labels => "labels",
            Metric::SpanF1 => "span-f1",
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Metric::Cosine => "mean cosine of a document's two vectors",
            Metric::WorstCosine => "the lowest of these cosines",
            Metric::Top10 => "share of the ten nearest neighbours that is the same",
            Metric::Order => "share of a query's pairs of documents in the same order",
            Metric::Labels => "share of documents with the same label",
            Metric::SpanF1 => "F1 of spans, ends and label both the same",
        }
    }
}

/// Why two lists of answers can't be compared at all. Such a candidate is wrong, whatever its speed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Disagreement {
    #[error("{given} answers for {wanted} documents")]
    Count { given: usize, wanted: usize },
    #[error("document {document}: an answer to {given} where {wanted} was asked")]
    Kind { document: usize, given: &'static str, wanted: &'static str },
    #[error("document {document}: a vector of {given} numbers, the reference has {wanted}")]
    Width { document: usize, given: usize, wanted: usize },
    #[error("document {document}: an answer that is not a finite number")]
    NotFinite { document: usize },
    #[error("document {document}: a span from {start} to {end} in a text of {length} bytes")]
    Outside { document: usize, start: usize, end: usize, length: usize },
    #[error("nothing to compare: {0}")]
    Nothing(&'static str),
}

/// Checks that `answers` answer `task` for `documents`, one each, with finite numbers inside the text.
pub fn validate(task: Task, documents: &[Item], answers: &[Answer]) -> Result<(), Disagreement> {
    if answers.len() != documents.len() {
        return Err(Disagreement::Count { given: answers.len(), wanted: documents.len() });
    }
    for (document, (answer, source)) in answers.iter().zip(documents).enumerate() {
        if Task::of(answer) != task {
            let (given, wanted) = (Task::of(answer).name(), task.name());
            return Err(Disagreement::Kind { document, given, wanted });
        }
        let finite = match answer {
            Answer::Vector(vector) => vector.iter().all(|number| number.is_finite()),
            Answer::Score(score) => score.is_finite(),
            Answer::Label(_) => true,
            Answer::Sparse(weights) => weights.iter().all(|(_, weight)| weight.is_finite()),
            Answer::Vectors(vectors) => vectors.iter().flatten().all(|number| number.is_finite()),
            Answer::Spans(spans) => {
                let length = source.text.len();
                if let Some(&Span { start, end, .. }) =
                    spans.iter().find(|span| span.start >= span.end || span.end > length)
                {
                    return Err(Disagreement::Outside { document, start, end, length });
                }
                true
            }
        };
        if !finite {
            return Err(Disagreement::NotFinite { document });
        }
    }
    Ok(())
}

/// The agreement of a candidate's answers with the reference's, by `metric`.
pub fn agreement(
    metric: Metric,
    task: Task,
    documents: &[Item],
    reference: &[Answer],
    answers: &[Answer],
) -> Result<f64, Disagreement> {
    validate(task, documents, reference)?;
    validate(task, documents, answers)?;
    match metric {
        Metric::Cosine | Metric::WorstCosine => {
            let cosines = cosines(reference, answers)?;
            if cosines.is_empty() {
                return Err(Disagreement::Nothing("no vectors"));
            }
            let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
            let worst = cosines.into_iter().fold(f64::INFINITY, f64::min);
            Ok(if metric == Metric::Cosine { mean } else { worst })
        }
        Metric::Top10 => {
            let (reference, answers) = (vectors(reference)?, vectors(answers)?);
            same_widths(&reference, &answers)?;
            neighbours_kept(&reference, &answers)
        }
        Metric::Order => order_kept(documents, &scores(reference), &scores(answers)),
        Metric::Labels => {
            let same = reference.iter().zip(answers).filter(|(left, right)| left == right).count();
            Ok(same as f64 / reference.len().max(1) as f64)
        }
        Metric::SpanF1 => Ok(span_f1(reference, answers)),
    }
}

fn vectors(answers: &[Answer]) -> Result<Vec<&[f32]>, Disagreement> {
    let vectors: Vec<&[f32]> = answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Vector(vector) => Some(vector.as_slice()),
            _ => None,
        })
        .collect();
    if vectors.is_empty() { Err(Disagreement::Nothing("no vectors")) } else { Ok(vectors) }
}

fn same_widths(reference: &[&[f32]], answers: &[&[f32]]) -> Result<(), Disagreement> {
    for (document, (left, right)) in reference.iter().zip(answers).enumerate() {
        if left.len() != right.len() {
            return Err(Disagreement::Width { document, given: right.len(), wanted: left.len() });
        }
    }
    Ok(())
}

/// For each document, how much the directions of two answers agree.
fn cosines(reference: &[Answer], answers: &[Answer]) -> Result<Vec<f64>, Disagreement> {
    let pairs = reference.iter().zip(answers).enumerate();
    pairs
        .map(|(document, (left, right))| {
            let width = |given: usize, wanted: usize| {
                if given == wanted { Ok(()) } else { Err(Disagreement::Width { document, given, wanted }) }
            };
            Ok(match (left, right) {
                (Answer::Vector(left), Answer::Vector(right)) => {
                    width(right.len(), left.len())?;
                    cosine(left, right)
                }
                (Answer::Sparse(left), Answer::Sparse(right)) => sparse_cosine(left, right),
                (Answer::Vectors(left), Answer::Vectors(right)) => {
                    for (left, right) in left.iter().zip(right) {
                        width(right.len(), left.len())?;
                    }
                    // A token that only one of them has agrees with nothing.
                    let tokens = left.len().max(right.len());
                    let sum: f64 = left.iter().zip(right).map(|(left, right)| cosine(left, right)).sum();
                    if tokens == 0 { 1.0 } else { sum / tokens as f64 }
                }
                _ => 0.0,
            })
        })
        .collect()
}

fn sparse_cosine(left: &[(u32, f32)], right: &[(u32, f32)]) -> f64 {
    let of_right: HashMap<u32, f32> = right.iter().copied().collect();
    let square =
        |weights: &[(u32, f32)]| weights.iter().map(|(_, weight)| f64::from(*weight).powi(2)).sum::<f64>();
    let dot: f64 =
        left.iter().filter_map(|(id, weight)| Some(f64::from(*weight) * f64::from(*of_right.get(id)?))).sum();
    let norms = (square(left) * square(right)).sqrt();
    // Two texts without a word say the same.
    if norms > 0.0 { dot / norms } else { f64::from(u8::from(square(left) == square(right))) }
}

/// Zero where a vector has no direction: a model that answers zeros agrees with nothing.
fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum::<f64>();
    let norms = (dot(left, left) * dot(right, right)).sqrt();
    if norms > 0.0 { dot(left, right) / norms } else { 0.0 }
}

/// Documents whose neighbours are compared, evenly spread: all pairs of a large corpus would take longer than measuring.
const MOST_COMPARED: usize = 500;

fn neighbours_kept(reference: &[&[f32]], answers: &[&[f32]]) -> Result<f64, Disagreement> {
    const NEIGHBOURS: usize = 10;
    let count = reference.len();
    if count < 2 {
        return Err(Disagreement::Nothing("neighbours need two documents"));
    }
    let (reference, answers) = (normalised(reference), normalised(answers));
    let nearest = |vectors: &[Vec<f32>], of: usize| -> HashSet<usize> {
        let others = (0..count).filter(|&other| other != of);
        let mut others: Vec<(f32, usize)> = others
            .map(|other| (vectors[of].iter().zip(&vectors[other]).map(|(x, y)| x * y).sum(), other))
            .collect();
        // Equal cosines are put in the order of the corpus, so that twins agree with themselves.
        others.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
        others.into_iter().take(NEIGHBOURS).map(|(_, other)| other).collect()
    };
    let compared = count.min(MOST_COMPARED);
    let kept: f64 = (0..compared)
        .map(|step| step * count / compared)
        .map(|of| {
            let wanted = nearest(&reference, of);
            wanted.intersection(&nearest(&answers, of)).count() as f64 / wanted.len() as f64
        })
        .sum();
    Ok(kept / compared as f64)
}

/// Vectors of length one, but for those without a direction.
fn normalised(vectors: &[&[f32]]) -> Vec<Vec<f32>> {
    let normalise = |vector: &&[f32]| {
        let norm = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        if norm > 0.0 { vector.iter().map(|number| number / norm).collect() } else { vector.to_vec() }
    };
    vectors.iter().map(normalise).collect()
}

fn scores(answers: &[Answer]) -> Vec<f32> {
    answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Score(score) => Some(*score),
            _ => None,
        })
        .collect()
}

fn order_kept(documents: &[Item], reference: &[f32], answers: &[f32]) -> Result<f64, Disagreement> {
    let mut queries: HashMap<&Option<String>, Vec<usize>> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        queries.entry(&document.query).or_default().push(index);
    }
    let (mut pairs, mut kept) = (0u64, 0u64);
    for group in queries.values() {
        for (place, &left) in group.iter().enumerate() {
            for &right in &group[place + 1..] {
                // Where the reference has no preference there is no order to keep.
                if reference[left] != reference[right] {
                    pairs += 1;
                    let wanted = reference[left] > reference[right];
                    let given = answers[left] != answers[right] && wanted == (answers[left] > answers[right]);
                    kept += u64::from(given);
                }
            }
        }
    }
    if pairs == 0 {
        return Err(Disagreement::Nothing("the reference ranks no two documents of one query"));
    }
    Ok(kept as f64 / pairs as f64)
}

fn span_f1(reference: &[Answer], answers: &[Answer]) -> f64 {
    let (mut wanted, mut given, mut both) = (0, 0, 0);
    for (left, right) in reference.iter().zip(answers) {
        if let (Answer::Spans(left), Answer::Spans(right)) = (left, right) {
            let left: HashSet<&Span> = left.iter().collect();
            let right: HashSet<&Span> = right.iter().collect();
            wanted += left.len();
            given += right.len();
            both += left.intersection(&right).count();
        }
    }
    // Neither found a span anywhere: they agree.
    if wanted + given == 0 { 1.0 } else { 2.0 * both as f64 / (wanted + given) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(queries: &[&str]) -> Vec<Item> {
        let document = |query: &&str| Item { text: "ten bytes!".into(), query: Some(query.to_string()) };
        queries.iter().map(document).collect()
    }

    fn judge(metric: Metric, task: Task, left: &[Answer], right: &[Answer]) -> Result<f64, Disagreement> {
        agreement(metric, task, &documents(&vec!["q"; left.len()]), left, right)
    }

    fn vector(numbers: &[f32]) -> Answer {
        Answer::Vector(numbers.to_vec())
    }

    fn span(start: usize, end: usize) -> Span {
        Span { start, end, label: "PER".into() }
    }

    #[test]
    fn cosines_ignore_length_and_notice_direction() {
        let left = [vector(&[1.0, 0.0]), vector(&[0.0, 1.0])];
        let right = [vector(&[2.0, 0.0]), vector(&[1.0, 0.0])];
        assert_eq!(judge(Metric::Cosine, Task::Embed, &left, &right), Ok(0.5));
        assert_eq!(judge(Metric::WorstCosine, Task::Embed, &left, &right), Ok(0.0));
        let zeros = [vector(&[0.0, 0.0]), vector(&[0.0, 0.0])];
        assert_eq!(judge(Metric::Cosine, Task::Embed, &left, &zeros), Ok(0.0));
    }

    #[test]
    fn sparse_and_many_vectors_agree_by_direction_too() {
        let sparse = |weights: &[(u32, f32)]| Answer::Sparse(weights.to_vec());
        let left = [sparse(&[(3, 3.0), (7, 4.0)]), sparse(&[])];
        let right = [sparse(&[(7, 1.0)]), sparse(&[])];
        let kept = judge(Metric::Cosine, Task::Sparse, &left, &right).unwrap();
        assert!((kept - 0.9).abs() < 1e-9, "{kept}");
        let left = [Answer::Vectors(vec![vec![1.0, 0.0], vec![0.0, 1.0]])];
        let right = [Answer::Vectors(vec![vec![2.0, 0.0]])];
        assert_eq!(judge(Metric::WorstCosine, Task::MultiVector, &left, &right), Ok(0.5));
        let wider = [Answer::Vectors(vec![vec![1.0]])];
        let error = judge(Metric::Cosine, Task::MultiVector, &left, &wider).unwrap_err();
        assert_eq!(error, Disagreement::Width { document: 0, given: 1, wanted: 2 });
    }

    #[test]
    fn neighbours_are_counted_among_the_others() {
        // Twelve documents on an arc: each has eleven others, of which ten are kept, so one can be lost.
        let arc: Vec<_> = (0..12).map(|step| (step as f32 * 0.1).sin_cos()).collect();
        let left: Vec<_> = arc.iter().map(|(sin, cos)| vector(&[*sin, *cos])).collect();
        assert_eq!(judge(Metric::Top10, Task::Embed, &left, &left), Ok(1.0));
        let mut right = left.clone();
        right.swap(0, 11);
        let kept = judge(Metric::Top10, Task::Embed, &left, &right).unwrap();
        assert!((0.9..1.0).contains(&kept), "{kept}");
    }

    #[test]
    fn order_is_kept_within_a_query_only() {
        let documents = documents(&["a", "a", "b", "b"]);
        let score = |scores: [f32; 4]| scores.map(Answer::Score);
        let judge = |left: [f32; 4], right: [f32; 4]| {
            agreement(Metric::Order, Task::Rerank, &documents, &score(left), &score(right))
        };
        assert_eq!(judge([1.0, 2.0, 9.0, 8.0], [0.1, 0.2, 0.01, 0.001]), Ok(1.0));
        assert_eq!(judge([1.0, 2.0, 9.0, 8.0], [0.2, 0.1, 0.01, 0.001]), Ok(0.5));
        // A candidate that gives every document the same score has lost the order.
        assert_eq!(judge([1.0, 2.0, 9.0, 8.0], [5.0; 4]), Ok(0.0));
        assert!(matches!(judge([1.0; 4], [1.0; 4]), Err(Disagreement::Nothing(_))));
    }

    #[test]
    fn labels_and_spans_count_exact_matches() {
        let labels = |labels: [&str; 2]| labels.map(|label| Answer::Label(label.into()));
        let same = judge(Metric::Labels, Task::Classify, &labels(["a", "b"]), &labels(["a", "c"]));
        assert_eq!(same, Ok(0.5));
        let left = [Answer::Spans(vec![span(0, 3), span(4, 6)])];
        let right = [Answer::Spans(vec![span(0, 3), span(4, 7)])];
        assert_eq!(judge(Metric::SpanF1, Task::Entities, &left, &right), Ok(0.5));
        let nothing = [Answer::Spans(vec![])];
        assert_eq!(judge(Metric::SpanF1, Task::Entities, &nothing, &nothing), Ok(1.0));
        assert_eq!(judge(Metric::SpanF1, Task::Entities, &left, &nothing), Ok(0.0));
    }

    #[test]
    fn answers_that_cannot_be_right_are_named() {
        let one = [vector(&[1.0, 0.0])];
        let judge = |given: &[Answer]| judge(Metric::Cosine, Task::Embed, &one, given).unwrap_err();
        assert_eq!(judge(&[]), Disagreement::Count { given: 0, wanted: 1 });
        assert_eq!(judge(&[vector(&[1.0])]), Disagreement::Width { document: 0, given: 1, wanted: 2 });
        assert_eq!(judge(&[vector(&[f32::NAN, 0.0])]), Disagreement::NotFinite { document: 0 });
        assert!(matches!(judge(&[Answer::Score(1.0)]), Disagreement::Kind { document: 0, .. }));
        let outside = [Answer::Spans(vec![span(0, 11)])];
        let error = super::validate(Task::Entities, &documents(&["q"]), &outside).unwrap_err();
        assert_eq!(error.to_string(), "document 0: a span from 0 to 11 in a text of 10 bytes");
    }
}
