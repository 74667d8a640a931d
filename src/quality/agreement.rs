//! How much a candidate's answers agree with the reference's: 1 is all, 0 is nothing.

use std::collections::{HashMap, HashSet};

use super::question::Question;
use super::wrong::Wrong;
use crate::answer::{Answer, AnswerFile, Span};
use crate::item::Item;
use crate::record::Judged;
use crate::task::{Metric, Task};

/// Two lists of answers, side by side, as far as they were read.
pub struct Agreement<'a> {
    question: Question<'a>,
    cosines: Cosines,
    /// Of reranking: what the reference and the candidate give each item.
    scores: Vec<(f32, f32)>,
    same_labels: usize,
    spans: Spans,
}

#[derive(Default)]
struct Cosines {
    sum: f64,
    worst: f64,
    count: usize,
}

#[derive(Default)]
struct Spans {
    wanted: usize,
    given: usize,
    both: usize,
}

impl<'a> Agreement<'a> {
    pub fn new(question: Question<'a>) -> Self {
        Agreement {
            question,
            cosines: Cosines { worst: f64::INFINITY, ..Cosines::default() },
            scores: Vec::new(),
            same_labels: 0,
            spans: Spans::default(),
        }
    }

    /// Reads both lists to their ends, and checks that each answers the question: one answer an item, with finite numbers, inside
    /// the text.
    pub fn read(&mut self, reference: &AnswerFile, answers: &AnswerFile) -> Result<(), Wrong> {
        let Question { task, items, .. } = self.question;
        for file in [reference, answers] {
            if file.count() != items.len() {
                return Err(Wrong::Count { given: file.count(), wanted: items.len() });
            }
        }
        let pairs = reference.answers()?.zip(answers.answers()?);
        for (document, ((wanted, given), item)) in pairs.zip(items).enumerate() {
            let (wanted, given) = (wanted?, given?);
            check(task, document, item, &wanted)?;
            check(task, document, item, &given)?;
            self.take(document, &wanted, &given)?;
        }
        Ok(())
    }

    fn take(&mut self, document: usize, wanted: &Answer, given: &Answer) -> Result<(), Wrong> {
        match (wanted, given) {
            (Answer::Score(wanted), Answer::Score(given)) => self.scores.push((*wanted, *given)),
            (Answer::Label(wanted), Answer::Label(given)) => self.same_labels += usize::from(wanted == given),
            (Answer::Spans(wanted), Answer::Spans(given)) => {
                let wanted: HashSet<&Span> = wanted.iter().collect();
                let given: HashSet<&Span> = given.iter().collect();
                self.spans.wanted += wanted.len();
                self.spans.given += given.len();
                self.spans.both += wanted.intersection(&given).count();
            }
            _ => {
                let cosine = cosine_of(document, wanted, given)?;
                self.cosines.sum += cosine;
                self.cosines.worst = self.cosines.worst.min(cosine);
                self.cosines.count += 1;
            }
        }
        Ok(())
    }

    /// The agreement by a metric that needs no more than this.
    pub fn by(&self, metric: Metric) -> Result<Judged, Wrong> {
        let items = self.question.items;
        let value = match metric {
            Metric::Cosine | Metric::WorstCosine => match self.cosines.count {
                0 => return Err(Wrong::Nothing("no vectors")),
                count if metric == Metric::Cosine => self.cosines.sum / count as f64,
                _ => self.cosines.worst,
            },
            Metric::Order => order_kept(items, &self.scores)?,
            Metric::Labels => self.same_labels as f64 / items.len().max(1) as f64,
            // Neither found a span anywhere: they agree.
            Metric::SpanF1 => match self.spans.wanted + self.spans.given {
                0 => 1.0,
                all => 2.0 * self.spans.both as f64 / all as f64,
            },
            _ => return Err(Wrong::Nothing("the metric doesn't measure agreement")),
        };
        Ok(Judged::exactly(value))
    }
}

/// Checks that an answer is one to the task, with finite numbers, inside the text.
fn check(task: Task, document: usize, item: &Item, answer: &Answer) -> Result<(), Wrong> {
    if Task::of(answer) != task {
        let (given, wanted) = (Task::of(answer).name(), task.name());
        return Err(Wrong::Kind { document, given, wanted });
    }
    let finite = match answer {
        Answer::Vector(vector) => vector.iter().all(|number| number.is_finite()),
        Answer::Score(score) => score.is_finite(),
        Answer::Label(_) => true,
        Answer::Sparse(weights) => weights.iter().all(|(_, weight)| weight.is_finite()),
        Answer::Vectors(vectors) => vectors.iter().flatten().all(|number| number.is_finite()),
        Answer::Spans(spans) => {
            let length = item.text.len();
            if let Some(&Span { start, end, .. }) =
                spans.iter().find(|span| span.start >= span.end || span.end > length)
            {
                return Err(Wrong::Outside { document, start, end, length });
            }
            true
        }
    };
    if finite { Ok(()) } else { Err(Wrong::NotFinite { document }) }
}

