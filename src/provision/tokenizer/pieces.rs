//! What the tokenizers of replicas can read: pieces of words, such that a word is as many tokens as with a real
//! tokenizer on real text.
//!
//! The words of synthetic corpora are made of syllables, which no real tokenizer has learned: theirs are about three
//! tokens each. Here they are one and a half, as real words are, so that a document of so many words costs what a real
//! one costs.

use std::collections::HashSet;

use crate::suite::SYLLABLES;

/// Alphabets besides ASCII, for vocabularies that have room: Latin, Greek, Cyrillic, Arabic, kana, common ideographs.
const ALPHABETS: [(u32, u32); 6] =
    [(0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x600, 0x6FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF)];

#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub text: String,
    /// Whether it begins a word.
    pub initial: bool,
    /// The logarithm of its probability, roughly: the likelier of two ways to cut a word is the one of fewer pieces.
    pub score: f64,
}

/// Pieces, the most needed first, none twice.
pub fn pieces(cased: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut add = |text: String, initial: bool, score: f64| pieces.push(Piece { text, initial, score });
    for character in ('!'..='~').filter(|character| cased || !character.is_ascii_uppercase()) {
        add(character.into(), true, -12.0);
        add(character.into(), false, -12.0);
    }
    let pairs = || SYLLABLES.iter().flat_map(|first| SYLLABLES.map(|second| format!("{first}{second}")));
    SYLLABLES.iter().for_each(|one| add(one.to_string(), false, -11.0));
    SYLLABLES.iter().for_each(|one| add(one.to_string(), true, -11.0));
    pairs().for_each(|pair| add(pair, true, -10.5));
    // Of three syllables every other combination: words of three are one token or two.
    let threes = pairs().flat_map(|pair| SYLLABLES.map(|third| format!("{pair}{third}")));
    threes.enumerate().filter(|(place, _)| place % 2 == 0).for_each(|(_, three)| add(three, true, -10.5));
    pairs().for_each(|pair| add(pair, false, -10.5));

    let lines = include_str!("words.txt").lines().filter(|line| !line.starts_with('#'));
    for (rank, word) in lines.flat_map(str::split_whitespace).enumerate() {
        let score = -5.0 - (rank as f64 + 1.0).ln() / 2.0;
        match word.strip_prefix('-') {
            Some(ending) => add(ending.to_owned(), false, score),
            None => {
                add(word.to_owned(), true, score);
                let capital = word[..1].to_ascii_uppercase() + &word[1..];
                if cased {
                    add(capital, true, score - 1.0);
                }
            }
        }
    }
    let letters = || ('a'..='z').map(String::from);
    let longer = |texts: Vec<String>| {
        texts.into_iter().flat_map(move |text| letters().map(move |end| text.clone() + &end))
    };
    let twos: Vec<String> = longer(letters().collect()).collect();
    for initial in [false, true] {
        twos.iter().for_each(|two| add(two.clone(), initial, -11.5));
    }
    for initial in [false, true] {
        longer(twos.clone()).for_each(|three| add(three, initial, -11.0));
    }
    let foreign = ALPHABETS.iter().flat_map(|(first, last)| (*first..=*last).filter_map(char::from_u32));
    for character in
        foreign.filter(|character| character.is_alphanumeric() && (cased || !character.is_uppercase()))
    {
        add(character.into(), true, -12.0);
        add(character.into(), false, -12.0);
    }
    let mut seen = HashSet::new();
    pieces.retain(|piece| seen.insert((piece.text.clone(), piece.initial)));
    pieces
}
