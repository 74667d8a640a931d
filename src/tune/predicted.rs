//! A run in which nothing is measured: every candidate of the space, predicted for a card.

use std::collections::HashSet;

use super::{Ending, Progress, TuneError};
use crate::hardware::Card;
use crate::predict::Forecast;
use crate::record::Recording;
use crate::runner::Interrupt;
use crate::store::{Entry, RunFolder};
use crate::suite::Suite;

/// Predicts what isn't in `before` yet. No budget is asked: a prediction takes milliseconds.
pub fn predict(
    suite: &Suite,
    folder: &mut RunFolder,
    forecast: &mut Forecast,
    card: &Card,
    before: &[Recording],
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<Ending, TuneError> {
    for stage in &suite.stages {
        let own = before.iter().filter(|recording| recording.stage == stage.name);
        let done: HashSet<&str> = own.map(|recording| recording.id.as_str()).collect();
        let mut left = stage.space.len().saturating_sub(done.len());
        for candidate in stage.space.iter().filter(|candidate| !done.contains(candidate.id().as_str())) {
            if let Some(signal) = interrupt.signal() {
                folder.append(Entry::Interrupted { signal })?;
                return Ok(Ending::Interrupted { signal });
            }
            progress.expect(&stage.name, left);
            left = left.saturating_sub(1);
            let recording = forecast.recording(stage, &candidate, card);
            progress.recorded(&recording);
            // What a crash of the machine loses of it is predicted again in no time.
            folder.note(Entry::Trial(Box::new(recording)))?;
        }
    }
    folder.append(Entry::Finished)?;
    Ok(Ending::Finished)
}
