//! What can be wrong with a model's folder.

use std::path::{Path, PathBuf};

/// Names the file and what is wrong in it. A folder comes from anywhere, so none of this is a mistake of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("{}: {why}", .file.display())]
    File { file: PathBuf, why: String },
    #[error("unsupported architecture {name:?}; supported: {known}")]
    Architecture { name: String, known: String },
    #[error("config.json: {0}")]
    Config(String),
    #[error("the checkpoint has no tensor {0:?}")]
    Missing(String),
    #[error("the checkpoint's {name:?} has the shape {found:?}, but config.json requires {wanted:?}")]
    Shape { name: String, found: Vec<usize>, wanted: Vec<usize> },
    /// The model is whole, and does something else.
    #[error("{0}")]
    Unfit(String),
}

impl ModelError {
    pub fn file(file: &Path, why: impl ToString) -> ModelError {
        ModelError::File { file: file.to_owned(), why: why.to_string() }
    }
}
