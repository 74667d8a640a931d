//! Whether what a journal says can be: it's checked once, and whatever reads a run may rely on it.

use std::collections::HashSet;

use super::folder::Run;
use super::journal::{Damage, Entry};
use crate::record::{MOST_CONFIRMING_ROUNDS, Recording};
use crate::suite::Suite;
use crate::worker::protocol::{Measured, implausible};

/// A stage, a candidate's id and a round.
type Key<'a> = (&'a str, &'a str, u32);

impl Run {
    /// Checks that every trial is one of `suite`, recorded once, with figures that can be.
    pub fn check(&self, suite: &Suite) -> Result<(), Damage> {
        let mut trials = Seen::new(suite.most_rounds());
        let mut confirmed = Seen::new(MOST_CONFIRMING_ROUNDS);
        for stamped in &self.entries {
            let why = match &stamped.entry {
                Entry::Trial(recording) => wrong(recording, suite).or_else(|| trials.wrong(recording)),
                Entry::Confirmed(recording) => wrong(recording, suite).or_else(|| confirmed.wrong(recording)),
                Entry::Finalists { stage, .. } => {
                    // Others are the best now, and their rounds are counted anew.
                    confirmed.forget(stage);
                    None
                }
                _ => None,
            };
            if let Some(why) = why {
                let file = self.path.join("journal.jsonl").display().to_string();
                return Err(Damage { file, line: stamped.seq as usize + 1, why });
            }
        }
        Ok(())
    }
}

/// Why a recording can't be one of a run of `suite`.
fn wrong(recording: &Recording, suite: &Suite) -> Option<String> {
    let stage = suite.stage(&recording.stage);
    if !stage.is_some_and(|stage| stage.space.contains(&recording.candidate)) {
        return Some("a trial of a candidate that the suite doesn't have".to_owned());
    }
    if recording.id != recording.candidate.id() {
        return Some("a trial whose id doesn't match its candidate".to_owned());
    }
    let predicted = recording.predicted().and_then(|predicted| predicted.pass.as_ref());
    let measured = recording.measured().and_then(Measured::implausible);
    measured.or_else(|| predicted.and_then(implausible))
}

/// The trials that a journal has so far.
struct Seen<'a> {
    most_rounds: u32,
    all: HashSet<Key<'a>>,
    /// Those for which something wasn't available: a later process may try them again.
    lacking: HashSet<Key<'a>>,
}

impl<'a> Seen<'a> {
    fn new(most_rounds: u32) -> Seen<'a> {
        Seen { most_rounds, all: HashSet::new(), lacking: HashSet::new() }
    }

    fn wrong(&mut self, recording: &'a Recording) -> Option<String> {
        let key = (recording.stage.as_str(), recording.id.as_str(), recording.round);
        let again = self.lacking.remove(&key);
        if recording.was_not_available() {
            self.lacking.insert(key);
        }
        if recording.round >= self.most_rounds {
            let (round, most) = (recording.round, self.most_rounds);
            return Some(format!("a trial of round {round}, but the suite has {most} rounds"));
        }
        (!self.all.insert(key) && !again).then(|| "a trial that is recorded twice".to_owned())
    }

    fn forget(&mut self, stage: &str) {
        self.all.retain(|(own, ..)| *own != stage);
        self.lacking.retain(|(own, ..)| *own != stage);
    }
}
