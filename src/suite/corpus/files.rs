//! Documents in a file or a folder, and how they're to be read.

use super::fields::Fields;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Files {
    pub path: String,
    pub fields: Fields,
    /// Of files that aren't UTF-8.
    pub encoding: Option<String>,
    /// Which of a BEIR folder's judgements, where it has several.
    pub split: Option<String>,
}
