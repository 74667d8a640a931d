//! Figures of a program that were kept in a file, to compare later ones with where no base can run beside them.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::side::Side;
use crate::hardware::Machine;
use crate::knob::Candidate;
use crate::suite::Problem;
use crate::task::Metric;

/// Raised when older versions couldn't read it.
const FORMAT: u32 = 1;

/// What a program took, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    format: u32,
    /// When it was measured.
    pub saved: String,
    /// What the program is called.
    pub program: String,
    pub setting: Setting,
    pub stages: IndexMap<String, StoredStage>,
}

/// All that must be the same for figures to be comparable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub suite: String,
    pub suite_digest: String,
    pub corpus_digest: String,
    pub target: String,
    pub machine: Machine,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredStage {
    pub candidate: Candidate,
    /// The library that was loaded, in its own words.
    pub version: String,
    /// How good its answers are by labels, where there are any.
    pub quality: IndexMap<Metric, f64>,
    /// The digest of its answers.
    pub answers: String,
    /// A process each.
    pub sides: Vec<Side>,
}

impl Stored {
    pub fn new(program: String, setting: Setting) -> Stored {
        let saved = jiff::Timestamp::now().to_string();
        Stored { format: FORMAT, saved, program, setting, stages: IndexMap::new() }
    }

    pub fn read(path: &Path) -> Result<Stored, Problem> {
        let wrong = |why: String| Problem::new(format!("--baseline {}", path.display()), why);
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let stored: Stored = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("this is no whole file of `autotune gate --save`: {error}")))?;
        match stored.format {
            FORMAT => Ok(stored),
            format => Err(wrong(format!("it has the format {format}; this version reads {FORMAT}"))),
        }
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).map_err(|error| anyhow::anyhow!("writing {}: {error}", path.display()))
    }

    /// The day on which it was saved.
    pub fn day(&self) -> &str {
        self.saved.split('T').next().unwrap_or_default()
    }
}

impl Setting {
    /// The first thing in which another setting differs.
    pub fn differs_from(&self, now: &Setting) -> Option<String> {
        let differ = |what: &str, then: &str, now: &str| {
            (then != now).then(|| format!("the {what} differs: {then:?} then, {now:?} now"))
        };
        differ("suite", &self.suite, &now.suite)
            .or_else(|| differ("suite's text", &self.suite_digest, &now.suite_digest))
            .or_else(|| differ("corpus", &self.corpus_digest, &now.corpus_digest))
            .or_else(|| {
                self.machine.differs_from(&now.machine).map(|why| format!("the machine differs: {why}"))
            })
            .or_else(|| {
                let driver = |setting: &Setting| {
                    let driver = setting.machine.driver.as_ref();
                    driver.map_or_else(|| "none".to_owned(), |driver| driver.version.clone())
                };
                differ("driver", &driver(self), &driver(now))
            })
            .or_else(|| differ("target", &self.target, &now.target))
    }
}

impl StoredStage {
    /// The first thing besides the figures in which a later measurement differs.
    pub fn differs_from(&self, now: &StoredStage) -> Option<String> {
        if self.candidate != now.candidate {
            let same = |knob: &str| self.candidate.word(knob) == now.candidate.word(knob);
            return Some(format!("the configuration differs: {} now", now.candidate.label(same)));
        }
        (self.version != now.version)
            .then(|| format!("the engine's version differs: {:?} then, {:?} now", self.version, now.version))
    }

    /// What a figure of each process was.
    pub fn figure(&self, of: impl Fn(&Side) -> Option<f64>) -> Vec<f64> {
        self.sides.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        let setting = Setting {
            suite: "s".to_owned(),
            suite_digest: "1".to_owned(),
            corpus_digest: "2".to_owned(),
            target: "cpu".to_owned(),
            machine: Machine::default(),
        };
        Stored::new("this program".to_owned(), setting)
    }

    #[test]
    fn what_was_written_is_read_and_what_was_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        let stored = stored();
        stored.write(&path).unwrap();
        assert_eq!(Stored::read(&path).unwrap(), stored);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(Stored::read(&path).unwrap_err().to_string().contains("no whole file"));
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
        assert!(Stored::read(&path).unwrap_err().to_string().contains("has the format 7"));
        assert!(Stored::read(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_differs_is_named() {
        let then = stored().setting;
        assert_eq!(then.differs_from(&then), None);
        let now = Setting { corpus_digest: "3".to_owned(), ..then.clone() };
        assert_eq!(then.differs_from(&now).unwrap(), "the corpus differs: \"2\" then, \"3\" now");
        let other = Machine { cpu: "another".to_owned(), ..Machine::default() };
        assert!(then.differs_from(&Setting { machine: other, ..then.clone() }).unwrap().contains("machine"));
    }
}
