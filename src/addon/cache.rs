//! The cache folder: what was fetched or made once, each thing under a key, whole or not there at all.
//!
//! Knows nothing of what is in it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Missing;

/// Beside a thing that is being placed: its lock, and what is there of it so far.
const LOCK: &str = ".lock";
const UNFINISHED: &str = ".unfinished";

#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// How long a download or a build of another process is waited for, and how often it's looked at.
const MOST_WAITING: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_millis(200);

impl Cache {
    /// The user's: `$AUTOTUNE_CACHE`, `$XDG_CACHE_HOME/autotune` or `~/.cache/autotune`.
    pub fn of_user() -> Result<Cache, Missing> {
        Cache::named_by(|name| std::env::var_os(name))
    }

    fn named_by(variable: impl Fn(&str) -> Option<OsString>) -> Result<Cache, Missing> {
        let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = folder("AUTOTUNE_CACHE");
        // The XDG specification has relative paths ignored.
        let shared = || Some(folder("XDG_CACHE_HOME").filter(|path| path.is_absolute())?.join("autotune"));
        let home = || Some(folder("HOME")?.join(".cache/autotune"));
        let root = own.or_else(shared).or_else(home);
        // Absolute, because workers are started in other folders.
        root.and_then(|root| std::path::absolute(root).ok()).map(Cache::at).ok_or_else(|| Missing {
            why: "there is no folder for downloads: HOME is not set".into(),
            remedy: "set AUTOTUNE_CACHE to a writable folder".into(),
        })
    }

    pub fn at(root: PathBuf) -> Cache {
        Cache { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a thing that was placed.
    pub fn find(&self, key: &str) -> Option<PathBuf> {
        Some(self.root.join(key)).filter(|folder| folder.is_dir())
    }

    /// The folder of a thing, which `fill` fills if it isn't there. Only one process fills it, and the others wait; a
    /// fill that fails or is killed leaves nothing under the key.
    pub fn place<E: From<io::Error>>(
        &self,
        key: &str,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        if let Some(folder) = self.find(key) {
            return Ok(folder);
        }
        let _lock = self.lock(key)?;
        if let Some(folder) = self.find(key) {
            return Ok(folder);
        }
        let unfinished = self.root.join(format!("{key}{UNFINISHED}"));
        if unfinished.exists() {
            // Whoever held the lock before was killed.
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir(&unfinished)?;
        let folder = self.root.join(key);
        let placed = fill(&unfinished).and_then(|()| Ok(fs::rename(&unfinished, &folder)?));
        if placed.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        placed.map(|()| folder)
    }

    /// Whether another process is filling a key at the moment.
    pub fn is_being_filled(&self, key: &str) -> bool {
        let lock = File::open(self.root.join(format!("{key}{LOCK}")));
        lock.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Keeps other processes away from a key for as long as the file is open.
    pub fn lock(&self, key: &str) -> io::Result<File> {
        let path = self.root.join(format!("{key}{LOCK}"));
        make_folder(path.parent().unwrap_or(&self.root))?;
        let file = File::create(&path).map_err(|error| named(&path, error))?;
        let deadline = Instant::now() + MOST_WAITING;
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            if Instant::now() >= deadline {
                let why = format!(
                    "another autotune process has held {} for an hour: end that process",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            std::thread::sleep(LOOK);
        }
        Ok(file)
    }

    /// Bytes of all files in it.
    pub fn bytes(&self) -> u64 {
        bytes_in(&self.root)
    }
}

/// Makes a folder with those above it. The first thing to be written: if that can't be, the error says where.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder).map_err(|error| named(folder, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Bytes of all files in a folder, and below it.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_folder_is_where_the_environment_says() {
        let root = |variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
            let cache = Cache::named_by(|name| value(name).map(|(_, value)| value.into()));
            cache.map(|cache| cache.root().to_string_lossy().into_owned())
        };
        assert_eq!(root(&[("AUTOTUNE_CACHE", "/a"), ("HOME", "/h")]).unwrap(), "/a");
        assert_eq!(root(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]).unwrap(), "/x/autotune");
        assert_eq!(root(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]).unwrap(), "/h/.cache/autotune");
        assert_eq!(root(&[("AUTOTUNE_CACHE", ""), ("HOME", "/h")]).unwrap(), "/h/.cache/autotune");
        assert!(root(&[]).unwrap_err().remedy.contains("AUTOTUNE_CACHE"));
    }

    #[test]
    fn a_fill_that_fails_or_was_killed_leaves_nothing_that_looks_finished() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let failed = cache.place("models/a", |folder| {
            fs::write(folder.join("half"), b"half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(cache.find("models/a"), None);
        assert_eq!(cache.bytes(), 0);

        let killed = cache.root().join("models/a.unfinished");
        fs::create_dir_all(&killed).unwrap();
        fs::write(killed.join("half"), b"half").unwrap();
        assert_eq!(cache.find("models/a"), None);
        let placed = cache.place("models/a", |folder| fs::write(folder.join("whole"), b"whole")).unwrap();
        assert_eq!(fs::read_dir(&placed).unwrap().count(), 1);
        assert!(!killed.exists());
        assert_eq!((cache.find("models/a"), cache.bytes()), (Some(placed), 5));
    }

    #[test]
    fn of_several_at_once_one_fills_and_all_find_it_whole() {
        let folder = tempfile::tempdir().unwrap();
        let fills = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let cache = Cache::at(folder.path().to_owned());
                    let placed = cache.place("thing", |folder| {
                        fills.fetch_add(1, Ordering::SeqCst);
                        fs::write(folder.join("one"), b"1")?;
                        std::thread::yield_now();
                        fs::write(folder.join("two"), b"2")
                    });
                    assert_eq!(fs::read(placed.unwrap().join("two")).unwrap(), b"2");
                });
            }
        });
        assert_eq!(fills.load(Ordering::SeqCst), 1);
    }
}
