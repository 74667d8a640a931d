//! From a row of floats to an answer.

use std::collections::BTreeMap;

use super::spans;
use crate::answer::{Answer, Span};
use crate::backend::Legend;
use crate::model::Encoding;
use crate::task::Task;

/// Makes an answer of what the network says of one document.
pub fn answer(task: Task, row: Vec<f32>, encoding: &Encoding, legend: &Legend) -> Answer {
    match (task, legend.spanning) {
        (Task::Classify, Some(spanning)) => {
            return Answer::Label(spans::likeliest(&row, encoding, legend, spanning));
        }
        (_, Some(spanning)) => return Answer::Spans(spans::resolved(&row, encoding, legend, spanning)),
        (_, None) => {}
    }
    match task {
        Task::Embed => Answer::Vector(row),
        Task::Rerank => Answer::Score(row.first().copied().unwrap_or(f32::NAN)),
        Task::Classify => {
            let label = if row.is_empty() { None } else { legend.labels.get(highest(&row)) };
            Answer::Label(label.cloned().unwrap_or_default())
        }
        Task::Entities => Answer::Spans(joined(&row, encoding, legend)),
        Task::Sparse => Answer::Sparse(weights(&row, encoding, legend)),
        Task::MultiVector => {
            let width = row.len() / encoding.ids.len().max(1);
            // The first token stands for the whole text and not for a part of it.
            Answer::Vectors(row.chunks(width.max(1)).skip(1).map(<[f32]>::to_vec).collect())
        }
    }
}

/// The place of the highest score, the first of equals.
fn highest(scores: &[f32]) -> usize {
    let best = scores.iter().enumerate().rev().max_by(|left, right| left.1.total_cmp(right.1));
    best.map_or(0, |(place, _)| place)
}

/// Of each token that has a weight the highest one, special tokens left out.
fn weights(row: &[f32], encoding: &Encoding, legend: &Legend) -> Vec<(u32, f32)> {
    let mut weights = BTreeMap::new();
    for (&id, &weight) in encoding.ids.iter().zip(row) {
        // What isn't a number must be seen, and is no weight below zero.
        if legend.special.contains(&id) || weight <= 0.0 {
            continue;
        }
        let highest = weights.entry(id).or_insert(weight);
        *highest = if weight > *highest { weight } else { *highest };
    }
    weights.into_iter().collect()
}

/// Joins neighbouring tokens of one kind, as transformers' "simple" aggregation does: `B-` begins a new span, `I-` or
/// no prefix goes on with the one before, `O` is outside.
fn joined(row: &[f32], encoding: &Encoding, legend: &Legend) -> Vec<Span> {
    const OUTSIDE: &str = "O";
    let mut spans: Vec<Span> = Vec::new();
    let mut open: Option<&str> = None;
    let scores = row.chunks(legend.labels.len().max(1));
    for (scores, &(start, end)) in scores.zip(&encoding.offsets) {
        if start == end {
            continue;
        }
        let label = legend.labels.get(highest(scores)).map_or(OUTSIDE, String::as_str);
        let (begins, kind) = match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
            (Some(kind), _) => (true, kind),
            (None, Some(kind)) => (false, kind),
            (None, None) => (false, label),
        };
        match spans.last_mut() {
            Some(last) if open == Some(kind) && !begins => last.end = end,
            _ if kind != OUTSIDE => spans.push(Span { start, end, label: kind.to_owned() }),
            _ => {}
        }
        open = (kind != OUTSIDE).then_some(kind);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legend(labels: &[&str]) -> Legend {
        Legend {
            labels: labels.iter().map(|label| label.to_string()).collect(),
            special: vec![0],
            spanning: None,
        }
    }

    fn encoding(ids: &[u32], offsets: &[(usize, usize)]) -> Encoding {
        Encoding {
            ids: ids.to_vec(),
            types: vec![0; ids.len()],
            offsets: offsets.to_vec(),
            ..Encoding::default()
        }
    }

    #[test]
    fn tokens_of_one_kind_side_by_side_make_one_span() {
        let legend = legend(&["O", "B-PER", "I-PER", "LOC"]);
        let spans = |labels: &[usize]| {
            let row: Vec<f32> =
                labels.iter().flat_map(|&label| (0..4).map(move |place| f32::from(place == label))).collect();
            // The first and the last token stand for no text.
            let offsets = [(0, 0), (0, 2), (2, 4), (5, 7), (0, 0)];
            match answer(Task::Entities, row, &encoding(&[0, 1, 2, 3, 0], &offsets), &legend) {
                Answer::Spans(spans) => {
                    spans.into_iter().map(|span| (span.start, span.end, span.label)).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(spans(&[1, 1, 2, 2, 1]), [(0, 7, "PER".into())]);
        assert_eq!(spans(&[1, 1, 2, 1, 1]), [(0, 4, "PER".into()), (5, 7, "PER".into())]);
        assert_eq!(spans(&[1, 2, 0, 2, 1]), [(0, 2, "PER".into()), (5, 7, "PER".into())]);
        assert_eq!(spans(&[3, 3, 3, 2, 3]), [(0, 4, "LOC".into()), (5, 7, "PER".into())]);
        assert_eq!(spans(&[0; 5]), []);
    }

    #[test]
    fn a_token_that_occurs_twice_has_its_highest_weight() {
        let encoding = encoding(&[0, 7, 5, 7, 9], &[(0, 1); 5]);
        let answer = answer(Task::Sparse, vec![9.0, 0.5, 0.0, 0.75, f32::NAN], &encoding, &legend(&[]));
        let Answer::Sparse(weights) = answer else { panic!("{answer:?}") };
        assert_eq!(weights[0], (7, 0.75));
        assert!(weights.len() == 2 && weights[1].1.is_nan());
    }

    #[test]
    fn every_token_but_the_first_has_its_vector() {
        let encoding = encoding(&[0, 7, 5], &[(0, 1); 3]);
        let answer = answer(Task::MultiVector, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &encoding, &legend(&[]));
        assert_eq!(answer, Answer::Vectors(vec![vec![3.0, 4.0], vec![5.0, 6.0]]));
    }

    #[test]
    fn a_row_without_numbers_is_no_answer() {
        let (encoding, legend) = (Encoding::default(), legend(&["bad", "good"]));
        let score = answer(Task::Rerank, vec![], &encoding, &legend);
        assert!(matches!(score, Answer::Score(score) if score.is_nan()));
        assert_eq!(answer(Task::Classify, vec![0.1, 0.9], &encoding, &legend), Answer::Label("good".into()));
        assert_eq!(answer(Task::Classify, vec![], &encoding, &legend), Answer::Label(String::new()));
    }
}
