//! How a text and the labels that are asked for become one row of tokens, as GLiNER was trained: each label behind a token of its
//! own, a token that ends them, and the text's words.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use tokenizers::{EncodeInput, InputSequence};

use super::encoding::{Encoding, Marks, Word};
use super::error::ModelError;

/// What stands in front of every text.
#[derive(Debug, Clone)]
pub struct Prompting {
    /// Words, as the tokenizer is given them.
    words: Vec<String>,
    labels: usize,
    /// Which of the tokens from a label's own on stands for it.
    at_label: usize,
    /// A text's words beyond these aren't read.
    most_words: usize,
}

/// What a model says of its prompts.
pub struct Form<'a> {
    pub label_token: &'a str,
    pub end_token: &'a str,
    /// Whether a label is told by the token in front of it, and not by the first of its own.
    pub token_stands_for_label: bool,
    pub most_words: usize,
}

impl Prompting {
    pub fn new(form: &Form, labels: &[String]) -> Result<Prompting, ModelError> {
        let unfit = |why: String| Err(ModelError::Unfit(why));
        if labels.is_empty() {
            return unfit("this model is asked for labels in words: give the stage `labels`".to_owned());
        }
        let taken = |label: &&String| label.contains(form.label_token) || label.contains(form.end_token);
        if let Some(label) = labels.iter().find(taken) {
            return unfit(format!("the label {label:?} has a token of the model's prompts in it"));
        }
        let mut words = Vec::with_capacity(2 * labels.len() + 1);
        for label in labels {
            words.extend([form.label_token.to_owned(), label.clone()]);
        }
        words.push(form.end_token.to_owned());
        let at_label = usize::from(!form.token_stands_for_label);
        Ok(Prompting { words, labels: labels.len(), at_label, most_words: form.most_words })
    }

    /// The tokens of a text with its prompt, and which of them stand for words and for labels.
    pub fn encode(&self, tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Encoding, String> {
        let word = |Range { start, end }: Range<usize>| Word { token: None, start, end };
        let words: Vec<Word> = words(text).take(self.most_words).map(word).collect();
        let of_text = words.iter().map(|word| &text[word.start..word.end]);
        let given: Vec<&str> = self.words.iter().map(String::as_str).chain(of_text).collect();
        let given = EncodeInput::Single(InputSequence::from(given));
        let encoded = tokenizer.encode(given, true).map_err(|error| error.to_string())?;
        let mut marks = Marks { words, labels: Vec::with_capacity(self.labels) };
        let mut last = None;
        for (token, word) in encoded.get_word_ids().iter().enumerate() {
            let Some(word) = word.map(|word| word as usize).filter(|_| *word != last) else { continue };
            last = Some(word as u32);
            match word.checked_sub(self.words.len()) {
                None if word % 2 == 0 && word / 2 < self.labels => {
                    marks.labels.push((token + self.at_label) as u32);
                }
                None => {}
                Some(place) => marks.words[place].token = Some(token as u32),
            }
        }
        let complete = marks.labels.len() == self.labels
            && marks.labels.iter().all(|token| (*token as usize) < encoded.len());
        if !complete {
            let most = encoded.len();
            return Err(format!("the {} labels don't fit into {most} tokens", self.labels));
        }
        let (ids, types) = (encoded.get_ids().to_vec(), encoded.get_type_ids().to_vec());
        Ok(Encoding { offsets: vec![(0, 0); ids.len()], ids, types, marks })
    }
}

/// Words, as GLiNER splits them: what Python's `\w` takes, joined by single hyphens; anything else that isn't space by itself.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    static WORD: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+(?:-[\p{L}\p{N}_]+)*|[^\s\x1C-\x1F]").ok());
    WORD.iter().flat_map(|word| word.find_iter(text)).map(|found| found.range())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_gliner_does() {
        let split = |text: &'static str| words(text).map(|word| &text[word]).collect::<Vec<_>>();
        assert_eq!(
            split("Jean-Luc_3 won't, e-mail--me!"),
            ["Jean-Luc_3", "won", "'", "t", ",", "e-mail", "-", "-", "me", "!"]
        );
        assert_eq!(split("-a- \u{1c}É² 東京🚄"), ["-", "a", "-", "É²", "東京", "🚄"]);
        assert_eq!(split(" \t\n\u{a0}"), Vec::<&str>::new());
    }
}
