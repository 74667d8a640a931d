//! How much of its corpus a stage is measured on: a part, where passes over all of it would use up the time.

use std::time::{Duration, Instant};

use super::TuneError;
use super::budget::StageBudget;
use super::sweep::Tuning;
use crate::record::Part;
use crate::runner::Documents;
use crate::store::Entry;
use crate::suite::{self, SearchKind, Stage};

/// Documents that tell how long a pass takes.
const ASKED: usize = 16;

/// The time must have room for so many passes: some candidates, warmed up, in several rounds.
const PASSES: u32 = 40;

/// No part has fewer documents…
const LEAST: usize = 64;

/// …or fewer of the largest batches.
const BATCHES: usize = 2;

impl Tuning<'_> {
    /// Has a stage measured on a part of its corpus where a guided search has too little time for passes over all of it.
    /// Returns the signal if one came.
    pub(super) fn shorten(&mut self, stage: &Stage, budget: &StageBudget) -> Result<Option<u8>, TuneError> {
        let documents = &self.material.documents;
        if let Some(part) = self.parts.get(&stage.name) {
            let items = suite::part(documents, part.documents);
            let path = self.folder.keep_part(&stage.name, &items)?;
            self.runner.measures(&stage.name, Documents { items, path });
            return Ok(None);
        }
        let (time, least) = (budget.time_left(&self.recordings), least(stage));
        let begun = self.recordings.iter().any(|recording| recording.stage == stage.name);
        let Some(time) = time.filter(|_| budget.search() == SearchKind::Guided && !begun) else {
            return Ok(None);
        };
        if documents.len() < 2 * least {
            return Ok(None);
        }
        let start = Instant::now();
        self.progress.began(&format!("{}: how long a pass takes", stage.name));
        let few = suite::part(documents, ASKED);
        let path = self.folder.keep_part(&stage.name, &few)?;
        let each = match self.runner.seconds_each(stage, &path, few.len()) {
            Ok(each) => each,
            Err(stopped) => return self.stopped(stopped).map(Some),
        };
        let chosen = each.and_then(|each| enough(least, each, time, documents.len()));
        let Some(chosen) = chosen else {
            self.folder.drop_part(&stage.name);
            return Ok(None);
        };
        let items = suite::part(documents, chosen);
        let path = self.folder.keep_part(&stage.name, &items)?;
        self.runner.measures(&stage.name, Documents { items, path });
        let took = start.elapsed();
        self.references_took += took;
        let part = Part { documents: chosen, of: documents.len() };
        let seconds = took.as_secs_f64();
        self.folder.append(Entry::Shortened { stage: stage.name.clone(), part, seconds })?;
        Ok(None)
    }
}

/// The fewest documents that a stage may be measured on.
fn least(stage: &Stage) -> usize {
    LEAST.max(BATCHES.saturating_mul(stage.largest_batch()))
}

/// How many documents there is time for; nothing where that is all of them, or nearly.
fn enough(least: usize, seconds_each: f64, time: Duration, all: usize) -> Option<usize> {
    let of_a_pass = time.as_secs_f64() / f64::from(PASSES);
    let documents = (of_a_pass / seconds_each) as usize;
    let documents = documents.max(least);
    // Leaving out less isn't worth being incomplete.
    (documents <= all / 2).then_some(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_is_shortened_only_where_its_passes_would_use_up_the_time() {
        let two_minutes = Duration::from_secs(120);
        // Three seconds a pass: at 40 documents a second 120 of them.
        assert_eq!(enough(64, 1.0 / 40.0, two_minutes, 10_000), Some(120));
        assert_eq!(enough(64, 1.0 / 4000.0, two_minutes, 10_000), None, "a pass takes 2.5 s");
        assert_eq!(enough(64, 1.0 / 40.0, two_minutes, 200), None, "nearly all");
        assert_eq!(enough(512, 1.0 / 40.0, two_minutes, 10_000), Some(512), "two batches of 256");
        assert_eq!(enough(64, 60.0, two_minutes, 10_000), Some(64));
    }
}
