//! How good answers are: by labels, where people have given some, and by agreement with the reference's answers.
//!
//! Answers are files, and judged in a stream: neither they nor all similarities between them are ever in memory at once. Knows
//! items, answers and gold labels; knows nothing of workers, runs and what is measured.

mod agreement;
mod labels;
mod nearest;
#[cfg(test)]
mod published;
mod question;
mod ranking;
mod resample;
mod retrieval;
mod wrong;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;

use crate::answer::AnswerFile;
use crate::record::Judged;
use crate::suite::Gold;
use crate::task::Metric;

use agreement::Agreement;
use nearest::Neighbours;

pub use question::Question;
pub use ranking::ndcg10;
pub use resample::{Units, judged};
pub use retrieval::found;
pub use wrong::Wrong;

/// The right answers of a stage, and what comes of them once and for all.
pub struct Reference {
    file: AnswerFile,
    neighbours: OnceCell<Neighbours>,
    by_labels: OnceCell<IndexMap<Metric, Units>>,
}

/// The right answers of each stage, by its name.
pub type References = HashMap<String, Reference>;

impl Reference {
    pub fn new(file: AnswerFile) -> Reference {
        Reference { file, neighbours: OnceCell::new(), by_labels: OnceCell::new() }
    }

    pub fn open(path: &Path) -> Result<Reference, Wrong> {
        Ok(Reference::new(AnswerFile::open(path)?))
    }

    pub fn file(&self) -> &AnswerFile {
        &self.file
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Compared with itself it must agree, or else nothing can be compared with it.
    pub fn check(&self, metric: Metric, question: Question) -> Result<(), Wrong> {
        let mut agreement = Agreement::new(question);
        agreement.read(&self.file, &self.file)?;
        match question.gold.filter(|_| metric.needs_labels()) {
            Some(gold) => self.by_labels(question, gold).map(|_| ()),
            None if metric == Metric::Top10 => self.neighbours().map(|_| ()),
            None => agreement.by(metric).map(|_| ()),
        }
    }

    /// Judges answers by every metric of the task. That there is something to compare by `wanted`, the stage's own, is a
    /// condition; another that has nothing to compare, as neighbours among one document, is left out.
    pub fn judge(
        &self,
        wanted: Metric,
        question: Question,
        answers: &AnswerFile,
    ) -> Result<IndexMap<Metric, Judged>, Wrong> {
        let mut agreement = Agreement::new(question);
        agreement.read(&self.file, answers)?;
        let mut judged = IndexMap::new();
        let mut keep = |metric: Metric, found: Result<Judged, Wrong>| match found {
            Ok(found) => {
                judged.insert(metric, found);
                Ok(())
            }
            Err(wrong) if metric == wanted || !matches!(wrong, Wrong::Nothing(_)) => Err(wrong),
            Err(_) => Ok(()),
        };
        for &metric in question.task.agreements() {
            let found = match metric {
                Metric::Top10 => self.neighbours().and_then(|own| own.kept_in(&Neighbours::of(answers)?)),
                metric => agreement.by(metric),
            };
            keep(metric, found)?;
        }
        if let Some(gold) = question.gold {
            let own = self.by_labels(question, gold)?;
            let units = units(question, gold, answers)?;
            for (metric, units) in units {
                keep(metric, Ok(resample::judged(&units, own.get(&metric))))?;
            }
        }
        Ok(judged)
    }

    fn neighbours(&self) -> Result<&Neighbours, Wrong> {
        if self.neighbours.get().is_none() {
            let _ = self.neighbours.set(Neighbours::of(&self.file)?);
        }
        self.neighbours.get().ok_or(Wrong::Nothing("no vectors"))
    }

    /// What each query or document adds to each metric, for the reference itself.
    fn by_labels(&self, question: Question, gold: &Gold) -> Result<&IndexMap<Metric, Units>, Wrong> {
        if self.by_labels.get().is_none() {
            let _ = self.by_labels.set(units(question, gold, &self.file)?);
        }
        self.by_labels.get().ok_or(Wrong::Nothing("no labels"))
    }
}

/// What each query or document adds to each metric that needs labels.
fn units(question: Question, gold: &Gold, answers: &AnswerFile) -> Result<IndexMap<Metric, Units>, Wrong> {
    match gold {
        Gold::Retrieval(retrieval) => retrieval::searched(retrieval, question.items, answers),
        Gold::Pairs(pairs) => retrieval::scored(pairs, answers),
        Gold::Labels(labels) => labels::of_labels(labels, answers),
        Gold::Spans(spans) => labels::of_spans(spans, answers),
    }
}
