//! An append-only file of events, one JSON object a line, each with its number and its checksum.
//!
//! A line that was cut short by a crash can only be the last one: it's dropped with a warning. Anything else that
//! doesn't read is damage, and an error that names the line.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::hardware::{Machine, Target};
use crate::record::{Checks, Finalists, Leaving, Origin, Part, Prior, Recording, Served, Stop, Why};
use crate::runner::shell_line;
use crate::suite::{Overrides, SuiteSource};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line, and only that.
    Run(Box<RunHeader>),
    /// The reference's answers are in the folder.
    Reference {
        stage: String,
        version: String,
        digest: String,
        seconds: f64,
        /// Older runs don't say: it was the suite's reference on the target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// A stage is measured on a part of its corpus, which takes this long to find out.
    Shortened {
        stage: String,
        part: Part,
        seconds: f64,
    },
    Began {
        stage: String,
        id: String,
        round: u32,
        /// Why the search chose it: in the first round, and of runs that say so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Why>,
    },
    /// A candidate isn't measured from this round on.
    Left {
        stage: String,
        id: String,
        round: u32,
        why: Leaving,
    },
    /// The search of a stage has nothing more to try.
    Stopped {
        stage: String,
        why: Stop,
    },
    Trial(Box<Recording>),
    /// The best of a stage are measured again.
    Finalists {
        stage: String,
        #[serde(flatten)]
        finalists: Finalists,
    },
    /// A trial of one of them, or of the default configuration beside them.
    Confirmed(Box<Recording>),
    /// One of them was checked for what figures don't tell.
    Checked {
        stage: String,
        id: String,
        checks: Checks,
        seconds: f64,
    },
    /// What was seen of the service, once its stages had their winners.
    Served(Box<Served>),
    /// A later process took the run up again.
    Resumed {
        revision: String,
        /// What it changed the budget to. The last one holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<String>,
    },
    /// Everything was measured that the budget allowed.
    Finished,
    Interrupted {
        signal: u8,
    },
}

/// Everything that a run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    pub version: String,
    pub revision: String,
    pub command_line: Vec<String>,
    pub source: SuiteSource,
    pub overrides: Overrides,
    pub suite_digest: String,
    pub corpus_digest: String,
    /// Of the documents that the best are confirmed on, where these are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_digest: Option<String>,
    /// What stages are judged by that have labels, by their names: the digest of their items and of what people say of these.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub judging_digests: IndexMap<String, String>,
    pub target: Target,
    pub machine: Machine,
    /// What another run told of this one's candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<Prior>,
}

impl RunHeader {
    /// The command, as a shell takes it.
    pub fn command(&self) -> String {
        shell_line(&self.command_line)
    }
}

/// An entry with its number, from 0, and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    pub seq: u64,
    pub at: String,
    #[serde(flatten)]
    pub entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: the journal is damaged: {why}")]
pub struct Damage {
    pub file: String,
    pub line: usize,
    pub why: String,
}

/// A last line that was cut short, and how long the journal is without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub line: usize,
    pub whole_bytes: u64,
}

pub struct Journal {
    file: File,
    path: PathBuf,
    next_seq: u64,
}

impl Journal {
    pub fn create(path: &Path) -> io::Result<Journal> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Journal { file, path: path.to_owned(), next_seq: 0 })
    }

    /// Opens a journal that was read before to append to it. What was torn off is cut off.
    pub fn reopen(path: &Path, entries: usize, torn: Option<&Torn>) -> io::Result<Journal> {
        let file = OpenOptions::new().append(true).open(path)?;
        if let Some(torn) = torn {
            file.set_len(torn.whole_bytes)?;
            file.sync_data()?;
        }
        Ok(Journal { file, path: path.to_owned(), next_seq: entries as u64 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an entry and waits until it's on the disk.
    pub fn append(&mut self, entry: Entry) -> io::Result<Stamped> {
        let stamped = self.note(entry)?;
        self.file.sync_data()?;
        Ok(stamped)
    }

    /// Writes an entry that may be lost with the machine, though not with the process.
    pub fn note(&mut self, entry: Entry) -> io::Result<Stamped> {
        let stamped = Stamped { seq: self.next_seq, at: jiff::Timestamp::now().to_string(), entry };
        let line = seal(&serde_json::to_string(&stamped)?);
        let before = self.file.seek(io::SeekFrom::End(0))?;
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // A full disk takes half a line. Without it the journal stays whole; if even that fails it's torn.
            let _ = self.file.set_len(before);
            return Err(error);
        }
        self.next_seq += 1;
        Ok(stamped)
    }

    /// Reads a journal: its entries, and the last line if it was cut short.
    pub fn read(name: &str, bytes: &[u8]) -> Result<(Vec<Stamped>, Option<Torn>), Damage> {
        let mut entries = Vec::new();
        let mut offset = 0;
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let damage = |why: String| Damage { file: name.to_owned(), line: index + 1, why };
            if !line.ends_with(b"\n") {
                // Nothing is cut short but what was being written, so it says nothing that anybody acted on.
                return Ok((entries, Some(Torn { line: index + 1, whole_bytes: offset })));
            }
            let stamped = open(line).map_err(damage)?;
            if stamped.seq != index as u64 {
                return Err(damage(format!("found entry {} where entry {index} is expected", stamped.seq)));
            }
            if matches!(stamped.entry, Entry::Run(_)) != (index == 0) {
                return Err(damage(
                    "the header must be the first entry, and there must be only one".to_owned(),
                ));
            }
            entries.push(stamped);
            offset += line.len() as u64;
        }
        Ok((entries, None))
    }
}