/// How much the directions of two answers agree.
fn cosine_of(document: usize, left: &Answer, right: &Answer) -> Result<f64, Wrong> {
    let width = |given: usize, wanted: usize| {
        if given == wanted { Ok(()) } else { Err(Wrong::Width { document, given, wanted }) }
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
}

fn sparse_cosine(left: &[(u32, f32)], right: &[(u32, f32)]) -> f64 {
    let square =
        |weights: &[(u32, f32)]| weights.iter().map(|(_, weight)| f64::from(*weight).powi(2)).sum::<f64>();
    let norms = (square(left) * square(right)).sqrt();
    // Two texts without a word say the same.
    if norms > 0.0 {
        sparse_dot(left, right) / norms
    } else {
        f64::from(u8::from(square(left) == square(right)))
    }
}

pub fn sparse_dot(left: &[(u32, f32)], right: &[(u32, f32)]) -> f64 {
    let of_right: HashMap<u32, f32> = right.iter().copied().collect();
    left.iter().filter_map(|(id, weight)| Some(f64::from(*weight) * f64::from(*of_right.get(id)?))).sum()
}

/// Sums of so many products go on side by side, so that the processor takes several at a time.
const LANES: usize = 8;

pub fn dot(left: &[f32], right: &[f32]) -> f64 {
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0f64; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += f64::from(left[lane]) * f64::from(right[lane]);
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(x, y)| f64::from(*x) * f64::from(*y));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// Zero where a vector has no direction: a model that answers zeros agrees with nothing.
fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let norms = (dot(left, left) * dot(right, right)).sqrt();
    if norms > 0.0 { dot(left, right) / norms } else { 0.0 }
}

/// The share of pairs of one query's items that both put in the same order.
fn order_kept(items: &[Item], scores: &[(f32, f32)]) -> Result<f64, Wrong> {
    let mut queries: HashMap<&Option<String>, Vec<usize>> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        queries.entry(&item.query).or_default().push(index);
    }
    let (mut pairs, mut kept) = (0u64, 0u64);
    for group in queries.values() {
        for (place, &left) in group.iter().enumerate() {
            for &right in &group[place + 1..] {
                let ((wanted_left, left), (wanted_right, right)) = (scores[left], scores[right]);
                // Where the reference has no preference there is no order to keep.
                if wanted_left != wanted_right {
                    pairs += 1;
                    kept += u64::from(left != right && (wanted_left > wanted_right) == (left > right));
                }
            }
        }
    }
    if pairs == 0 {
        return Err(Wrong::Nothing("in the reference no query has two documents with different scores"));
    }
    Ok(kept as f64 / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::super::Reference;
    use super::*;
    use crate::answer::write;

    fn items(queries: &[&str]) -> Vec<Item> {
        let item = |query: &&str| Item { text: "ten bytes!".into(), query: Some(query.to_string()) };
        queries.iter().map(item).collect()
    }

    fn judged_of(
        metric: Metric,
        task: Task,
        items: &[Item],
        left: &[Answer],
        right: &[Answer],
    ) -> Result<f64, Wrong> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, answers: &[Answer]| write(&folder.path().join(name), answers).unwrap().0;
        let reference = Reference::open(&file("reference", left)).unwrap();
        let answers = AnswerFile::open(&file("answers", right)).unwrap();
        let judged = reference.judge(metric, Question { task, items, gold: None }, &answers)?;
        Ok(judged[&metric].value)
    }

    fn judge(metric: Metric, task: Task, left: &[Answer], right: &[Answer]) -> Result<f64, Wrong> {
        judged_of(metric, task, &items(&vec!["q"; left.len()]), left, right)
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
        let long: Vec<f32> = (0..19).map(|number| number as f32).collect();
        assert_eq!(dot(&long, &long), (0..19).map(|number| f64::from(number * number)).sum::<f64>());
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
        assert_eq!(error, Wrong::Width { document: 0, given: 1, wanted: 2 });
    }

    #[test]
    fn order_is_kept_within_a_query_only() {
        let items = items(&["a", "a", "b", "b"]);
        let score = |scores: [f32; 4]| scores.map(Answer::Score);
        let judge = |left: [f32; 4], right: [f32; 4]| {
            judged_of(Metric::Order, Task::Rerank, &items, &score(left), &score(right))
        };
        assert_eq!(judge([1.0, 2.0, 9.0, 8.0], [0.1, 0.2, 0.01, 0.001]), Ok(1.0));
        assert_eq!(judge([1.0, 2.0, 9.0, 8.0], [0.2, 0.1, 0.01, 0.001]), Ok(0.5));
        // A candidate that gives every document the same score has lost the order.
        assert_eq!(judge([1.0, 2.0, 9.0, 8.0], [5.0; 4]), Ok(0.0));
        assert!(matches!(judge([1.0; 4], [1.0; 4]), Err(Wrong::Nothing(_))));
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
        assert_eq!(judge(&[]), Wrong::Count { given: 0, wanted: 1 });
        assert_eq!(judge(&[vector(&[1.0])]), Wrong::Width { document: 0, given: 1, wanted: 2 });
        assert_eq!(judge(&[vector(&[f32::NAN, 0.0])]), Wrong::NotFinite { document: 0 });
        assert!(matches!(judge(&[Answer::Score(1.0)]), Wrong::Kind { document: 0, .. }));
        let spans = [Answer::Spans(vec![span(0, 11)])];
        let error = super::check(Task::Entities, 0, &items(&["q"])[0], &spans[0]).unwrap_err();
        assert_eq!(error.to_string(), "document 0: a span from 0 to 11 in a text of 10 bytes");
    }
}
