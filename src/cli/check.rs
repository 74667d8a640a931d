//! `autotune check SUITE`.

use clap::Args;

use super::tune::Changes;
use crate::emit::env;
use crate::provision::models;
use crate::suite::{self, Budget, ChosenBackend, Material, Suite, SuiteSource};
use crate::units::print_duration;

#[derive(Args)]
pub struct Arguments {
    /// A suite's name or file
    #[arg(value_name = "SUITE")]
    suite: String,
    #[command(flatten)]
    changes: Changes,
    /// Print every candidate
    #[arg(long)]
    candidates: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let source = SuiteSource::find(&arguments.suite)?;
    let mut suite = suite::parse(&source, &arguments.changes.overrides()?, &env::names())?;
    suite.check_price(&source.file)?;
    let material = suite.material(&source.folder)?;
    suite.without_labels(|stage| material.judging.contains_key(stage))?;
    material.notes.iter().for_each(|text| super::output::note(text));
    for stage in &suite.stages {
        let reads = |backend: &&str| suite.backend(backend).is_some_and(ChosenBackend::reads_models);
        if let Some(missing) = stage
            .space
            .backends()
            .iter()
            .find(|name| reads(name))
            .and_then(|_| models::wrong_name(&stage.model))
        {
            super::output::note(&format!("warning: {}: {missing}", stage.name));
        }
    }
    super::output::print(&text(&suite, &material, arguments.candidates))?;
    Ok(super::exit::DONE)
}

fn text(suite: &Suite, material: &Material, list: bool) -> String {
    let documents = material.documents.len();
    let mut text = format!("{}: valid, {documents} documents, objective {}\n", suite.name, suite.objective);
    for stage in &suite.stages {
        let candidates = stage.space.len();
        let trials = candidates.saturating_mul(suite.rounds as usize);
        let beside = if stage.space.makes_baseline() {
            ""
        } else {
            ", including the baseline, which is outside the space"
        };
        let least = suite.effort.time * u32::try_from(trials).unwrap_or(u32::MAX);
        text.push_str(&format!(
            "\n{}: {} with {}\n  {candidates} candidates{beside}\n  {} rounds: at most {trials} trials, and {} of measuring\n",
            stage.name,
            stage.task.name(),
            stage.model,
            suite.rounds,
            print_duration(least),
        ));
        let loads: std::collections::BTreeSet<String> =
            stage.space.loads().map(|candidate| suite.load_key(stage, &candidate)).collect();
        text.push_str(&format!("  {} different loads\n", loads.len()));
        for knob in &stage.swept {
            let values: Vec<String> = stage.space.values(knob).iter().map(ToString::to_string).collect();
            text.push_str(&format!("  {knob:<18} {}\n", values.join(", ")));
        }
        let swept = |knob: &str| !stage.swept.iter().any(|swept| swept == knob);
        text.push_str(&format!("  {:<18} {}\n", "baseline", stage.baseline.label(swept)));
        text.push_str(&format!("  {:<18} {}\n", "reference", stage.reference.label(swept)));
        text.push_str(&format!("  {:<18} {}\n", "quality", stage.metric.help()));
        if let Some(judging) = material.judging.get(&stage.name) {
            text.push_str(&format!("  {:<18} {}\n", "judged on", judging.gold.in_words(judging.items.len())));
        }
        for limit in &stage.limits {
            text.push_str(&format!("  {:<18} {limit}\n", "limit"));
        }
        for limit in &stage.unchecked {
            text.push_str(&format!("  {:<18} {limit} (not checked: the corpus has no labels)\n", "limit"));
        }
        for exclusion in &stage.exclusions {
            text.push_str(&format!("  {} left out: {}\n", exclusion.candidates, exclusion.because));
        }
        if list {
            for candidate in stage.space.iter() {
                text.push_str(&format!("  {}  {}\n", candidate.id(), candidate.label(swept)));
            }
        }
    }
    text.push_str(&match suite.budget {
        Budget::Whole => "\nbudget: none, everything is measured\n".to_owned(),
        Budget::Trials(trials) => format!("\nbudget: {trials} trials\n"),
        Budget::Time(time) => format!("\nbudget: {}\n", print_duration(time)),
    });
    text
}
