//! From a run to everything that people get of it: the suite as it was, the verdicts, the files beside the journal.

use std::path::Path;

use anyhow::Context;

use crate::analysis::{self, Analysis};
use crate::emit::{self, env, plots, trials};
use crate::knob::Candidate;
use crate::store::{Run, StoreError};
use crate::suite::{self, Overrides, Problem, Stage, Suite, SuiteSource};

/// What a run's journal leads to.
pub struct Report {
    pub analysis: Analysis,
    settings: String,
}

/// The suite of a run, read again from what its journal says: as the version read it that made the run.
pub fn suite_of(run: &Run) -> anyhow::Result<Suite> {
    let header = &run.header;
    let of_this_version = header.revision == env!("AUTOTUNE_REVISION");
    let candidates: Vec<_> = run.recordings.iter().map(|recording| &recording.candidate).collect();
    // Of this version's own runs a knob that isn't there is damage.
    let recorded = if of_this_version { &[] } else { candidates.as_slice() };
    let mut suite = suite::parse_recorded(&header.source, &header.overrides, &env::names(), recorded)?;
    if of_this_version && suite.digest != header.suite_digest {
        let why = "the suite in the journal is not the one that the run was started with".to_owned();
        return Err(StoreError::Changed { file: run.path.display().to_string(), why }.into());
    }
    suite.without_labels(|stage| header.judging_digests.contains_key(stage))?;
    suite.take_price(header.target.price_per_hour);
    run.check(&suite).map_err(StoreError::from)?;
    Ok(suite)
}

/// The verdicts on a run.
pub fn judged(run: &Run) -> anyhow::Result<Analysis> {
    Ok(analysis::analyse(&suite_of(run)?, run))
}

/// The winners of a run, of the stages that a suite has, which must be able to run them. `flag` has named the run.
pub fn winners(suite: &Suite, run: &Run, flag: &str) -> anyhow::Result<Vec<Candidate>> {
    let analysis = judged(run)?;
    let of = |stage: &Stage| {
        let problem = |why: String| Problem::new(format!("{flag} {}", run.path.display()), why);
        let own = analysis.stages.iter().find(|own| own.name == stage.name);
        let winner = own.and_then(|own| own.winner()).map(|winner| winner.summary.candidate.clone());
        let winner =
            winner.ok_or_else(|| problem(format!("the run has no winner in the stage {}", stage.name)))?;
        suite.can_run(&winner).map_err(|why| problem(format!("of the suite {}: {why}", suite.name)))?;
        Ok(winner)
    };
    suite.stages.iter().map(of).collect()
}

/// The suite by its name or file; else that of the run whose winner is the configuration; else the default.
pub fn source_of(name: Option<&str>, run: Option<&Run>) -> Result<(SuiteSource, Overrides), Problem> {
    match (name, run) {
        (None, Some(run)) => Ok((run.header.source.clone(), run.header.overrides.clone())),
        (name, _) => Ok((SuiteSource::find(name.unwrap_or(DEFAULT_SUITE))?, Overrides::default())),
    }
}

/// The suite that is taken when none is named.
const DEFAULT_SUITE: &str = "minilm";

/// The same run's suite with its settings in other words.
pub fn in_dialect(suite: Suite, run: &Run, dialect: &str) -> anyhow::Result<Suite> {
    let overrides = Overrides { dialect: Some(dialect.to_owned()), ..run.header.overrides.clone() };
    let dialect = suite::parse(&run.header.source, &overrides, &env::names())?.dialect;
    Ok(Suite { dialect, ..suite })
}

impl Report {
    /// Writes every file that is a function of the journal.
    pub fn write(suite: &Suite, run: &Run) -> anyhow::Result<Report> {
        let analysis = analysis::analyse(suite, run);
        run.write("trials.csv", &trials::csv(suite, &analysis, &run.recordings)?)?;
        let best = serde_json::to_string_pretty(&analysis)? + "\n";
        run.write("best.json", best.as_bytes())?;
        let settings = env::render(&suite.dialect, &analysis, &run.header, &run.started)?;
        run.write(".env.optimized", settings.as_bytes())?;
        let plots = plots::draw(&analysis, &run.recordings, &run.path)?;
        for plot in &plots {
            run.write(&format!("plots/{}.svg", plot.name), plot.svg.as_bytes())?;
            run.write(&format!("plots/{}.png", plot.name), &plot.png)?;
        }
        run.write("report.html", emit::page(&analysis, run, &plots, &settings)?.as_bytes())?;
        Ok(Report { analysis, settings })
    }

    /// Writes the settings where a service reads them, unless that would take away settings that work. Returns whether it did.
    pub fn write_settings(&self, file: &Path) -> anyhow::Result<bool> {
        if !self.analysis.complete() {
            return Ok(false);
        }
        std::fs::write(file, &self.settings).with_context(|| format!("--env-file {}", file.display()))?;
        Ok(true)
    }
}
