//! A folder in which gates are remembered, a line each: how the level of a stage went, and what its machine lets gates tell.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::revision;
use super::stored::Setting;
use crate::analysis::gate::{GateReport, Gated, GatedStage, Past, Trend};
use crate::knob::Candidate;
use crate::suite::Problem;

const FILE: &str = "gates.jsonl";

/// Raised when older versions couldn't read a line.
const FORMAT: u32 = 1;

/// Gates that were run, the oldest first.
pub struct History {
    folder: PathBuf,
    gates: Vec<Remembered>,
}

/// One stage of one gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Remembered {
    format: u32,
    base: String,
    setting: Setting,
    stage: String,
    candidate: Candidate,
    #[serde(flatten)]
    past: Past,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Remembered {
    /// Whether both belong to one trend. What the engines' versions are may differ: that is what a trend shows.
    fn is_like(&self, other: &Remembered) -> bool {
        self.stage == other.stage
            && self.candidate == other.candidate
            && self.setting.differs_from(&other.setting).is_none()
    }

    fn words(&self) -> String {
        let Setting { suite, target, .. } = &self.setting;
        format!("suite {suite}, {}, on {target}", self.candidate.backend)
    }
}

impl History {
    /// Opens a folder, and makes it if it isn't there.
    pub fn open(folder: &Path) -> Result<History, Problem> {
        let wrong = |why: String| Problem::new(format!("--history {}", folder.display()), why);
        std::fs::create_dir_all(folder).map_err(|error| wrong(error.to_string()))?;
        let file = folder.join(FILE);
        // Before anything is measured: what can't be remembered would be lost.
        let opened = OpenOptions::new().create(true).append(true).open(&file);
        opened.map_err(|error| wrong(format!("can't write {FILE}: {error}")))?;
        let text = std::fs::read_to_string(&file).map_err(|error| wrong(format!("{FILE}: {error}")))?;
        let mut gates = Vec::new();
        for (place, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            // What a later version has in a line is its own affair.
            if let Ok(Version { format }) = serde_json::from_str(line)
                && format > FORMAT
            {
                return Err(wrong(format!("{FILE}:{}: of a later version (format {format})", place + 1)));
            }
            match serde_json::from_str::<Remembered>(line) {
                Ok(gate) => gates.push(gate),
                // A line that was cut short, by a full disk or a power cut, is a gate that was lost.
                Err(error) if error.is_eof() => {}
                Err(error) => return Err(wrong(format!("{FILE}:{}: no gate: {error}", place + 1))),
            }
        }
        Ok(History { folder: folder.to_owned(), gates })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Remembers a gate, and says how the trends of its stages are with it. `here` if what the current folder is at tells what the new
    /// arm is.
    pub fn remember(
        &mut self,
        report: &GateReport,
        setting: &Setting,
        here: bool,
    ) -> anyhow::Result<Vec<Trend>> {
        let at = jiff::Timestamp::now().to_string();
        let new = if here { revision::here() } else { None }.unwrap_or_else(|| report.new.clone());
        let remembered = |stage: &GatedStage| Remembered {
            format: FORMAT,
            base: report.base.clone(),
            setting: setting.clone(),
            stage: stage.stage.clone(),
            candidate: stage.new_candidate.as_ref().unwrap_or(&stage.candidate).clone(),
            past: Past {
                at: at.clone(),
                new: new.clone(),
                verdict: stage.verdict,
                pairs: stage.pairs.len(),
                seconds: stage.seconds(),
                ratio: stage.compared(Gated::Time).map(|time| time.ratio),
                calibration: stage.calibration.clone(),
            },
        };
        let now: Vec<Remembered> = report.stages.iter().map(remembered).collect();
        self.append(&now)?;
        self.gates.extend(now.iter().cloned());
        Ok(now.iter().map(|gate| self.trend(gate)).collect())
    }

    fn append(&self, gates: &[Remembered]) -> anyhow::Result<()> {
        let path = self.folder.join(FILE);
        let mut text = String::new();
        // After a line that was cut short.
        let before = std::fs::read(&path).unwrap_or_default();
        if !before.is_empty() && !before.ends_with(b"\n") {
            text.push('\n');
        }
        for gate in gates {
            text.push_str(&serde_json::to_string(gate)?);
            text.push('\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }

    fn trend(&self, of: &Remembered) -> Trend {
        let gates = self.gates.iter().filter(|gate| gate.is_like(of)).map(|gate| gate.past.clone());
        Trend::of(of.stage.clone(), of.words(), gates.collect())
    }

    /// Every trend, those with the latest gates last.
    pub fn trends(&self) -> Vec<Trend> {
        let is_last = |(place, gate): &(usize, &Remembered)| {
            !self.gates[place + 1..].iter().any(|later| later.is_like(gate))
        };
        self.gates.iter().enumerate().filter(is_last).map(|(_, gate)| self.trend(gate)).collect()
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::analysis::gate::{Pair, Rule, Verdict};
    use crate::hardware::Machine;

    fn setting(suite: &str) -> Setting {
        Setting {
            suite: suite.to_owned(),
            suite_digest: "1".to_owned(),
            corpus_digest: "2".to_owned(),
            target: "cpu".to_owned(),
            machine: Machine::default(),
        }
    }

    fn report(seconds: f64) -> GateReport {
        let candidate = Candidate { backend: "candle".to_owned(), knobs: IndexMap::new() };
        let pair = Pair { seconds, ratios: IndexMap::from([(Gated::Time, 2.0)]), own: 1.0 };
        let stage = GatedStage::without_figures("embed", &candidate, Verdict::Pass, "as it was".to_owned());
        GateReport {
            suite: "s".to_owned(),
            target: "cpu".to_owned(),
            base: "old".to_owned(),
            new: "new".to_owned(),
            rule: Rule { margin: 0.01, error: 0.01 },
            stages: vec![GatedStage { pairs: vec![pair; 12], ..stage }],
            trends: Vec::new(),
        }
    }

    #[test]
    fn gates_are_remembered_and_a_line_that_was_cut_short_is_lost_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("history");
        let mut history = History::open(&folder).unwrap();
        assert!(history.trends().is_empty());
        history.remember(&report(1.0), &setting("s"), true).unwrap();
        let trends = history.remember(&report(1.5), &setting("s"), true).unwrap();
        let seconds =
            |trend: &Trend| trend.gates.iter().map(|gate| gate.seconds.unwrap()).collect::<Vec<_>>();
        assert_eq!(trends.iter().map(seconds).collect::<Vec<_>>(), [[2.0, 3.0]]);
        // Another suite has a trend of its own.
        let other = history.remember(&report(9.0), &setting("other"), true).unwrap();
        assert_eq!(seconds(&other[0]), [18.0]);
        let file = folder.join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 20]).unwrap();
        let mut history = History::open(&folder).unwrap();
        assert_eq!(history.trends().iter().map(seconds).collect::<Vec<_>>(), [[2.0, 3.0]]);
        history.remember(&report(2.0), &setting("s"), true).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(seconds(&History::open(&folder).unwrap().trends()[0]), [2.0, 3.0, 4.0]);
        let refused = |text: String| {
            std::fs::write(&file, text).unwrap();
            History::open(&folder).err().unwrap().to_string()
        };
        assert!(
            refused("{\"format\":2,\"what\":\"ever\"}\n".to_owned() + &text)
                .contains("gates.jsonl:1: of a later version (format 2)")
        );
        assert!(refused("nonsense\n".to_owned() + &text).contains("gates.jsonl:1: no gate"));
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "a file").unwrap();
        assert!(History::open(&folder).is_err());
    }
}
