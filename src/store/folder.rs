//! `results/runs/<time>-<suite>-<target>/`: made, locked, opened again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::journal::{Damage, Entry, Journal, RunHeader, Stamped, Torn};
use crate::answer::Answer;
use crate::item::Item;
use crate::record::{Origin, Recording, References};
use crate::suite::{Suite, digest};
use crate::worker::protocol::{Measured, implausible};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "can't write {path}: {error}. What was written before is whole; mend it and go on with --resume {folder}"
    )]
    Write { path: String, folder: String, error: io::Error },
    #[error("can't read {path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{folder} is in use by another autotune (process {holder}); wait for it or choose another --out")]
    Locked { folder: String, holder: String },
    #[error("{0} holds a run already; go on with it by --resume, or choose another --out")]
    Exists(String),
    #[error("{0} is not empty, and what is in it is no run; choose another --out")]
    Strange(String),
    #[error("{0} holds no run: there is no journal.jsonl with a header in it")]
    NoRun(String),
    #[error("{file}: {why}")]
    Changed { file: String, why: String },
    #[error(transparent)]
    Damage(#[from] Damage),
}

const LOCK: &str = "lock";

/// A run's folder, locked by this process for as long as the value lives.
pub struct RunFolder {
    path: PathBuf,
    journal: Journal,
    _lock: File,
}

/// What a journal says, read and not locked.
#[derive(Debug)]
pub struct Run {
    pub path: PathBuf,
    pub header: RunHeader,
    /// When it began.
    pub started: String,
    pub recordings: Vec<Recording>,
    /// The digest of each stage's right answers.
    pub references: HashMap<String, String>,
    /// Which configuration gave them.
    pub origins: HashMap<String, Origin>,
    /// What a resumed run's budget was changed to, if it was.
    pub budget: Option<String>,
    pub entries: Vec<Stamped>,
    pub torn: Option<Torn>,
}

impl RunFolder {
    /// Makes the folder of a new run, with its header and its corpus in it.
    pub fn create(path: &Path, header: RunHeader, documents: &[Item]) -> Result<RunFolder, StoreError> {
        fs::create_dir_all(path).map_err(write_error(path))?;
        // Files of other kinds may have the names that a run writes. A lock is what a run leaves first.
        let strange =
            !path.join(LOCK).exists() && fs::read_dir(path).map_err(read_error(path))?.next().is_some();
        if strange {
            return Err(StoreError::Strange(path.display().to_string()));
        }
        let lock = lock(path)?;
        let journal = path.join("journal.jsonl");
        if journal.exists() {
            match Run::read(path) {
                // Whoever made it was killed before there was a run in it.
                Err(StoreError::NoRun(_)) => fs::remove_file(&journal).map_err(write_error(&journal))?,
                _ => return Err(StoreError::Exists(path.display().to_string())),
            }
        }
        let corpus = path.join("corpus.jsonl");
        replace(&corpus, corpus_lines(documents).as_bytes()).map_err(write_error(&corpus))?;
        let run_json = path.join("run.json");
        let pretty = serde_json::to_string_pretty(&header).unwrap_or_default() + "\n";
        replace(&run_json, pretty.as_bytes()).map_err(write_error(&run_json))?;
        let mut opened = Journal::create(&journal).map_err(write_error(&journal))?;
        opened.append(Entry::Run(Box::new(header))).map_err(write_error(&journal))?;
        // The folder's own entry must be on the disk too, or a crash of the machine loses the file whole.
        let _ = File::open(path).and_then(|folder| folder.sync_all());
        Ok(RunFolder { path: path.to_owned(), journal: opened, _lock: lock })
    }

