//! Where suites are found: a file, the `suites/` folder at hand, or the copies inside the program.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

use super::Overrides;
use super::problem::{Problem, unknown};

static BUILT_IN: Dir = include_dir!("$CARGO_MANIFEST_DIR/suites");

/// The text of a suite, its name, and the folder in which its relative paths start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteSource {
    /// The file's name without its ending.
    pub name: String,
    /// How errors call the file.
    pub file: String,
    pub text: String,
    pub folder: Folder,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Folder {
    Disk(PathBuf),
    BuiltIn,
}

/// The one file beside the suites that names models and isn't a suite.
const MODELS: &str = "models";

/// The names of the suites that the program carries.
pub fn built_in_names() -> Vec<&'static str> {
    let suites =
        BUILT_IN.files().filter(|file| file.path().extension().is_some_and(|ending| ending == "toml"));
    suites.filter_map(|file| file.path().file_stem()?.to_str()).filter(|name| *name != MODELS).collect()
}

impl SuiteSource {
    /// Tells two suites apart that state different things, with what the command line changes in them: by their tables, whatever
    /// the order of keys, comments, the description and what knobs backends have that they don't name.
    pub fn digest(&self, overrides: &Overrides) -> String {
        let stated = match self.text.parse::<toml::Table>() {
            Ok(mut table) => {
                table.remove("description");
                in_order(&toml::Value::Table(table))
            }
            // It states nothing, and is refused elsewhere.
            Err(_) => self.text.clone(),
        };
        let changed = serde_json::to_string(overrides).unwrap_or_default();
        super::digest(&format!("{stated}\n{changed}"))
    }

    /// Finds `--suite NAME|FILE`.
    pub fn find(wanted: &str) -> Result<SuiteSource, Problem> {
        let near = PathBuf::from(format!("suites/{wanted}.toml"));
        if wanted.ends_with(".toml") || wanted.contains('/') {
            Self::read(Path::new(wanted))
        } else if near.is_file() {
            Self::read(&near)
        } else if let Some(file) = BUILT_IN.get_file(format!("{wanted}.toml")) {
            Ok(SuiteSource {
                name: wanted.to_owned(),
                file: format!("suites/{wanted}.toml (built in)"),
                text: file.contents_utf8().unwrap_or_default().to_owned(),
                folder: Folder::BuiltIn,
            })
        } else {
            Err(Problem::new("--suite", unknown("suite", wanted, built_in_names())))
        }
    }

    fn read(path: &Path) -> Result<SuiteSource, Problem> {
        let problem = |why: std::io::Error| Problem::new(path.display().to_string(), why.to_string());
        let bytes = std::fs::read(path).map_err(problem)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            Problem::new(path.display().to_string(), format!("not UTF-8: {}", error.utf8_error()))
        })?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        // Absolute, because a run is resumed from wherever the user then is.
        let folder = std::path::absolute(path).map_err(problem)?;
        let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(SuiteSource { name, file: path.display().to_string(), text, folder: Folder::Disk(folder) })
    }
}

/// A value with the keys of its tables in order.
fn in_order(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let sorted: BTreeMap<&String, &toml::Value> = table.iter().collect();
            let entries: Vec<String> =
                sorted.into_iter().map(|(key, value)| format!("{key:?}:{}", in_order(value))).collect();
            format!("{{{}}}", entries.join(","))
        }
        toml::Value::Array(values) => {
            format!("[{}]", values.iter().map(in_order).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

impl Folder {
    /// A file that a suite names.
    pub fn bytes(&self, path: &Path) -> Result<Vec<u8>, String> {
        let problem = |why: String| format!("{}: {why}", path.display());
        match self.whole(path) {
            Place::Disk(whole) => std::fs::read(whole).map_err(|error| problem(error.to_string())),
            Place::BuiltIn(inside) => {
                let file = BUILT_IN.get_file(inside);
                let file = file.ok_or_else(|| problem("this file is not built into autotune".to_owned()))?;
                Ok(file.contents().to_vec())
            }
        }
    }

    /// The files in a folder and the folders in it, in order; nothing where it's no folder.
    pub fn list(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, String> {
        let mut found = Vec::new();
        match self.whole(path) {
            Place::Disk(whole) if !whole.is_dir() => return Ok(None),
            Place::Disk(whole) => files_in(&whole, path, &mut found)?,
            Place::BuiltIn(inside) => {
                let Some(folder) = BUILT_IN.get_dir(&inside) else { return Ok(None) };
                built_in_files(folder, &mut found);
                found.iter_mut().for_each(|file| {
                    *file = path.join(file.strip_prefix(&inside).unwrap_or(file));
                });
            }
        }
        found.sort();
        Ok(Some(found))
    }

    fn whole(&self, path: &Path) -> Place {
        match self {
            Folder::Disk(folder) => Place::Disk(folder.join(path)),
            // A corpus of the command line lies on the disk, whatever the suite.
            Folder::BuiltIn if path.is_absolute() => Place::Disk(path.to_owned()),
            Folder::BuiltIn => {
                Place::BuiltIn(path.components().filter(|part| *part != Component::CurDir).collect())
            }
        }
    }

    /// Where a command of the suite is started.
    pub fn path(&self) -> PathBuf {
        match self {
            Folder::Disk(folder) => folder.clone(),
            Folder::BuiltIn => PathBuf::from("."),
        }
    }
}

/// Where a path of a suite leads.
enum Place {
    Disk(PathBuf),
    BuiltIn(PathBuf),
}

/// Adds the files in a folder, which a suite calls `named`.
fn files_in(folder: &Path, named: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let problem = |error: std::io::Error| format!("{}: {error}", named.display());
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        let (path, named) = (entry.path(), named.join(entry.file_name()));
        let kind = entry.file_type().map_err(problem)?;
        // Of a link only the file that it leads to is taken.
        if kind.is_dir() {
            files_in(&path, &named, found)?;
        } else if path.is_file() {
            found.push(named);
        }
    }
    Ok(())
}

fn built_in_files(folder: &Dir, found: &mut Vec<PathBuf>) {
    found.extend(folder.files().map(|file| file.path().to_owned()));
    folder.dirs().for_each(|folder| built_in_files(folder, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_what_is_stated() {
        let of = |text: &str, overrides: &Overrides| {
            let (name, file) = (String::new(), String::new());
            SuiteSource { name, file, text: text.to_owned(), folder: Folder::BuiltIn }.digest(overrides)
        };
        let plain = Overrides::default();
        let first = of("rounds = 3\ndescription = \"one\"\n[a]\nx = [1, 2]\ny = 1.5", &plain);
        assert_eq!(first, of("# A comment.\nrounds = 3\n[a]\ny = 1.5\nx = [1,2]", &plain));
        for other in ["rounds = 3\n[a]\nx = [2, 1]\ny = 1.5", "rounds = 4\n[a]\nx = [1, 2]\ny = 1.5"] {
            assert_ne!(first, of(other, &plain), "{other}");
        }
        let changed = Overrides { seed: Some(1), ..Overrides::default() };
        assert_ne!(of("rounds = 3", &plain), of("rounds = 3", &changed));
    }
}
