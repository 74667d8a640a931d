//! How a batch was laid out.

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Sizes {
    pub packed: bool,
    pub texts: usize,
    /// Places of the longest text, at least one.
    pub longest: usize,
    /// Rows of all texts, padding included where the batch has some.
    pub tokens: usize,
    /// Words of the text that has most of them, at least one, where words are picked.
    pub words: usize,
}
