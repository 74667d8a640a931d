//! Where workers find what they're asked, and put what they answer.

use std::collections::HashMap;
use std::path::PathBuf;

#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// What is timed.
    pub corpus: PathBuf,
    /// What is judged instead, by the names of the stages that have labels.
    pub judged: HashMap<String, PathBuf>,
    /// A folder, in which each stage has its own.
    pub answers: PathBuf,
}
