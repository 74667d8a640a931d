//! Why answers can't be compared.

use std::io;

/// Why answers are wrong, whatever the speed at which they came.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Wrong {
    #[error("{given} answers for {wanted} documents")]
    Count { given: usize, wanted: usize },
    #[error("document {document}: an answer to the task {given}, expected {wanted}")]
    Kind { document: usize, given: &'static str, wanted: &'static str },
    #[error("document {document}: a vector of {given} numbers, the reference has {wanted}")]
    Width { document: usize, given: usize, wanted: usize },
    #[error("document {document}: an answer that is not a finite number")]
    NotFinite { document: usize },
    #[error("document {document}: a span from {start} to {end} in a text of {length} bytes")]
    Outside { document: usize, start: usize, end: usize, length: usize },
    #[error("nothing to compare: {0}")]
    Nothing(&'static str),
    #[error("the file of answers can't be read: {0}")]
    Unreadable(String),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Wrong::Unreadable(error.to_string())
    }
}
