//! From scores of spans to spans, as GLiNER resolves them: those that are likely enough, the likeliest first, and none that shares a
//! word with one before.

use crate::answer::Span;
use crate::backend::Legend;
use crate::model::{Encoding, Spanning};

/// A span of words, and what it might be.
#[derive(Debug, Clone, Copy)]
struct Scored {
    first: usize,
    last: usize,
    label: usize,
    score: f32,
}

/// Every span of a text with every label, as the network scores them: for each word spans from one word on, and for each of these
/// the labels.
fn scored(row: &[f32], words: usize, spanning: Spanning, labels: usize) -> impl Iterator<Item = Scored> + '_ {
    let spans = row.chunks_exact(labels.max(1)).enumerate();
    let spans = spans.map(move |(place, scores)| (place / spanning.width, place % spanning.width, scores));
    spans.filter(move |(first, more, _)| first + more < words).flat_map(|(first, more, scores)| {
        let each = scores.iter().enumerate();
        each.map(move |(label, score)| Scored { first, last: first + more, label, score: *score })
    })
}

pub fn resolved(row: &[f32], encoding: &Encoding, legend: &Legend, spanning: Spanning) -> Vec<Span> {
    let words = &encoding.marks.words;
    let likely = |scored: &Scored| 1.0 / (1.0 + (-scored.score).exp()) > spanning.threshold;
    let mut found: Vec<Scored> =
        scored(row, words.len(), spanning, legend.labels.len()).filter(likely).collect();
    // The first of equals stays the first.
    found.sort_by(|left, right| right.score.total_cmp(&left.score));
    let mut taken = vec![false; words.len()];
    found.retain(|span| {
        let own = &mut taken[span.first..=span.last];
        let free = own.iter().all(|taken| !taken);
        own.iter_mut().filter(|_| free).for_each(|taken| *taken = true);
        free
    });
    found.sort_by_key(|span| span.first);
    let span = |span: Scored| Span {
        start: words[span.first].start,
        end: words[span.last].end,
        label: legend.labels[span.label].clone(),
    };
    found.into_iter().map(span).collect()
}

/// The label that the likeliest span of a text has, for texts that are told apart by what is in them.
pub fn likeliest(row: &[f32], encoding: &Encoding, legend: &Legend, spanning: Spanning) -> String {
    let spans = scored(row, encoding.marks.words.len(), spanning, legend.labels.len());
    let best = spans.reduce(|best, span| if span.score > best.score { span } else { best });
    best.map(|best| legend.labels[best.label].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Marks, Word};

    #[test]
    fn the_likeliest_spans_are_taken_and_none_shares_a_word() {
        // "[CLS] a label. Anna Karenina left": three words behind a prompt of two tokens.
        let word = |token, start, end| Word { token: Some(token), start, end };
        let words = vec![word(2, 0, 4), word(3, 5, 13), word(4, 14, 18)];
        let encoding = Encoding { marks: Marks { words, labels: vec![1] }, ..Encoding::default() };
        let legend = Legend { labels: vec!["person".into(), "act".into()], ..Legend::default() };
        let spanning = Spanning { width: 2, threshold: 0.5 };
        let row = |spans: [[f32; 2]; 6]| spans.concat();
        let words = |row: &[f32]| {
            let spans = resolved(row, &encoding, &legend, spanning);
            spans.into_iter().map(|span| (span.start, span.end, span.label)).collect::<Vec<_>>()
        };
        // Of one word and of two, for each word; the last span would leave the text.
        let scores = row([[1.0, -1.0], [3.0, -1.0], [2.0, -1.0], [0.5, 0.4], [-1.0, 0.25], [9.0, 9.0]]);
        assert_eq!(words(&scores), [(0, 13, "person".into()), (14, 18, "act".into())]);
        assert_eq!(likeliest(&scores, &encoding, &legend, spanning), "person");
        assert_eq!(words(&row([[0.0; 2]; 6])), []);
        let nothing = Encoding::default();
        assert_eq!(resolved(&[], &nothing, &legend, spanning), []);
        assert_eq!(likeliest(&[], &nothing, &legend, spanning), "");
        // Numbers that are none are no span, and no panic.
        assert_eq!(words(&row([[f32::NAN; 2]; 6])), []);
    }
}
