//! Which documents share a batch, and how their tokens are laid out in it.

use std::borrow::Cow;

use super::Settings;
use crate::backend::{Batch, Encoding};
use crate::task::Document;

/// The members of each batch, as indices into `documents`.
pub fn plan(documents: &[Document], settings: &Settings) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..documents.len()).collect();
    if settings.by_length {
        // By bytes, so that tokenising stays a part of each batch. Longest first: memory runs out at once or never.
        order.sort_by_cached_key(|&index| std::cmp::Reverse(text(&documents[index], settings).len()));
    }
    order.chunks(settings.batch_size.max(1)).map(<[usize]>::to_vec).collect()
}

/// What the network reads of a document: its query if it has one, then its text, cut after `max_chars` characters.
pub fn text<'a>(document: &'a Document, settings: &Settings) -> Cow<'a, str> {
    let end = settings
        .max_chars
        .and_then(|most| document.text.char_indices().nth(most))
        .map_or(document.text.len(), |(end, _)| end);
    let text = &document.text[..end];
    match &document.query {
        Some(query) => Cow::Owned(format!("{query}\n{text}")),
        None => Cow::Borrowed(text),
    }
}

/// Bytes of [`text`] in front of the document's own.
pub fn query_bytes(document: &Document) -> usize {
    document.query.as_ref().map_or(0, |query| query.len() + 1)
}

/// Lays encodings out as rows of one length.
pub fn pad(encodings: &[Encoding]) -> Batch {
    let padded = encodings.iter().map(|encoding| encoding.ids.len()).max().unwrap_or(0);
    let mut ids = Vec::with_capacity(padded * encodings.len());
    for (row, encoding) in encodings.iter().enumerate() {
        ids.extend_from_slice(&encoding.ids);
        ids.resize((row + 1) * padded, 0);
    }
    Batch { ids, lengths: encodings.iter().map(|encoding| encoding.ids.len()).collect(), padded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(batch_size: usize, by_length: bool) -> Settings {
        Settings { batch_size, max_tokens: None, max_chars: None, by_length }
    }

    fn documents(texts: &[&str]) -> Vec<Document> {
        texts.iter().map(|text| Document { text: text.to_string(), query: None }).collect()
    }

    #[test]
    fn batches_take_documents_as_they_come_or_by_length() {
        let documents = documents(&["aa", "a", "aaaa", "aaa", ""]);
        assert_eq!(plan(&documents, &settings(2, false)), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(plan(&documents, &settings(2, true)), [vec![2, 3], vec![0, 1], vec![4]]);
        assert!(plan(&[], &settings(2, true)).is_empty());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let settings = Settings { max_chars: Some(2), ..settings(1, false) };
        assert_eq!(text(&documents(&["éàü"])[0], &settings), "éà");
        assert_eq!(text(&documents(&["é"])[0], &settings), "é");
        let pair = Document { text: "long text".into(), query: Some("why?".into()) };
        assert_eq!(text(&pair, &settings), "why?\nlo");
        assert_eq!(query_bytes(&pair), 5);
    }

    #[test]
    fn rows_are_padded_to_the_longest() {
        let encoding = |ids: &[u32]| Encoding { ids: ids.to_vec(), offsets: vec![(0, 0); ids.len()] };
        let batch = pad(&[encoding(&[1]), encoding(&[]), encoding(&[2, 3])]);
        assert_eq!(batch, Batch { ids: vec![1, 0, 0, 0, 2, 3], lengths: vec![1, 0, 2], padded: 2 });
        assert_eq!(batch.rows().collect::<Vec<_>>(), [&[1][..], &[], &[2, 3]]);
        let empty = pad(&[encoding(&[]), encoding(&[])]);
        assert_eq!(empty.rows().count(), 2);
    }
}
