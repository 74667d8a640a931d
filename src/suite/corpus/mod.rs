//! The documents that a suite measures on and is judged by: read from files as people have them, or made from a seed.
//!
//! `bytes.rs` makes text of a file, one file a form turns that into documents ([`Library`]), and `judged.rs` makes of these what a
//! stage is judged by. Models are given [`Item`]s and never see what people say of them ([`Gold`]).

mod apart;
mod beir;
mod bm25;
mod bytes;
mod fields;
mod files;
mod gold;
mod judged;
mod library;
mod lines;
mod part;
mod synthetic;
mod table;
mod texts;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::source::Folder;
use crate::item::Item;

pub use apart::apart;
pub use bm25::Bm25;
pub use fields::Fields;
pub use files::Files;
pub use gold::{Gold, Labelled, Pair, Pairs, Retrieval};
pub use judged::{Judging, Slice};
pub use library::Library;
pub use part::part;
pub use synthetic::{SYLLABLES, Synthetic};

/// Where the documents come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Files(Files),
    Synthetic(Synthetic),
}

/// Everything that is made of a suite's corpus.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Material {
    /// What is timed.
    pub documents: Vec<Item>,
    /// Others, which the best are confirmed on. Of a small corpus there are none.
    pub fresh: Vec<Item>,
    /// What stages are judged by that have labels, by their names. The others are judged on what is timed.
    pub judging: IndexMap<String, Judging>,
    /// What a user should hear of the corpus, once.
    pub notes: Vec<String>,
}

impl Material {
    /// What the best are confirmed on: documents that nobody is chosen by, where there are some.
    pub fn confirming(&self) -> &[Item] {
        if self.fresh.is_empty() { &self.documents } else { &self.fresh }
    }
}

/// Reads a corpus of whatever form its path tells.
pub fn read(files: &Files, folder: &Folder) -> Result<Library, String> {
    let path = Path::new(&files.path);
    let Some(list) = folder.list(path)? else {
        let bytes = folder.bytes(path)?;
        let (name, text) = bytes::text(&files.path, bytes, files.encoding.as_deref())?;
        let library = match ending(&name) {
            "jsonl" | "ndjson" => lines::read(&name, &text, &files.fields)?,
            "csv" | "tsv" => table::read(&name, &text, &files.fields)?,
            "md" => Library::of_texts(vec![(name, text)]),
            _ => Library::of_texts(texts::of_lines(&text)),
        };
        return library.or_empty(&files.path);
    };
    let text = |file: &PathBuf| {
        let name = file.display().to_string();
        bytes::text(&name, folder.bytes(file)?, files.encoding.as_deref())
    };
    let is_beir = list.iter().any(|file| beir::is_called(file, path, beir::CORPUS));
    let library = if is_beir {
        beir::read(path, &list, text, files)?
    } else {
        let found = list.iter().filter(|file| texts::is_text(file)).map(text);
        Library::of_texts(found.collect::<Result<_, _>>()?)
    };
    library.or_empty(&files.path)
}

/// The ending of a name, in small letters.
fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}