    /// Takes a run up again.
    pub fn resume(path: &Path) -> Result<(RunFolder, Run), StoreError> {
        if !path.join("journal.jsonl").is_file() {
            return Err(StoreError::NoRun(path.display().to_string()));
        }
        let lock = lock(path)?;
        let run = Run::read(path)?;
        let journal = path.join("journal.jsonl");
        let journal =
            Journal::reopen(&journal, run.entries.len(), run.torn.as_ref()).map_err(write_error(&journal))?;
        Ok((RunFolder { path: path.to_owned(), journal, _lock: lock }, run))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn corpus(&self) -> PathBuf {
        self.path.join("corpus.jsonl")
    }

    pub fn append(&mut self, entry: Entry) -> Result<Stamped, StoreError> {
        self.journal.append(entry).map_err(write_error(self.journal.path()))
    }

    /// Notes that a trial began, which is worth no wait for the disk.
    pub fn note(&mut self, entry: Entry) -> Result<Stamped, StoreError> {
        self.journal.note(entry).map_err(write_error(self.journal.path()))
    }

    /// Keeps the right answers of a stage, before the journal says that they are there, and returns their digest.
    pub fn keep_reference(&self, stage: &str, answers: &[Answer]) -> Result<String, StoreError> {
        let path = reference_path(&self.path, stage);
        let text = serde_json::to_string(answers).map_err(|error| write_error(&path)(error.into()))?;
        replace(&path, text.as_bytes()).map_err(write_error(&path))?;
        Ok(digest(&text))
    }

    /// The right answers that are still what the journal says they are. The others are asked for again.
    pub fn references(&self, run: &Run) -> References {
        let read = |(stage, wanted): (&String, &String)| {
            let text = fs::read_to_string(reference_path(&self.path, stage)).ok()?;
            let answers = (digest(&text) == *wanted).then(|| serde_json::from_str(&text).ok())??;
            Some((stage.clone(), answers))
        };
        run.references.iter().filter_map(read).collect()
    }

    /// Writes a file that is a function of the journal.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        write_file(&self.path, name, bytes)
    }
}

impl Run {
    /// Reads the run in `path` as it stands, whoever may be writing it.
    pub fn read(path: &Path) -> Result<Run, StoreError> {
        let journal = path.join("journal.jsonl");
        let bytes = match fs::read(&journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoRun(path.display().to_string()));
            }
            other => other.map_err(read_error(&journal))?,
        };
        let (entries, torn) = Journal::read(&journal.display().to_string(), &bytes)?;
        let Some(Stamped { entry: Entry::Run(header), at, .. }) = entries.first() else {
            return Err(StoreError::NoRun(path.display().to_string()));
        };
        let mut recordings = Vec::new();
        let (mut references, mut origins) = (HashMap::new(), HashMap::new());
        let mut budget = None;
        for stamped in &entries {
            match &stamped.entry {
                Entry::Trial(recording) => add(&mut recordings, recording),
                Entry::Reference { stage, digest, origin, .. } => {
                    references.insert(stage.clone(), digest.clone());
                    origins.extend(origin.clone().map(|origin| (stage.clone(), origin)));
                }
                Entry::Resumed { budget: Some(changed), .. } => budget = Some(changed.clone()),
                _ => {}
            }
        }
        let (header, started) = ((**header).clone(), at.clone());
        Ok(Run {
            path: path.to_owned(),
            header,
            started,
            recordings,
            references,
            origins,
            budget,
            entries,
            torn,
        })
    }

    /// The corpus that the run was begun with.
    pub fn documents(&self) -> Result<Vec<Item>, StoreError> {
        let path = self.path.join("corpus.jsonl");
        let text = fs::read_to_string(&path).map_err(read_error(&path))?;
        let changed =
            |why: &str| StoreError::Changed { file: path.display().to_string(), why: why.to_owned() };
        if digest(&text) != self.header.corpus_digest {
            return Err(changed("it is not the corpus that this run was begun with"));
        }
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|error| changed(&error.to_string())))
            .collect()
    }

    /// Checks that every trial is one of `suite`, recorded once, with figures that can be. Whatever reads a run may
    /// rely on it.
    pub fn check(&self, suite: &Suite) -> Result<(), Damage> {
        let is_known = |recording: &Recording| {
            let stage = suite.stages.iter().find(|stage| stage.name == recording.stage);
            stage.is_some_and(|stage| stage.space.contains(&recording.candidate))
        };
        let (mut seen, mut lacking) = (HashSet::new(), HashSet::new());
        for stamped in &self.entries {
            let Entry::Trial(recording) = &stamped.entry else { continue };
            // What wasn't available may be tried again by a later process.
            let key = (&recording.stage, &recording.id, recording.round);
            let again = lacking.contains(&key);
            if recording.was_not_available() {
                lacking.insert(key);
            } else {
                lacking.remove(&key);
            }
            let predicted = recording.predicted().and_then(|predicted| predicted.pass.as_ref());
            let implausible = recording.measured().and_then(Measured::implausible);
            let implausible = implausible.or_else(|| predicted.and_then(self::implausible));
            let why = if !is_known(recording) {
                "a trial of a candidate that the suite doesn't have".to_owned()
            } else if recording.id != recording.candidate.id() {
                "a trial whose id is not its candidate's".to_owned()
            } else if recording.round >= suite.rounds {
                format!("a trial of round {}, where there are {}", recording.round, suite.rounds)
            } else if !seen.insert((&recording.stage, &recording.id, recording.round)) && !again {
                "a trial that was recorded before".to_owned()
            } else if let Some(why) = implausible {
                why
            } else {
                continue;
            };
            let file = self.path.join("journal.jsonl").display().to_string();
            return Err(Damage { file, line: stamped.seq as usize + 1, why });
        }
        Ok(())
    }

    /// Whether the last word on the run is that it's finished.
    pub fn finished(&self) -> bool {
        self.entries.last().is_some_and(|stamped| stamped.entry == Entry::Finished)
    }

    /// Writes a file that is a function of the journal.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        write_file(&self.path, name, bytes)
    }
}

