//! What a journal has of confirmations.

use std::collections::HashMap;

use super::folder::Run;
use super::journal::Entry;
use crate::record::Confirmation;

impl Run {
    /// What was seen of each stage's best after its search, by its name: of those that were the best last.
    pub fn confirmations(&self) -> HashMap<String, Confirmation> {
        let mut confirmations: HashMap<String, Confirmation> = HashMap::new();
        for stamped in &self.entries {
            match &stamped.entry {
                Entry::Finalists { stage, finalists } => {
                    confirmations.entry(stage.clone()).or_default().begin(finalists.clone());
                }
                Entry::Confirmed(recording) => {
                    if let Some(own) = confirmations.get_mut(&recording.stage) {
                        own.recordings.push((**recording).clone());
                    }
                }
                Entry::Checked { stage, id, checks, seconds } => {
                    let own = confirmations.entry(stage.clone()).or_default();
                    own.checks.insert(id.clone(), checks.clone());
                    own.checks_seconds += seconds;
                }
                _ => {}
            }
        }
        confirmations
    }
}
