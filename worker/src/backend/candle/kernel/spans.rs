//! How well spans of words fit labels. What the two ends of a span bring was worked out for each word, so that what is left for a
//! span is a sum, and a product for each label.

use std::ops::Range;

use super::Crew;

/// Words that a thread takes at a time.
const WORDS: usize = 16;

pub struct Spans<'a> {
    /// A row for each word: what it brings to spans that begin with it…
    pub starts: &'a [f32],
    /// …and to those that end with it.
    pub ends: &'a [f32],
    /// A row for each label of each text; its last number is added.
    pub labels: &'a [f32],
    /// Numbers of a word's row.
    pub size: usize,
    /// Words of the longest span.
    pub width: usize,
    /// Labels of a text.
    pub count: usize,
}

/// For each word, of spans from one word to `width` that begin with it, the score of each label. A span that would leave its text
/// has none, and gets the lowest there is.
pub fn score(spans: &Spans, texts: &[Range<usize>], output: &mut [f32], crew: Crew) {
    let (size, row) = (spans.size, spans.width * spans.count);
    let text_of: Vec<usize> =
        texts.iter().enumerate().flat_map(|(text, words)| words.clone().map(move |_| text)).collect();
    let tasks = output.chunks_mut(WORDS * row).zip(text_of.chunks(WORDS)).enumerate();
    crew.each(tasks, |(task, (output, text_of))| {
        let mut middle = vec![0.0; size];
        for ((output, text), word) in output.chunks_exact_mut(row).zip(text_of).zip(task * WORDS..) {
            let last = texts[*text].end.min(word + spans.width);
            let labels = &spans.labels[text * spans.count * (size + 1)..][..spans.count * (size + 1)];
            let (start, ends) = (&spans.starts[word * size..][..size], &spans.ends[word * size..last * size]);
            let (scores, beyond) = output.split_at_mut((last - word) * spans.count);
            score_word(start, ends, labels, &mut middle, scores);
            beyond.fill(f32::NEG_INFINITY);
        }
    });
}

vectorised! {
    fn score_word(start: &[f32], ends: &[f32], labels: &[f32], middle: &mut [f32], scores: &mut [f32]) {
        let size = start.len();
        let count = labels.len() / (size + 1);
        for (end, scores) in ends.chunks_exact(size).zip(scores.chunks_exact_mut(count)) {
            for ((middle, start), end) in middle.iter_mut().zip(start).zip(end) {
                let sum = start + end;
                *middle = if sum < 0.0 { 0.0 } else { sum };
            }
            for (score, label) in scores.iter_mut().zip(labels.chunks_exact(size + 1)) {
                // Sums of their own, so that no addition waits for the one before.
                const STRANDS: usize = 64;
                let mut strands = [0.0f32; STRANDS];
                let (middle, rest) = middle.as_chunks::<STRANDS>();
                let (of_label, rest_of_label) = label[..size].as_chunks::<STRANDS>();
                for (middle, label) in middle.iter().zip(of_label) {
                    for strand in 0..STRANDS {
                        strands[strand] = middle[strand].mul_add(label[strand], strands[strand]);
                    }
                }
                let rest: f32 = rest.iter().zip(rest_of_label).map(|(middle, label)| middle * label).sum();
                *score = strands.iter().sum::<f32>() + rest + label[size];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_of_a_text_is_scored_and_none_beyond_it() {
        let (size, width, count) = (70, 3, 2);
        let number = |place: usize| ((place * 31 + 7) % 23) as f32 / 11.5 - 1.0;
        let numbers = |count: usize, from: usize| (from..from + count).map(number).collect::<Vec<_>>();
        let texts = [0..4, 4..4, 4..5];
        let (starts, ends) = (numbers(5 * size, 1), numbers(5 * size, 2));
        let labels = numbers(3 * count * (size + 1), 3);
        let spans = Spans { starts: &starts, ends: &ends, labels: &labels, size, width, count };
        let mut output = vec![f32::NAN; 5 * width * count];
        score(&spans, &texts, &mut output, Crew::Alone);
        for (text, words) in texts.iter().enumerate() {
            for (word, length, label) in words.clone().flat_map(|word| {
                (0..width).flat_map(move |length| (0..count).map(move |of| (word, length, of)))
            }) {
                let given = output[(word * width + length) * count + label];
                if word + length >= words.end {
                    assert_eq!(given, f32::NEG_INFINITY);
                    continue;
                }
                let of_label = &labels[(text * count + label) * (size + 1)..][..size + 1];
                let wanted: f64 = (0..size)
                    .map(|place| {
                        let sum = starts[word * size + place] + ends[(word + length) * size + place];
                        f64::from(sum.max(0.0)) * f64::from(of_label[place])
                    })
                    .sum::<f64>()
                    + f64::from(of_label[size]);
                assert!(
                    (f64::from(given) - wanted).abs() < 1e-4,
                    "{word}+{length} {label}: {given} {wanted}"
                );
            }
        }
    }
}
