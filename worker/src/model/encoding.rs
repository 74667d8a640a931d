//! A text as a network reads it. Knows no tokenizer.

/// A text as tokens. Vectors are of one length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    pub ids: Vec<u32>,
    /// Which of two texts a token belongs to, as the network wants it told; all zero for one text.
    pub types: Vec<u32>,
    /// The bytes of the document's text that a token stands for; empty for one that stands for none of them.
    pub offsets: Vec<(usize, usize)>,
    pub marks: Marks,
}

/// Which tokens stand for more than themselves, for networks that are asked for labels; of others there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The words of the text.
    pub words: Vec<Word>,
    /// The token that stands for each label.
    pub labels: Vec<u32>,
}

/// A word of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The first of its tokens. A character that no tokenizer sees has none, and stands for zeros.
    pub token: Option<u32>,
    /// Its bytes in the text.
    pub start: usize,
    pub end: usize,
}
