//! `.env.optimized`: settings in the variables of the service that is to be configured, with the evidence in comments.
//!
//! A dialect (`dialect.rs`) has one template in `dialects/`. Where its service doesn't accept the winner the best that it accepts is
//! written, with its own figures, and with what the winner would give on top. What a template doesn't ask for, its service has no key
//! for, and the file says so: a setting that got lost on the way would make the figures above it a lie.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::dialect::{DIALECTS, Dialect};
use super::{bracket, certificate, gain, interval};
use crate::analysis::{Analysis, Estimate, Ranked, StageAnalysis, Verdict};
use crate::backend::{BUILT_IN, DTYPE};
use crate::knob::{self, NO_LIMIT};
use crate::store::RunHeader;
use crate::suite::Figure;
use crate::task::Task;

pub fn names() -> Vec<&'static str> {
    DIALECTS.iter().map(|dialect| dialect.name).collect()
}

/// The best of `analysis` that the service of `dialect` accepts.
pub fn render(dialect: &str, analysis: &Analysis, header: &RunHeader, date: &str) -> anyhow::Result<String> {
    let dialect = Dialect::find(dialect)?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_syntax(super::line_syntax()?);
    environment.add_filter("env", quoted_for_shells);
    environment.add_filter("yaml", quoted_for_compose);
    environment.add_template("dialect", dialect.template)?;
    let set: Vec<(&StageAnalysis, Arc<Tracked>)> = analysis
        .stages
        .iter()
        .filter_map(|stage| Some((stage, Arc::new(Tracked::new(stage, best_of(dialect, stage)?)))))
        .collect();
    let stages: Vec<Value> =
        set.iter().map(|(_, tracked)| Value::from_dyn_object(Arc::clone(tracked))).collect();
    let of_task = |task: Task| {
        let stage = set.iter().find(|(stage, _)| stage.task == task);
        stage.map_or(Value::from(()), |(_, tracked)| Value::from_dyn_object(Arc::clone(tracked)))
    };
    let settings = environment.get_template("dialect")?.render(context! {
        stages,
        embed => of_task(Task::Embed),
        rerank => of_task(Task::Rerank),
        classify => of_task(Task::Classify),
        entities => of_task(Task::Entities),
        service => service(analysis),
    })?;
    let mut text = evidence(dialect, analysis, header, date);
    text.push('\n');
    text.push_str(settings.trim());
    text.push('\n');
    for (stage, tracked) in &set {
        for line in tracked.left_out() {
            text.push_str(&comment(&format!("{}: {line}", stage.name)));
        }
    }
    Ok(text)
}

/// What was decided about the service, as far as it was.
fn service(analysis: &Analysis) -> Value {
    let Some(service) = &analysis.service else { return Value::from(()) };
    let decided =
        [("rerank_k", service.rerank_k), ("final_n", service.final_n), ("cache_size", service.cache_size)];
    Value::from_pairs(decided.into_iter().filter_map(|(name, number)| Some((name, number?))))
}

/// The comments at the top: where the figures come from, and what they are.
fn evidence(dialect: &Dialect, analysis: &Analysis, header: &RunHeader, date: &str) -> String {
    let day = date.split('T').next().unwrap_or(date);
    let mut lines = vec![
        format!("Settings for {}, by autotune {} ({})", dialect.help, header.version, header.revision),
        format!(
            "{}: {} on {day}, suite {}",
            capital(analysis.provenance.name()),
            analysis.target,
            analysis.suite
        ),
        format!("command: {}", header.command()),
    ];
    for stage in &analysis.stages {
        lines.push(String::new());
        lines.push(format!("{} with {}, objective {}", stage.name, stage.model_title(), analysis.objective));
        if !stage.limits.is_empty() {
            lines.push(format!("  limits     {}", stage.limits.join(", ")));
        }
        match stage.winner() {
            Some(winner) => lines.extend(winner_lines(dialect, analysis.objective, stage, winner)),
            None if stage.candidates.is_empty() => {
                lines.push("  NOTHING was measured: continue with --resume".to_owned());
            }
            None => lines.push("  NO candidate can win: nothing is set for this stage".to_owned()),
        }
    }
    let doubts = analysis
        .stages
        .iter()
        .flat_map(|stage| stage.doubts.iter().map(move |doubt| (stage.name.as_str(), doubt)));
    for (stage, doubt) in doubts.chain(analysis.doubts.iter().map(|doubt| ("all stages", doubt))) {
        lines.push(format!("caution, {stage}: {}", doubt.text()));
    }
    lines.iter().map(|line| comment(line)).collect()
}

