//! What somebody wants to know of models' memory.

use crate::task::Task;

pub struct Question {
    /// Names, repositories or folders.
    pub models: Vec<String>,
    /// What they are to do, where it isn't what each is for.
    pub task: Option<Task>,
    pub devices: Vec<String>,
    pub backends: Vec<String>,
    pub dtypes: Vec<String>,
    /// Documents of the one batch.
    pub batch: u32,
    /// Tokens of each document; without, as many as the network reads.
    pub max_tokens: Option<u32>,
    pub rounds: u32,
    pub replica: bool,
}
