//! `report.html`: everything on one page that opens from disk, without a network.

use minijinja::{Environment, Value, context};

use super::plots::Plot;
use super::table::verdict_words;
use super::{bracket, interval};
use crate::analysis::{Analysis, Ranked, StageAnalysis, Verdict};
use crate::knob::BACKEND;
use crate::store::Run;
use crate::suite::Figure;

/// The page of a run, with its charts inside.
pub fn page(analysis: &Analysis, run: &Run, plots: &[Plot], env: &str) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_syntax(super::line_syntax()?);
    environment.add_template("report.html", include_str!("report.html"))?;
    let stages: Vec<Value> =
        analysis.stages.iter().map(|stage| stage_value(stage, analysis.objective, plots)).collect();
    let header = &run.header;
    let page = environment.get_template("report.html")?.render(context! {
        suite => analysis.suite.as_str(),
        target => analysis.target.as_str(),
        provenance => analysis.provenance.name(),
        objective => analysis.objective.name(),
        ending => crate::analysis::ending(run),
        started => run.started.split('.').next().unwrap_or_default().replace('T', " "),
        version => header.version.as_str(),
        revision => header.revision.as_str(),
        command => header.command(),
        machine => header.machine.cpu_line(),
        gpus => header.machine.gpu_line(),
        system => header.machine.system.as_str(),
        suite_digest => header.suite_digest.as_str(),
        corpus_digest => header.corpus_digest.as_str(),
        trials => run.recordings.len(),
        doubts => analysis.doubts.iter().map(|doubt| doubt.text()).collect::<Vec<_>>(),
        suite_text => header.source.text.as_str(),
        env,
        sheets => super::service::values(analysis),
        stages,
    })?;
    Ok(page)
}

fn stage_value(stage: &StageAnalysis, objective: Figure, plots: &[Plot]) -> Value {
    let own = plots.iter().filter(|plot| plot.stage == stage.name);
    let charts: Vec<Value> = own
        .map(|plot| context! { name => plot.name.as_str(), svg => Value::from_safe_string(plot.svg.clone()) })
        .collect();
    let figures: Vec<Figure> = Figure::ALL
        .into_iter()
        .filter(|figure| stage.candidates.iter().any(|ranked| ranked.summary.value(*figure).is_some()))
        .collect();
    let knobs = varied(stage);
    let rows: Vec<Value> =
        stage.candidates.iter().map(|ranked| row(stage, ranked, &knobs, &figures)).collect();
    context! {
        name => stage.name.as_str(),
        task => stage.task.name(),
        model => stage.model_title(),
        metric => stage.metric.help(),
        reference => stage.reference_label(),
        limits => stage.limits.clone(),
        winner => stage.winner().map(|winner| stage.label(&winner.summary.candidate)),
        value => stage.winner().and_then(|winner| winner.summary.figure(objective)).map(|value| interval(objective, value)),
        gain => super::gain(stage),
        certificate => super::certificate::lines(stage),
        doubts => stage.doubts.iter().map(|doubt| doubt.text()).collect::<Vec<_>>(),
        left_out => stage.left_out.iter().filter(|left| left.candidates > 0).map(|left| format!("{} left out: {}", left.candidates, left.because)).collect::<Vec<_>>(),
        columns => figures.iter().map(|figure| column(stage, *figure)).collect::<Vec<_>>(),
        knobs => knobs.clone(),
        rows,
        charts,
    }
}

/// The backend and the knobs in which candidates differ.
fn varied(stage: &StageAnalysis) -> Vec<String> {
    let mut names = vec![BACKEND.to_owned()];
    for name in stage.candidates.iter().flat_map(|ranked| ranked.summary.candidate.knobs.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.retain(|name| !stage.is_shared(name));
    names
}

/// The heading of a figure's column. Rates have their unit there, and not in every cell.
fn column(stage: &StageAnalysis, figure: Figure) -> Value {
    let name = match figure {
        Figure::Throughput => "docs/s",
        Figure::Tokens => "tokens/s",
        other => stage.title_of(other),
    };
    context! { name, help => figure.help() }
}

fn row(stage: &StageAnalysis, ranked: &Ranked, knobs: &[String], figures: &[Figure]) -> Value {
    let summary = &ranked.summary;
    let why = match (&ranked.verdict, ranked.verdict.ratio()) {
        (Verdict::Excluded { why, .. }, _) => why.clone(),
        (_, Some(ratio)) => format!("{:.3} {} of the winner", ratio.value, bracket(ratio, 3)),
        (_, None) => String::new(),
    };
    let cells: Vec<Value> = figures
        .iter()
        .map(|figure| match summary.figure(*figure) {
            Some(estimate) => context! {
                text => figure.print(estimate.value).trim_end_matches(" docs/s").trim_end_matches(" tokens/s").to_owned(),
                // For sorting in the page.
                value => estimate.value,
                interval => estimate.interval.map(|_| interval(*figure, estimate)).unwrap_or_default(),
            },
            None => context! { text => "–", value => "", interval => "" },
        })
        .collect();
    context! {
        id => summary.id.as_str(),
        words => knobs.iter().map(|knob| summary.candidate.word(knob)).collect::<Vec<_>>(),
        baseline => summary.id == stage.baseline_id,
        won => ranked.verdict == Verdict::Won,
        excluded => matches!(ranked.verdict, Verdict::Excluded { .. }),
        front => stage.front.contains(&summary.id),
        verdict => verdict_words(&ranked.verdict),
        why,
        stderr => summary.failure.as_ref().map(|failure| failure.stderr.clone()).unwrap_or_default(),
        rounds => summary.rounds,
        cells,
    }
}