/// A comment, which stays one line whatever a suite's strings hold.
fn comment(line: &str) -> String {
    format!("# {}", line.replace(['\n', '\r'], " ")).trim_end().to_owned() + "\n"
}

/// What a service gets: the winner, or the best that it accepts.
fn best_of<'a>(dialect: &Dialect, stage: &'a StageAnalysis) -> Option<&'a Ranked> {
    stage.best_of(|candidate| dialect.accepts(stage.task, candidate))
}

/// Who won, and what is set.
fn winner_lines(dialect: &Dialect, objective: Figure, stage: &StageAnalysis, winner: &Ranked) -> Vec<String> {
    let set = best_of(dialect, stage);
    let mut lines = Vec::new();
    if set.is_none_or(|set| set.summary.id != winner.summary.id) {
        let candidate = &winner.summary.candidate;
        lines.push(line("winner", &format!("{} ({})", stage.label(candidate), winner.summary.id)));
        let why = format!("not set: this service doesn't accept dtype={}", candidate.word(DTYPE));
        lines.push(line("", &format!("{why}; `autotune export RUN` writes the winner's model")));
        lines.extend(set.and_then(|set| on_top(objective, set)));
    }
    match set {
        Some(set) => lines.extend(set_lines(dialect, stage, set)),
        None => lines.push(line("settings", "NONE: nothing that this service accepts can win")),
    }
    let count = |wanted: fn(&Verdict) -> bool| {
        stage.candidates.iter().filter(|ranked| wanted(&ranked.verdict)).count()
    };
    let mut tried = vec![format!("{} may be as good as the winner", count(Verdict::may_be_as_good))];
    let seldom = count(|verdict| matches!(verdict, Verdict::Unproven { .. }));
    if seldom > 0 {
        tried.push(format!("{seldom} were measured beside it once only, which doesn't tell"));
    }
    tried.push(format!("{} could not win", count(|verdict| matches!(verdict, Verdict::Excluded { .. }))));
    let tried = format!("{} candidates: {}", stage.candidates.len(), tried.join(", "));
    lines.push(line("tried", &tried));
    lines
}

/// What the winner would give on top of what is set.
fn on_top(objective: Figure, set: &Ranked) -> Option<String> {
    let there = Estimate::exact(1.0).over(set.verdict.ratio()?);
    let said = format!("{:.2} × the {objective} of these settings {}", there.value, bracket(there, 2));
    Some(line("", &said))
}

/// What is set, with its figures. Only the winner was confirmed and checked.
fn set_lines(dialect: &Dialect, stage: &StageAnalysis, set: &Ranked) -> Vec<String> {
    let won = set.verdict == Verdict::Won;
    let title = if won { "winner" } else { "settings" };
    let backend = &set.summary.candidate.backend;
    let engine = match BUILT_IN.contains(&backend.as_str()) {
        true => format!(
            "autotune's {backend}. The service runs {}, with other figures and perhaps another best configuration",
            dialect.engine
        ),
        false => format!("the suite's own worker {backend}"),
    };
    let mut lines = vec![
        line(title, &format!("{} ({})", stage.label(&set.summary.candidate), set.summary.id)),
        line("engine", &engine),
    ];
    for figure in [Figure::Throughput, Figure::P95, Figure::Vram, Figure::Rss, Figure::Quality] {
        let value = match set.summary.figure(figure) {
            Some(estimate) => interval(figure, estimate),
            None if figure == Figure::Quality && set.summary.predicted_within.is_some() => {
                "not checked: predicted".to_owned()
            }
            None => continue,
        };
        lines.push(line(stage.title_of(figure), &value));
    }
    if won {
        lines.extend(gain(stage).map(|gain| line("gain", &gain)));
        lines.extend(certificate::lines(stage).into_iter().map(|(what, said)| line(what, &said)));
        return lines;
    }
    if set.summary.id == stage.baseline_id {
        lines.push(line("gain", "none: this is the default configuration"));
    }
    if stage.certificate.is_some() {
        let unchecked =
            "neither confirmed, nor checked for the stability of its answers and for its longest batch:";
        lines.push(line("caution", &format!("{unchecked} that was the winner")));
    }
    lines
}