const CHECKSUM: &str = ",\"crc\":\"";

/// Puts the checksum of an object in as its last field, and ends the line.
pub fn seal(object: &str) -> String {
    let body = object.strip_suffix('}').unwrap_or(object);
    format!("{body}{CHECKSUM}{:08x}\"}}\n", crc32fast::hash(object.as_bytes()))
}

fn open(line: &[u8]) -> Result<Stamped, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?.trim_end_matches('\n');
    let (body, checksum) = line.rsplit_once(CHECKSUM).ok_or("it has no checksum")?;
    let object = format!("{body}}}");
    if checksum.strip_suffix("\"}") != Some(format!("{:08x}", crc32fast::hash(object.as_bytes())).as_str()) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_str(&object).map_err(|error| error.to_string())
}

#[cfg(test)]
pub fn test_header() -> RunHeader {
    RunHeader {
        version: "0".into(),
        revision: "r".into(),
        command_line: vec![],
        source: SuiteSource {
            name: "s".into(),
            file: "s.toml".into(),
            text: String::new(),
            folder: crate::suite::Folder::BuiltIn,
        },
        overrides: Overrides::default(),
        suite_digest: String::new(),
        corpus_digest: String::new(),
        fresh_digest: None,
        judging_digests: IndexMap::new(),
        target: Target { name: "cpu".into(), description: "t".into(), ..Target::default() },
        machine: Machine::default(),
        prior: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        let stamped = Stamped { seq, at: "2026-11-21T00:00:00Z".into(), entry: Entry::Finished };
        seal(&serde_json::to_string(&stamped).unwrap())
    }

    fn read(text: &str) -> Result<(usize, Option<Torn>), String> {
        let bytes = text.as_bytes();
        Journal::read("journal.jsonl", bytes)
            .map(|(entries, torn)| (entries.len(), torn))
            .map_err(|error| error.to_string())
    }

    fn header() -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        journal.append(Entry::Run(Box::new(test_header()))).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_cut_last_line_is_dropped_and_other_damage_is_named() {
        let whole = header() + &line(1) + &line(2);
        assert_eq!(read(&whole), Ok((3, None)));
        let cut = &whole[..whole.len() - 5];
        let (entries, torn) = read(cut).unwrap();
        let torn = torn.unwrap();
        assert_eq!((entries, torn.line), (2, 3));
        assert_eq!(torn.whole_bytes as usize, whole.len() - line(2).len());

        let changed = whole.replace("finished", "finishes");
        assert_eq!(
            read(&changed).unwrap_err(),
            "journal.jsonl:2: the journal is damaged: its checksum is wrong"
        );
        let lost = header() + &line(2);
        assert!(read(&lost).unwrap_err().starts_with("journal.jsonl:2:"));
        assert!(read(&line(0)).unwrap_err().contains("the header must be the first entry"));
        assert!(read(&(header() + "\n")).unwrap_err().contains("no checksum"));
    }

    #[test]
    fn a_journal_is_taken_up_after_its_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let whole = header() + &line(1);
        std::fs::write(&path, whole.clone() + "{\"seq\":2,\"at\":\"20").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (entries, torn) = Journal::read("journal.jsonl", &bytes).unwrap();
        let mut journal = Journal::reopen(&path, entries.len(), torn.as_ref()).unwrap();
        journal.append(Entry::Interrupted { signal: 2 }).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (entries, torn) = Journal::read("journal.jsonl", &bytes).unwrap();
        assert_eq!((entries.len(), torn), (3, None));
        assert_eq!(entries[2].entry, Entry::Interrupted { signal: 2 });
    }
}
