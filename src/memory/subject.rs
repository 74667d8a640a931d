//! What is loaded and run: a model, and documents that fill a batch.

use std::io::Write;
use std::path::PathBuf;

use super::question::Question;
use crate::analysis::{self, MemoryRow};
use crate::knob::Candidate;
use crate::model;
use crate::provision::models::{self, Replica};
use crate::provision::registry;
use crate::record::{Failure, Footprint};
use crate::store::corpus_lines;
use crate::suite::Synthetic;
use crate::task::Task;

/// A model, and the documents that fill its batch.
pub struct Subject {
    pub name: String,
    pub task: Task,
    replica: bool,
    pub folder: Result<PathBuf, Failure>,
    pub corpus: tempfile::NamedTempFile,
}

/// The words of a document whose model doesn't say how much it reads: as much as BERT does.
const MOST_WORDS: usize = 512;

impl Subject {
    pub fn find(name: &str, question: &Question) -> anyhow::Result<Subject> {
        let own = registry::find(name).map_or(Task::Embed, |(_, model)| model.task);
        let task = question.task.unwrap_or(own);
        let replica = if question.replica { Replica::For(task) } else { Replica::Never };
        let home = models::resolve(name, replica);
        let folder =
            home.as_ref().map(|home| home.folder.clone()).map_err(|missing| Failure::from(missing.clone()));
        let most_tokens = || model::most_tokens(folder.as_ref().ok()?, task).ok();
        let asked = question.max_tokens.and_then(|tokens| usize::try_from(tokens).ok());
        // No word is less than a token, so that many words are cut.
        let words = asked.or_else(most_tokens).unwrap_or(MOST_WORDS);
        let documents = Synthetic {
            documents: question.batch as usize,
            median_words: words as f64,
            spread: 0.0,
            most_words: words,
            queries: usize::from(task == Task::Rerank),
            seed: 0,
        };
        let mut corpus = tempfile::Builder::new().prefix("autotune-").suffix(".jsonl").tempfile()?;
        corpus.write_all(corpus_lines(&documents.documents()).as_bytes())?;
        let replica = home.is_ok_and(|home| home.replica);
        Ok(Subject { name: name.to_owned(), task, replica, folder, corpus })
    }

    pub fn row(&self, device: &str, candidate: Candidate, footprint: Footprint) -> MemoryRow {
        let failure = footprint.failure.as_ref();
        MemoryRow {
            model: self.name.clone(),
            task: self.task,
            replica: self.replica,
            device: device.to_owned(),
            candidate,
            status: failure.map_or("ok", |failure| failure.status.name()).to_owned(),
            reason: failure.map(Failure::in_words),
            taken: analysis::taken(&footprint),
            footprint,
        }
    }
}
