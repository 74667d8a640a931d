//! From a row of floats to an answer.

use crate::backend::Encoding;
use crate::task::{Answer, Span, Task};

/// Makes an answer of what the network says of one document. `skip` bytes of what it read are the query's.
pub fn answer(task: Task, row: Vec<f32>, encoding: &Encoding, skip: usize) -> Answer {
    match task {
        Task::Embed => Answer::Vector(row),
        Task::Rerank => Answer::Score(row.first().copied().unwrap_or(f32::NAN)),
        Task::Classify => {
            let best = row.iter().enumerate().max_by(|left, right| left.1.total_cmp(right.1));
            Answer::Label(best.map_or_else(String::new, |(label, _)| label.to_string()))
        }
        Task::Entities => Answer::Spans(spans(&row, &encoding.offsets, skip)),
    }
}

/// Joins neighbouring tokens that are inside an entity: one number a token, above zero where it is.
fn spans(row: &[f32], offsets: &[(usize, usize)], skip: usize) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut open = false;
    for (&inside, &(start, end)) in row.iter().zip(offsets) {
        let inside = inside > 0.0 && start >= skip;
        if inside
            && open
            && let Some(last) = spans.last_mut()
        {
            last.end = end - skip;
        } else if inside {
            spans.push(Span { start: start - skip, end: end - skip, label: "entity".to_owned() });
        }
        open = inside;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_side_by_side_make_one_span() {
        let encoding = Encoding { ids: vec![1; 4], offsets: vec![(0, 2), (3, 5), (6, 8), (9, 11)] };
        let spans = |row: &[f32], skip| match answer(Task::Entities, row.to_vec(), &encoding, skip) {
            Answer::Spans(spans) => spans.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(spans(&[1.0, 1.0, -1.0, 1.0], 0), [(0, 5), (9, 11)]);
        assert_eq!(spans(&[1.0, 1.0, -1.0, 1.0], 3), [(0, 2), (6, 8)]);
        assert_eq!(spans(&[], 0), []);
    }

    #[test]
    fn a_row_without_numbers_is_no_answer() {
        let encoding = Encoding::default();
        let score = answer(Task::Rerank, vec![], &encoding, 0);
        assert!(matches!(score, Answer::Score(score) if score.is_nan()));
        assert_eq!(answer(Task::Classify, vec![0.1, 0.9], &encoding, 0), Answer::Label("1".into()));
    }
}