fn line(what: &str, said: &str) -> String {
    format!("  {what:<10} {said}")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A value as `.env` files and shells both read it: in double quotes if it needs any.
fn quoted_for_shells(value: &Value) -> String {
    let text = value.to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+,=;".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    let escaped = text.chars().flat_map(|c| match c {
        '"' | '\\' | '$' | '`' => vec!['\\', c],
        '\n' | '\r' => vec![' '],
        c => vec![c],
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A value as a string of a compose file, which fills in variables even there. JSON's strings are YAML's.
fn quoted_for_compose(value: &Value) -> String {
    serde_json::Value::String(value.to_string().replace('$', "$$")).to_string()
}

/// What is set of a stage, as a template sees it. Remembers which knobs were asked for.
#[derive(Debug)]
struct Tracked {
    name: String,
    model: String,
    device: String,
    knobs: indexmap::IndexMap<String, knob::Value>,
    /// `measured` or `predicted`.
    how: &'static str,
    /// What the service has when nothing is set.
    defaults: indexmap::IndexMap<String, knob::Value>,
    asked: Mutex<BTreeSet<String>>,
}

impl Tracked {
    fn new(stage: &StageAnalysis, set: &Ranked) -> Self {
        Tracked {
            name: stage.name.clone(),
            model: stage.model.clone(),
            device: set.summary.device.clone().unwrap_or_else(|| "cpu".to_owned()),
            knobs: set.summary.candidate.knobs.clone(),
            how: if set.summary.predicted_within.is_some() { "predicted" } else { "measured" },
            defaults: stage
                .baseline()
                .map(|ranked| ranked.summary.candidate.knobs.clone())
                .unwrap_or_default(),
            asked: Mutex::default(),
        }
    }

    /// The settings that the template has no key for, without those that a service has by itself.
    fn left_out(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left_out = self
            .knobs
            .iter()
            .filter(|(name, value)| !asked.contains(*name) && self.defaults.get(*name) != Some(*value));
        left_out
            .map(|(name, value)| {
                format!("{name}={value} was {}, but this dialect has no key for it", self.how)
            })
            .collect()
    }
}

impl Object for Tracked {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    /// `name`, `model` and `device`; everything else is a knob. A knob that the backend doesn't have, and a limit that
    /// isn't set, are undefined, so that templates can say `default`.
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "name" => Some(Value::from(self.name.clone())),
            "model" => Some(Value::from(self.model.clone())),
            "device" => Some(Value::from(self.device.clone())),
            name => {
                let value = self.knobs.get(name)?;
                self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.to_owned());
                match value {
                    knob::Value::Text(text) if text == NO_LIMIT => None,
                    knob::Value::Text(text) => Some(Value::from(text.clone())),
                    knob::Value::Switch(value) => Some(Value::from(*value)),
                    knob::Value::Integer(value) => Some(Value::from(*value)),
                    knob::Value::Number(value) => Some(Value::from(*value)),
                }
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.knobs.keys().map(|name| Value::from(name.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Provenance;

    #[test]
    fn every_dialect_renders_without_a_winner() {
        let analysis = Analysis {
            suite: "s".into(),
            target: "t".into(),
            provenance: Provenance::Measured,
            objective: Figure::Throughput,
            finished: true,
            stages: vec![],
            service: None,
            promises: vec![],
            doubts: vec![],
        };
        for dialect in &DIALECTS {
            let text = render(dialect.name, &analysis, &crate::store::test_header(), "2026-11-21T00:00:00Z")
                .unwrap();
            assert!(text.contains("# Measured: t on 2026-11-21, suite s"), "{text}");
        }
    }
}
