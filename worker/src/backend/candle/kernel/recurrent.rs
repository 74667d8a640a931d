//! Words read one after the other, in both directions (an LSTM). Texts go side by side, so that each step reads the weights once for
//! all of them.

use std::ops::Range;
use std::sync::Mutex;

use super::exp::exp;
use super::product::{Finish, Panels, multiply};
use super::{Crew, stretches};

/// What one direction takes from a word to the next.
pub struct Direction {
    pub weights: Panels,
    pub bias: Vec<f32>,
    /// Numbers of its state.
    pub size: usize,
}

/// Reads each sequence of rows. A row of `gates` holds what a word brings to the four gates of the one direction and then of the
/// other; a row of the output, what both have made of it.
pub fn read(
    directions: &[Direction; 2],
    gates: &[f32],
    sequences: &[Range<usize>],
    output: &mut [f32],
    crew: Crew,
) {
    let mut longest_first: Vec<&Range<usize>> = sequences.iter().filter(|words| !words.is_empty()).collect();
    longest_first.sort_by_key(|words| std::cmp::Reverse(words.len()));
    let most = longest_first.len().div_ceil(crew.threads().div_ceil(2)).max(1);
    let tasks = stretches(longest_first.len(), most).flat_map(|some| [(0, some.clone()), (1, some)]);
    let size = directions[0].size;
    let rows = Mutex::new(output.chunks_exact_mut(2 * size).collect::<Vec<_>>());
    crew.each(tasks, |(which, some)| {
        let texts = &longest_first[some];
        for (text, states) in texts.iter().zip(one_way(&directions[which], which, gates, texts)) {
            let mut rows = rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (row, state) in rows[text.start..text.end].iter_mut().zip(states.chunks_exact(size)) {
                row[which * size..(which + 1) * size].copy_from_slice(state);
            }
        }
    });
}

/// Of each text the states of its words, in their order. The longest text comes first.
fn one_way(direction: &Direction, which: usize, gates: &[f32], texts: &[&Range<usize>]) -> Vec<Vec<f32>> {
    let size = direction.size;
    let mut states: Vec<Vec<f32>> = texts.iter().map(|words| vec![0.0; words.len() * size]).collect();
    let mut hidden = vec![0.0; texts.len() * size];
    let mut cells = vec![0.0; texts.len() * size];
    let mut brought = vec![0.0; texts.len() * 4 * size];
    let finish = Finish { bias: Some(&direction.bias), activation: None };
    for step in 0..texts.first().map_or(0, |words| words.len()) {
        let going_on = texts.partition_point(|words| words.len() > step);
        let (hidden, brought) = (&mut hidden[..going_on * size], &mut brought[..going_on * 4 * size]);
        multiply(&direction.weights, hidden, going_on, finish, brought, Crew::Alone);
        let each = hidden.chunks_exact_mut(size).zip(cells.chunks_exact_mut(size));
        let each = each.zip(brought.chunks_exact(4 * size)).zip(texts).zip(&mut states);
        for ((((hidden, cell), brought), words), states) in each {
            let place = if which == 0 { step } else { words.len() - 1 - step };
            let of_word = &gates[(2 * (words.start + place) + which) * 4 * size..][..4 * size];
            take(of_word, brought, cell, hidden);
            states[place * size..(place + 1) * size].copy_from_slice(hidden);
        }
    }
    states
}

vectorised! {
    /// One word: what it and the state before it bring to the gates, and what becomes of the state.
    fn take(of_word: &[f32], of_state: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
        let size = hidden.len();
        let gate = |which: usize| (&of_word[which * size..][..size], &of_state[which * size..][..size]);
        let (inward, forget, candidate, outward) = (gate(0), gate(1), gate(2), gate(3));
        let cell = &mut cell[..size];
        for place in 0..size {
            let sum = |gate: (&[f32], &[f32])| gate.0[place] + gate.1[place];
            let open = |x: f32| 1.0 / (1.0 + exp(-x));
            let tanh = |x: f32| 1.0 - 2.0 / (1.0 + exp(2.0 * x));
            cell[place] = open(sum(forget)) * cell[place] + open(sum(inward)) * tanh(sum(candidate));
            hidden[place] = open(sum(outward)) * tanh(cell[place]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One text after the other, word by word, in double precision.
    fn by_hand(weights: &[f32], bias: &[f32], size: usize, gates: &[&[f32]]) -> Vec<f64> {
        let (mut hidden, mut cell) = (vec![0.0f64; size], vec![0.0f64; size]);
        let mut all = Vec::new();
        for word in gates {
            let sums: Vec<f64> = (0..4 * size)
                .map(|gate| {
                    let of_state = weights[gate * size..(gate + 1) * size].iter().zip(&hidden);
                    let of_state: f64 = of_state.map(|(weight, state)| f64::from(*weight) * state).sum();
                    f64::from(word[gate]) + f64::from(bias[gate]) + of_state
                })
                .collect();
            let open = |x: f64| 1.0 / (1.0 + (-x).exp());
            for place in 0..size {
                let gate = |which: usize| sums[which * size + place];
                cell[place] = open(gate(1)) * cell[place] + open(gate(0)) * gate(2).tanh();
                hidden[place] = open(gate(3)) * cell[place].tanh();
            }
            all.extend_from_slice(&hidden);
        }
        all
    }

    #[test]
    fn texts_side_by_side_are_read_as_each_by_itself() {
        let size = 6;
        let number = |place: usize| ((place * 7919 + 13) % 97) as f32 / 48.5 - 1.0;
        let weights: Vec<f32> = (0..4 * size * size).map(number).collect();
        let bias: Vec<f32> = (0..4 * size).map(|place| 0.1 * number(place)).collect();
        let direction = || {
            let mut panels = Panels::new(4 * size, size);
            panels.fill(0, &weights);
            Direction { weights: panels, bias: bias.clone(), size }
        };
        let sequences = [0..3, 3..3, 3..4, 4..11];
        let gates: Vec<f32> = (0..11 * 8 * size).map(|place| number(place + 5)).collect();
        for crew in [Crew::Alone, Crew::All] {
            let mut output = vec![f32::NAN; 11 * 2 * size];
            read(&[direction(), direction()], &gates, &sequences, &mut output, crew);
            for words in &sequences {
                for which in 0..2 {
                    let mut order: Vec<usize> = words.clone().collect();
                    if which == 1 {
                        order.reverse();
                    }
                    let of = |word: &usize| &gates[(2 * word + which) * 4 * size..][..4 * size];
                    let wanted = by_hand(&weights, &bias, size, &order.iter().map(of).collect::<Vec<_>>());
                    for (word, wanted) in order.iter().zip(wanted.chunks(size)) {
                        let given = &output[word * 2 * size + which * size..][..size];
                        for (given, wanted) in given.iter().zip(wanted) {
                            assert!((f64::from(*given) - wanted).abs() < 1e-6, "{word}: {given} {wanted}");
                        }
                    }
                }
            }
        }
    }
}
