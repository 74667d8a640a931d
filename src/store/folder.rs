//! `results/runs/<time>-<suite>-<target>/`: made, locked, opened again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::journal::{Damage, Entry, Journal, RunHeader, Stamped, Torn};
use indexmap::IndexMap;

use crate::answer::digest_of;
use crate::item::Item;
use crate::quality::{Reference, References};
use crate::record::{Origin, Part, Recording, Served};
use crate::runner::{Paths, RIGHT};
use crate::suite::{Gold, Judging, Material, digest};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "can't write {path}: {error}. Everything written before is intact. Fix the cause, then continue with \
         --resume {folder}"
    )]
    Write { path: String, folder: String, error: io::Error },
    #[error("can't read {path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{folder} is in use by another autotune (process {holder}); wait for it or choose another --out")]
    Locked { folder: String, holder: String },
    #[error("{0} already contains a run; continue it with --resume, or choose another --out")]
    Exists(String),
    #[error("{0} is not empty and doesn't contain a run; choose another --out")]
    Strange(String),
    #[error("{0} doesn't contain a run: it has no journal.jsonl with a header")]
    NoRun(String),
    #[error("{file}: {why}")]
    Changed { file: String, why: String },
    #[error(transparent)]
    Damage(#[from] Damage),
}

const LOCK: &str = "lock";
const CORPUS: &str = "corpus.jsonl";
const FRESH: &str = "fresh.jsonl";
const ANSWERS: &str = "answers";
/// Answers that are kept until a stage is done, so that the winner's are among them.
const MOST_KEPT_BYTES: u64 = 2 << 30;

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
    pub fn create(path: &Path, header: RunHeader, material: &Material) -> Result<RunFolder, StoreError> {
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
        lay_out(path, material)?;
        for (stage, judging) in &material.judging {
            let gold = gold_path(path, stage);
            replace(&gold, gold_text(&judging.gold).as_bytes()).map_err(write_error(&gold))?;
        }
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

    /// Where workers find what they're asked, and put what they answer.
    pub fn paths(&self, material: &Material) -> Paths {
        paths(&self.path, material)
    }

    pub fn append(&mut self, entry: Entry) -> Result<Stamped, StoreError> {
        self.journal.append(entry).map_err(write_error(self.journal.path()))
    }

    /// Notes that a trial began, which is worth no wait for the disk.
    pub fn note(&mut self, entry: Entry) -> Result<Stamped, StoreError> {
        self.journal.note(entry).map_err(write_error(self.journal.path()))
    }

    /// Writes a part of a stage's corpus, for workers to read.
    pub fn keep_part(&self, stage: &str, documents: &[Item]) -> Result<PathBuf, StoreError> {
        let path = part_path(&self.path, stage);
        replace(&path, corpus_lines(documents).as_bytes()).map_err(write_error(&path))?;
        Ok(path)
    }

    /// Takes the file of a part away that is not to be measured.
    pub fn drop_part(&self, stage: &str) {
        // What can't be deleted is in nobody's way.
        let _ = fs::remove_file(part_path(&self.path, stage));
    }

    /// Sees that right answers are on the disk before the journal says so.
    pub fn keep_reference(&self, reference: &Reference) -> Result<(), StoreError> {
        let path = reference.path();
        File::open(path).and_then(|file| file.sync_all()).map_err(write_error(path))
    }

    /// The right answers that are still what the journal says they are. The others are asked for again.
    pub fn references(&self, run: &Run) -> References {
        let read = |(stage, wanted): (&String, &String)| {
            let own = self.answers_of(stage).into_iter().find(|(name, _)| name == RIGHT)?.1;
            let same = digest_of(&own).is_ok_and(|digest| digest == *wanted);
            Some((stage.clone(), same.then(|| Reference::open(&own).ok())??))
        };
        run.references.iter().filter_map(read).collect()
    }

    /// Keeps of a stage's answers the reference's, and of candidates those of `wanted`, the best first, as far as there is room.
    pub fn keep_answers(&self, stage: &str, wanted: &[String]) {
        let answers = self.answers_of(stage);
        let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        let mut room = MOST_KEPT_BYTES;
        let mut kept: HashSet<&Path> = HashSet::new();
        for (place, id) in wanted.iter().enumerate() {
            let own = answers.iter().filter(|(name, _)| name == id).map(|(_, path)| path.as_path());
            for path in own {
                // The best's are kept whatever they take.
                if place == 0 || size(path) <= room {
                    room = room.saturating_sub(size(path));
                    kept.insert(path);
                }
            }
        }
        for (name, path) in &answers {
            if name != RIGHT && !kept.contains(path.as_path()) {
                // What can't be deleted is in nobody's way.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The files of a stage's answers, by their names without ending.
    fn answers_of(&self, stage: &str) -> Vec<(String, PathBuf)> {
        let folder = fs::read_dir(self.path.join(ANSWERS).join(stage));
        let files = folder.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        files.filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path))).collect()
    }

    /// Writes a file that is a function of the journal.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        write_file(&self.path, name, bytes)
    }
}

