//! What was seen of a stage's best once its search was done: measured again in fresh processes, on other documents, and checked
//! for what figures don't tell.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::recording::Recording;
use crate::task::Metric;

/// Who isn't known well by then stays as uncertain as that.
pub const MOST_CONFIRMING_ROUNDS: u32 = 24;

/// Who is measured again, the best first, and on what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Finalists {
    pub ids: Vec<String>,
    pub documents: usize,
    /// Whether nobody was chosen by these documents.
    pub fresh: bool,
}

/// A configuration's answers to the same documents, in other company.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variation {
    /// What was changed: `batch_size = 1`.
    pub what: String,
    /// How they agree with those that it gives as it's configured.
    pub agreements: IndexMap<Metric, f64>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a configuration takes for a batch of the longest documents of the corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorstBatch {
    pub documents: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// All that there is, on the device or else on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a configuration was checked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// Tells the engine, the precision and the truncation that answered, whatever the batches.
    pub answers: String,
    /// Documents that were answered in each variation.
    pub documents: usize,
    pub variations: Vec<Variation>,
    /// How its answers agree with those of the default configuration; nothing for that one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside_default: Option<IndexMap<Metric, f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_batch: Option<WorstBatch>,
}

/// All of that, as the journal has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confirmation {
    pub finalists: Finalists,
    /// Of the finalists and the default configuration, in rounds of their own.
    pub recordings: Vec<Recording>,
    /// Of whom it was made, by their ids.
    pub checks: IndexMap<String, Checks>,
    /// What the checks took.
    pub checks_seconds: f64,
}

impl Confirmation {
    /// From here on these are measured. What somebody was checked for stays true.
    pub fn begin(&mut self, finalists: Finalists) {
        self.finalists = finalists;
        self.recordings.clear();
    }

    /// The trials of one candidate.
    pub fn trials(&self, id: &str) -> Vec<&Recording> {
        self.recordings.iter().filter(|recording| recording.id == id).collect()
    }

    pub fn seconds(&self) -> f64 {
        self.checks_seconds + self.recordings.iter().map(|recording| recording.wall_seconds).sum::<f64>()
    }
}
