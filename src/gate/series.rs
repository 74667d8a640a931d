//! A program measured by itself, in processes of its own: what `--save` keeps, and `--baseline` compares with what was kept.

use super::pair::{Fault, NEW, Party, undisturbed, without_a_pass};
use super::side::Side;
use super::stored::StoredStage;
use super::turns::Turns;
use crate::addon::Tell;
use crate::pipeline::Stretch;
use crate::quality::References;

/// Processes that are measured: no run beside it tells which of them the machine has slowed.
const PROCESSES: usize = 20;

/// More that were set aside than this, and the rest says nothing.
const MOST_DROPPED: usize = PROCESSES;

/// A series of processes of one program, in one stage.
pub struct Series<'a> {
    pub party: Party<'a>,
    /// So much of the processor others may use while a process is measured.
    pub others: f64,
    pub tell: &'a dyn Tell,
}

impl Series<'_> {
    pub fn take(mut self) -> Result<StoredStage, Fault> {
        self.tell.step("answers");
        let (references, answers) = self.party.right_answers(NEW)?;
        let judged = self.party.trial(NEW, 0, Stretch::WHOLE, &references)?.agreements;
        let version = self.party.version();
        self.party.runner.end();
        let (mut sides, mut dropped) = (Vec::new(), 0);
        while sides.len() < PROCESSES {
            self.tell.step(&format!("process {} of {PROCESSES}", sides.len() + 1));
            match self.process(&references, 2 * (sides.len() + dropped) as u32 + 1) {
                Ok(side) => sides.push(side),
                Err(Fault::Pair(why)) if dropped == MOST_DROPPED => return Err(Fault::Pair(why)),
                Err(Fault::Pair(_)) => dropped += 1,
                Err(fault) => return Err(fault),
            }
        }
        let by_labels = judged.into_iter().filter(|(metric, _)| metric.needs_labels());
        Ok(StoredStage {
            candidate: self.party.candidate.clone(),
            version,
            quality: by_labels.map(|(metric, judged)| (metric, judged.value)).collect(),
            answers,
            sides,
        })
    }

    /// Measures one process, twice.
    fn process(&mut self, references: &References, round: u32) -> Result<Side, Fault> {
        let measured = undisturbed(self.others, || {
            let mut turns = Turns::default();
            for round in [round, round + 1] {
                turns.push(self.party.turn(NEW, round, Stretch::WHOLE, references)?);
            }
            Ok((turns, self.party.is_simulated()))
        });
        self.party.runner.end();
        measured?.side().ok_or_else(without_a_pass)
    }
}