impl Run {
    /// The stages that are measured on a part of their corpus.
    pub fn parts(&self) -> HashMap<String, Part> {
        let shortened = self.entries.iter().filter_map(|stamped| match &stamped.entry {
            Entry::Shortened { stage, part, .. } => Some((stage.clone(), *part)),
            _ => None,
        });
        shortened.collect()
    }

    /// What was seen of the service.
    pub fn served(&self) -> Option<&Served> {
        self.entries.iter().rev().find_map(|stamped| match &stamped.entry {
            Entry::Served(served) => Some(&**served),
            _ => None,
        })
    }

    /// What finding the reference answers has taken, and what they are asked of.
    pub fn references_took(&self) -> Duration {
        let seconds = self.entries.iter().map(|stamped| match &stamped.entry {
            Entry::Reference { seconds, .. } | Entry::Shortened { seconds, .. } => *seconds,
            _ => 0.0,
        });
        Duration::try_from_secs_f64(seconds.sum()).unwrap_or_default()
    }

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

    /// What the run was begun with: what is timed, and what stages are judged by.
    pub fn material(&self) -> Result<Material, StoreError> {
        let documents = self.items(&self.path.join(CORPUS), &self.header.corpus_digest, "")?;
        let fresh = self.header.fresh_digest.as_ref();
        let fresh = fresh.map(|wanted| self.items(&self.path.join(FRESH), wanted, "")).transpose()?;
        let mut judging = IndexMap::new();
        for (stage, wanted) in &self.header.judging_digests {
            let gold = gold_path(&self.path, stage);
            let text = fs::read_to_string(&gold).map_err(read_error(&gold))?;
            let items = self.items(&judged_path(&self.path, stage), wanted, &text)?;
            let gold: Gold =
                serde_json::from_str(&text).map_err(|error| changed(&gold, &error.to_string()))?;
            judging.insert(stage.clone(), Judging { items, gold });
        }
        Ok(Material { documents, fresh: fresh.unwrap_or_default(), judging, notes: Vec::new() })
    }

    /// Items of a file which, with `beside`, has the digest that it had.
    fn items(&self, path: &Path, wanted: &str, beside: &str) -> Result<Vec<Item>, StoreError> {
        let text = fs::read_to_string(path).map_err(read_error(path))?;
        if digest(&format!("{text}{beside}")) != wanted {
            return Err(changed(path, "this is not the corpus that the run was started with"));
        }
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|error| changed(path, &error.to_string())))
            .collect()
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

/// The digest of the documents that the best are confirmed on, where these are others.
pub fn fresh_digest(material: &Material) -> Option<String> {
    (!material.fresh.is_empty()).then(|| digest(&corpus_lines(&material.fresh)))
}

/// The digests of what a run is begun with: of what is timed, and of what each stage is judged by.
pub fn digests(material: &Material) -> (String, IndexMap<String, String>) {
    let of = |(stage, judging): (&String, &Judging)| {
        (stage.clone(), digest(&(corpus_lines(&judging.items) + &gold_text(&judging.gold))))
    };
    (digest(&corpus_lines(&material.documents)), material.judging.iter().map(of).collect())
}

fn gold_text(gold: &Gold) -> String {
    serde_json::to_string(gold).unwrap_or_default() + "\n"
}

/// Writes the documents that workers read into a folder.
pub fn lay_out(folder: &Path, material: &Material) -> Result<Paths, StoreError> {
    let write = |file: &Path, items: &[Item]| {
        replace(file, corpus_lines(items).as_bytes()).map_err(write_error(file))
    };
    let paths = paths(folder, material);
    write(&paths.corpus, &material.documents)?;
    if !material.fresh.is_empty() {
        write(&folder.join(FRESH), &material.fresh)?;
    }
    for (stage, judging) in &material.judging {
        write(&paths.judged[stage], &judging.items)?;
    }
    Ok(paths)
}

fn paths(folder: &Path, material: &Material) -> Paths {
    let judged = |stage: &String| (stage.clone(), judged_path(folder, stage));
    Paths {
        corpus: folder.join(CORPUS),
        judged: material.judging.keys().map(judged).collect(),
        answers: folder.join(ANSWERS),
    }
}

fn judged_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("judged-{stage}.jsonl"))
}

fn part_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("part-{stage}.jsonl"))
}

fn gold_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("gold-{stage}.json"))
}

fn changed(path: &Path, why: &str) -> StoreError {
    StoreError::Changed { file: path.display().to_string(), why: why.to_owned() }
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
