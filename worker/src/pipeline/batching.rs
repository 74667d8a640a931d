//! Which documents share a batch.

use super::settings::{Order, Settings};
use crate::item::Item;
use crate::model::Encoding;

/// The documents, as indices, in the order in which they go into batches.
pub fn order(documents: &[Item], settings: &Settings) -> Vec<usize> {
    let mut order: Vec<usize> = (0..documents.len()).collect();
    // By bytes, so that tokenising stays a part of each batch.
    let bytes = |index: usize| {
        let document = &documents[index];
        text(document, settings).len() + document.query.as_ref().map_or(0, String::len)
    };
    // Longest first: memory runs out at once or never.
    match settings.order {
        Order::Arrival => {}
        Order::Buckets => order.sort_by_cached_key(|&index| std::cmp::Reverse(bucket(bytes(index)))),
        Order::Length => order.sort_by_cached_key(|&index| std::cmp::Reverse(bytes(index))),
    }
    order
}

/// Lengths within a factor of the square root of two are alike.
fn bucket(bytes: usize) -> u32 {
    (2.0 * (bytes.max(1) as f64).log2()).ceil() as u32
}

/// What the network reads of a document's text, cut after `max_chars` characters.
pub fn text<'a>(document: &'a Item, settings: &Settings) -> &'a str {
    let end = settings
        .max_chars
        .and_then(|most| document.text.char_indices().nth(most))
        .map_or(document.text.len(), |(end, _)| end);
    &document.text[..end]
}

/// How many of `waiting` make the next batch: as many as the batch size and the budget of tokens allow, and at least one.
pub fn next_batch(waiting: &[Encoding], settings: &Settings) -> usize {
    let most = waiting.len().min(settings.batch_size);
    let Some(budget) = settings.batch_tokens else { return most };
    let (mut longest, mut sum) = (0, 0);
    for (count, encoding) in waiting[..most].iter().enumerate() {
        longest = longest.max(encoding.ids.len());
        sum += encoding.ids.len();
        // Padding takes its places, too.
        let places = if settings.packed { sum } else { longest * (count + 1) };
        if places > budget && count > 0 {
            return count;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(texts: &[&str]) -> Vec<Item> {
        texts.iter().map(|text| Item { text: text.to_string(), query: None }).collect()
    }

    fn tokens(lengths: &[usize]) -> Vec<Encoding> {
        lengths.iter().map(|&length| Encoding { ids: vec![1; length], ..Encoding::default() }).collect()
    }

    #[test]
    fn documents_go_as_they_come_or_with_those_of_like_length() {
        let documents = documents(&["aa", "a", "aaaaaa", "aaaaa", ""]);
        let order = |order| super::order(&documents, &Settings { order, ..Settings::default() });
        assert_eq!(order(Order::Arrival), [0, 1, 2, 3, 4]);
        assert_eq!(order(Order::Length), [2, 3, 0, 1, 4]);
        // A bucket keeps the order of arrival.
        let texts: Vec<String> = [90, 91, 10, 89].map(|length| "a".repeat(length)).to_vec();
        let documents: Vec<_> = texts.iter().map(|text| Item { text: text.clone(), query: None }).collect();
        let settings = Settings { order: Order::Buckets, ..Settings::default() };
        assert_eq!(super::order(&documents, &settings), [1, 0, 3, 2]);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let settings = Settings { max_chars: Some(2), ..Settings::default() };
        assert_eq!(text(&documents(&["éàü"])[0], &settings), "éà");
        assert_eq!(text(&documents(&["é"])[0], &settings), "é");
    }

    #[test]
    fn a_budget_of_tokens_counts_padding_where_there_is_some() {
        let waiting = tokens(&[4, 2, 2, 2]);
        let count = |batch_size, batch_tokens, packed| {
            next_batch(&waiting, &Settings { batch_size, batch_tokens, packed, ..Settings::default() })
        };
        assert_eq!(count(3, None, false), 3);
        assert_eq!(count(8, Some(8), false), 2);
        assert_eq!(count(8, Some(8), true), 3);
        // A text longer than the budget goes by itself.
        assert_eq!(count(8, Some(3), false), 1);
        assert_eq!(next_batch(&[], &Settings::default()), 0);
    }
}
