//! Where a stage's right answers come from: a configuration that costs no quality, on any device that can run it.

use std::collections::HashSet;

use crate::backend::coarseness;
use crate::knob::Candidate;
use crate::quality::Reference;
use crate::record::{Failure, Origin, Status};
use crate::runner::{Place, Runner, Stopped};
use crate::suite::{Stage, Suite};

/// Right answers with their digest, and their origin; or why no configuration has given any, which is the failure of the suite's reference.
pub type Found = Result<(Reference, String, Origin), Failure>;

/// Asks the suite's reference on the target first, then its like of other engines; then the same on the processor, which has
/// time for one pass; then the most precise configuration of the space that runs on the target.
pub fn find(
    runner: &mut Runner,
    suite: &Suite,
    stage: &Stage,
    mut began: impl FnMut(&Candidate, &str),
) -> Result<Found, Stopped> {
    let mut first: Option<Failure> = None;
    let mut ask = |runner: &mut Runner, candidate: &Candidate, place: Place| {
        let device = runner.device(place).to_owned();
        began(candidate, &device);
        Ok(match runner.right_answers(stage, candidate, place)? {
            Ok((reference, digest)) => {
                let instead = first.as_ref().map(Failure::in_words);
                Ok((reference, digest, Origin { candidate: candidate.clone(), device, instead }))
            }
            Err(failure) => {
                first.get_or_insert_with(|| failure.clone());
                Err(failure)
            }
        })
    };
    let references = suite.references(stage);
    for candidate in &references {
        if let Ok(found) = ask(runner, candidate, Place::Target)? {
            return Ok(Ok(found));
        }
    }
    // Right answers are worth a pass on the processor only if there is somebody to be judged by them.
    let anybody = stage.space.loads().any(|candidate| runner.has_engine(&candidate));
    if anybody && runner.device(Place::Target).starts_with("cuda") {
        for candidate in &references {
            match ask(runner, candidate, Place::Processor)? {
                Ok(found) => return Ok(Ok(found)),
                // Whoever comes next isn't faster.
                Err(failure) if failure.status == Status::TimedOut => break,
                Err(_) => {}
            }
        }
    }
    let asked: HashSet<String> =
        references.iter().map(|candidate| suite.load_key(stage, candidate)).collect();
    for candidate in by_precision(suite, stage) {
        // What failed a moment ago fails again.
        if asked.contains(&suite.load_key(stage, &candidate)) {
            continue;
        }
        if let Ok(found) = ask(runner, &candidate, Place::Target)? {
            return Ok(Ok(found));
        }
    }
    Ok(Err(first.unwrap_or_else(|| Failure::new(Status::Failed, "the stage has no configuration"))))
}

/// One candidate for each load, the most precise first.
fn by_precision(suite: &Suite, stage: &Stage) -> Vec<Candidate> {
    let mut seen = HashSet::new();
    let mut candidates: Vec<Candidate> =
        stage.space.loads().filter(|candidate| seen.insert(suite.load_key(stage, candidate))).collect();
    // Stable: of equals the first of the space.
    candidates.sort_by_key(coarseness);
    candidates
}
