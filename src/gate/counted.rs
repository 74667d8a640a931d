//! What two programs do, in counts: nothing is timed, so that it tells on any machine.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use indexmap::IndexMap;

use super::arm::{Base, Program, executable, is_a_build};
use super::child::{self, Unended};
use super::revision;
use crate::addon::Tell;
use crate::analysis::counts::{Change, Counts, Finding, changes, worst};
use crate::analysis::gate::{GateReport, GatedStage, Rule, Verdict};
use crate::counts::{self, Order};
use crate::suite::Problem;

/// Counting takes a second; fetching a model's outline may take longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Counts both programs, and says what there is more of.
pub fn compare(order: &Order, base: &Base, new: &Program, tell: &dyn Tell) -> anyhow::Result<Compared> {
    // Before anything is built: what is wrong with the suite is wrong with it at once.
    let now = of(new, order, tell)?;
    let was = match base {
        Base::Kept(file) => Some(Ok(counts::read("--baseline", file)?)),
        Base::Nothing => None,
        Base::Program(program) => Some(of(program, order, tell)?),
        Base::Revision(reference) => {
            let built = revision::build(reference, tell)?;
            Some(of(&Program::File(built.program.clone()), order, tell)?)
        }
    };
    let mut report = GateReport {
        suite: now.as_ref().map(|counts| counts.suite.clone()).unwrap_or_default(),
        target: "any machine: what is counted isn't timed".to_owned(),
        base: base.name(),
        new: new.name(),
        rule: Rule { margin: 0.0, error: 0.0 },
        stages: Vec::new(),
        trends: Vec::new(),
    };
    match (was, &now) {
        (None, _) => {}
        (Some(Ok(was)), Ok(now)) => report.stages = stages(&was, now),
        (Some(Err(why)), _) => report.stages = vec![uncounted(why)],
        (_, Err(why)) => report.stages = vec![uncounted(why.clone())],
    }
    Ok(Compared { report, counts: now.ok() })
}

/// What another build of this program does differently, if both can be counted; nothing where one can't.
pub fn changes_between(base: &Program, new: &Program, order: &Order, tell: &dyn Tell) -> Vec<Change> {
    let counted = |program: &Program| of(program, order, tell).ok()?.ok();
    counted(base).zip(counted(new)).map(|(was, now)| changes(&was, &now)).unwrap_or_default()
}

/// What was found, and the new arm's counts, which may be kept.
pub struct Compared {
    pub report: GateReport,
    pub counts: Option<Counts>,
}

/// The counts of a program, or why it has none.
fn of(program: &Program, order: &Order, tell: &dyn Tell) -> anyhow::Result<Result<Counts, String>> {
    match program {
        Program::This => Ok(Ok(order.count(|what| tell.say(what))?)),
        Program::File(path) => {
            let path = executable(path)?;
            is_a_build(&path).map_err(|why| Problem::new(program.name(), why))?;
            Ok(told(&path, order, tell))
        }
        Program::Worker(_) => {
            let why = "a worker isn't counted: its operations are its own affair";
            Err(Problem::new(program.name(), why).into())
        }
    }
}

/// What another build counts.
fn told(program: &Path, order: &Order, tell: &dyn Tell) -> Result<Counts, String> {
    let mut command = Command::new(program);
    command.args(["counts", "--json"]);
    let flag = |command: &mut Command, name: &str, value: &OsStr| _ = command.arg(name).arg(value);
    if let Some(suite) = &order.suite {
        flag(&mut command, "--suite", suite.as_ref());
    }
    if let Some(run) = &order.config {
        flag(&mut command, "--config", run.as_ref());
    }
    if order.replica {
        command.arg("--replica");
    }
    let name = program.display();
    let said = child::run(&mut command, PATIENCE, || tell.is_stopped()).map_err(|unended| match unended {
        Unended::NotStarted(error) => format!("{name} can't be started: {error}"),
        Unended::TooLong => format!("{name} counts for longer than {} s", PATIENCE.as_secs()),
        Unended::Stopped => "interrupted before both were counted, which decides nothing".to_owned(),
    })?;
    if !said.status.success() {
        let why = said.err.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(format!("{name} doesn't count: {}", why.trim()));
    }
    counts::parse(&said.out).map_err(|why| format!("{name}: {why}"))
}

/// A stage of the report for each that was counted, with what has changed in it.
fn stages(was: &Counts, now: &Counts) -> Vec<GatedStage> {
    let mut by_place: IndexMap<String, Vec<Change>> =
        now.entries.iter().map(|entry| (entry.title(), Vec::new())).collect();
    let candidates: IndexMap<String, _> =
        was.entries.iter().chain(&now.entries).map(|entry| (entry.title(), &entry.configuration)).collect();
    for change in changes(was, now) {
        if change.place.is_empty() {
            // What is about all of them is about each.
            by_place.values_mut().for_each(|own| own.push(change.clone()));
        } else {
            by_place.entry(change.place.clone()).or_default().push(change);
        }
    }
    let stage = |(place, changes): (String, Vec<Change>)| {
        let (verdict, sentence) = judged(&changes);
        let candidate = candidates.get(&place).map(|candidate| (*candidate).clone());
        let candidate = candidate.unwrap_or_else(none);
        GatedStage { changes, ..GatedStage::without_figures(&place, &candidate, verdict, sentence) }
    };
    by_place.into_iter().map(stage).collect()
}

/// So many changes are named in a sentence; a list has all of them.
const MOST_NAMED: usize = 3;

/// What changes come to.
fn judged(changes: &[Change]) -> (Verdict, String) {
    let worst = worst(changes);
    let named = |finding: Finding| {
        let words: Vec<String> =
            changes.iter().filter(|change| change.finding == finding).map(Change::in_words).collect();
        let rest = words.len().saturating_sub(MOST_NAMED);
        let rest = if rest > 0 { format!("; and {rest} others") } else { String::new() };
        words[..words.len().min(MOST_NAMED)].join("; ") + &rest
    };
    match worst {
        None => (Verdict::Pass, "no count has changed".to_owned()),
        Some(Finding::Aside) => {
            (Verdict::Pass, format!("nothing that counts has changed: {}", named(Finding::Aside)))
        }
        Some(Finding::Fewer) => (Verdict::Improved, format!("less than before: {}", named(Finding::Fewer))),
        Some(Finding::NotComparable) => {
            (Verdict::Invalid, format!("not comparable: {}", named(Finding::NotComparable)))
        }
        Some(Finding::More) => (Verdict::Regression, format!("more than before: {}", named(Finding::More))),
    }
}

fn uncounted(why: String) -> GatedStage {
    GatedStage::without_figures("counts", &none(), Verdict::Invalid, why)
}

/// Where no configuration was counted.
fn none() -> crate::knob::Candidate {
    crate::knob::Candidate { backend: String::new(), knobs: IndexMap::new() }
}
