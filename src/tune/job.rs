//! A run that was begun: now, or before and taken up again.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::sweep::{Expected, Tuning};
use super::{Ending, Progress, predicted};
use crate::addon::Setup;
use crate::emit::env;
use crate::hardware::{Machine, Provenance, Target};
use crate::predict::Forecast;
use crate::provision;
use crate::quality::References;
use crate::record::{Prior, Recording};
use crate::report::{self, Report};
use crate::runner::{Interrupt, Runner};
use crate::store::{Entry, Run, RunFolder, StoreError};
use crate::suite::{self, Folder, Material, Overrides, Suite};
use crate::telemetry::Watch;

/// Everything that tuning needs.
pub struct Job {
    pub(super) suite: Suite,
    pub(super) target: Target,
    pub(super) machine: Machine,
    pub(super) material: Material,
    pub(super) source_folder: Folder,
    pub(super) folder: RunFolder,
    pub(super) prior: Option<Prior>,
    /// What earlier processes left of it.
    pub(super) before: Option<Run>,
}

impl Job {
    /// Takes up the run in a folder, with another budget if one is given.
    pub fn resume(folder: &Path, budget: Option<&str>) -> anyhow::Result<Job> {
        let (mut folder, run) = RunFolder::resume(&std::path::absolute(folder)?)?;
        let mut suite = report::suite_of(&run)?;
        let header = &run.header;
        // A run in which nothing real is measured asks no driver.
        let machine = match &header.target.device {
            Some(_) => Machine::here(),
            None => header.machine.clone(),
        };
        if let Some(why) = header.machine.differs_from(&machine) {
            let why = format!(
                "this run was started on another machine: {why}. Figures of two machines can't be compared"
            );
            return Err(StoreError::Changed { file: run.path.display().to_string(), why }.into());
        }
        if let Some(budget) = budget.map(str::to_owned).or_else(|| run.budget.clone()) {
            let overrides = Overrides { budget: Some(budget), ..header.overrides.clone() };
            suite.budget = suite::parse(&header.source, &overrides, &env::names())?.budget;
        }
        let material = run.material()?;
        if has_more(&run) || budget.is_some() {
            let (revision, budget) = (env!("AUTOTUNE_REVISION").to_owned(), budget.map(str::to_owned));
            folder.append(Entry::Resumed { revision, budget })?;
        }
        let (target, source_folder) = (header.target.clone(), header.source.folder.clone());
        let prior = header.prior.clone();
        Ok(Job { suite, target, machine, material, source_folder, folder, prior, before: Some(run) })
    }

    /// The line of the journal at which an earlier process was cut short, if it was.
    pub fn torn_line(&self) -> Option<usize> {
        self.before.as_ref()?.torn.as_ref().map(|torn| torn.line)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether there is anything left to try.
    pub fn has_more(&self) -> bool {
        self.before.as_ref().is_none_or(has_more)
    }

    /// Measures, predicts or simulates what is left.
    pub fn run(
        &mut self,
        setup: Setup,
        interrupt: &Interrupt,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<Ending> {
        match self.target.provenance {
            Provenance::Predicted => self.predict(setup, interrupt, progress),
            Provenance::Measured | Provenance::Simulated => self.tune(setup, interrupt, progress),
        }
    }

    /// The report on what there is by now, written beside the journal.
    pub fn report(&self) -> anyhow::Result<Report> {
        Report::write(&self.suite, &Run::read(self.folder.path())?)
    }

    fn tune(
        &mut self,
        setup: Setup,
        interrupt: &Interrupt,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<Ending> {
        let (recordings, references) = match &self.before {
            Some(run) => {
                // What wasn't available is tried again: the remedy may have been followed.
                let mut recordings = run.recordings.clone();
                recordings.retain(|recording| !recording.was_not_available());
                (recordings, self.folder.references(run))
            }
            None => (Vec::new(), References::new()),
        };
        let paths = self.folder.paths(&self.material);
        let mut supplies = provision::supplies(&self.suite, &self.machine, &self.target, setup);
        setup.tell.done();
        if let Some(signal) = interrupt.signal() {
            // While something was provided: nothing was tried, and nothing is to blame.
            self.folder.append(Entry::Interrupted { signal })?;
            return Ok(Ending::Interrupted { signal });
        }
        supplies.program = std::env::current_exe()?;
        let device = self.target.device.as_deref();
        let mut runner = Runner::new(
            &self.suite,
            &self.target,
            &self.source_folder,
            &self.material,
            paths,
            &supplies,
            interrupt.clone(),
        )
        .watching(Watch::over(&self.machine, device));
        runner.remember(&recordings);
        let on_card = device.is_some_and(|device| device.starts_with("cuda"));
        let expected = on_card.then(|| Expected {
            forecast: Forecast::new(&self.suite, &self.material.documents, supplies.folders.clone()),
            card: self.target.card(),
        });
        let tuning = Tuning {
            suite: &self.suite,
            material: &self.material,
            folder: &mut self.folder,
            runner,
            interrupt: interrupt.clone(),
            progress,
            recordings,
            references,
            references_took: self.before.as_ref().map_or(Duration::ZERO, Run::references_took),
            parts: self.before.as_ref().map_or_else(HashMap::new, Run::parts),
            confirmations: self.before.as_ref().map_or_else(HashMap::new, Run::confirmations),
            served: self.before.as_ref().is_some_and(|run| run.served().is_some()),
            expected,
            prior: self.prior.as_ref(),
        };
        Ok(tuning.run()?)
    }

    fn predict(
        &mut self,
        setup: Setup,
        interrupt: &Interrupt,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<Ending> {
        let card = self.target.card().with_context(|| {
            format!(
                "the table of GPUs of this version doesn't have {:?}, the target of the run",
                self.target.name
            )
        })?;
        let folders = provision::outlines(&self.suite, |what| setup.tell.say(what));
        let mut forecast = Forecast::new(&self.suite, &self.material.documents, folders);
        let before = self.before.as_ref().map_or(&[][..], |run| &run.recordings);
        Ok(predicted::predict(
            &self.suite,
            &mut self.folder,
            &mut forecast,
            card,
            before,
            interrupt,
            progress,
        )?)
    }
}

/// Whether there is anything left to try of a run: it was broken off, or something wasn't available then.
fn has_more(run: &Run) -> bool {
    let lacked = || run.recordings.iter().any(Recording::was_not_available);
    !run.finished() || (run.header.target.device.is_some() && lacked())
}