/// The documents as the worker reads them.
pub fn corpus_lines(documents: &[Item]) -> String {
    let line = |document: &Item| serde_json::to_string(document).unwrap_or_default() + "\n";
    documents.iter().map(line).collect()
}

/// Takes a recording in, in place of one of the same trial whose engine or model wasn't available then.
fn add(recordings: &mut Vec<Recording>, recording: &Recording) {
    let same = |other: &&mut Recording| {
        other.was_not_available()
            && (&other.stage, &other.id, other.round) == (&recording.stage, &recording.id, recording.round)
    };
    match recordings.iter_mut().find(same) {
        Some(before) => *before = recording.clone(),
        None => recordings.push(recording.clone()),
    }
}

fn reference_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("reference-{stage}.json"))
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(write_error(&path))?;
    match file.try_lock() {
        Ok(()) => {
            // Only for the message of whoever finds it locked.
            let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            Err(StoreError::Locked { folder: folder.display().to_string(), holder })
        }
        Err(TryLockError::Error(error)) => Err(write_error(&path)(error)),
    }
}

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(write_error(parent))?;
    }
    replace(&path, bytes).map_err(write_error(&path))?;
    Ok(path)
}

/// Writes a file so that it's there whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    // As any file that a program makes, less what the user's mask takes: services read these under other names.
    builder.suffix(".unfinished").permissions(fs::Permissions::from_mode(0o666));
    let mut file = builder.tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

fn write_error(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |error| StoreError::Write {
        path: path.display().to_string(),
        folder: path.parent().unwrap_or(path).display().to_string(),
        error,
    }
}

fn read_error(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |error| StoreError::Read { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_or_with_a_run_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        fs::create_dir(&path).unwrap();
        let held = lock(&path).unwrap();
        let error = lock(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        assert!(lock(&path).is_ok());
        assert!(matches!(RunFolder::resume(&path), Err(StoreError::NoRun(_))));
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
