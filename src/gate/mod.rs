//! Whether a change makes something slower or worse: two programs run the same suite side by side, in pairs.
//!
//! A pair is measured in processes of its own, since processes of one program differ, too: the base, the new arm, and another process of
//! the base, which tells what differences mean nothing here (`pair.rs`). `stage.rs` takes pairs until they tell. Knows the rooms that it
//! joins; what the pairs tell is `analysis`'s.

mod arm;
mod child;
pub mod counted;
mod history;
mod pair;
mod revision;
mod series;
mod side;
mod stage;
mod stored;
mod turns;

use std::path::PathBuf;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::addon::{Setup, Tell};
use crate::analysis::gate::{self as judge, GateReport, Gated, GatedStage, Rule, Verdict};
use crate::backend::fake;
use crate::counts;
use crate::emit::env;
use crate::hardware::{Machine, Target};
use crate::knob::Candidate;
use crate::provision;
use crate::report;
use crate::runner::{Interrupt, Paths, Runner};
use crate::store::{Run, digests, lay_out};
use crate::suite::{self, Material, Suite, SuiteSource};
use crate::telemetry::Watch;
use crate::tune::target_of;

use arm::Arm;
pub use arm::{Base, Program};
pub use history::History;
use pair::{Pairs, Party, Plan};
pub use revision::NoBase;
use series::Series;
use stage::{Gating, blamed};
pub use stored::Stored;
use stored::{Setting, StoredStage};

/// A process that is measured by itself is measured for so long at most, whatever the suite says.
const LONGEST: Duration = Duration::from_millis(400);

/// What is to be compared, and how.
pub struct Order {
    pub gpu: String,
    pub suite: Option<String>,
    /// A run whose winner is the configuration; else it's the suite's baseline.
    pub config: Option<PathBuf>,
    /// A run whose winner is the new arm's configuration, where that is the change.
    pub candidate: Option<PathBuf>,
    /// Whether weights and tokenizers are made up.
    pub replica: bool,
    pub base: Base,
    pub new: Program,
    pub rule: Rule,
    /// For all stages.
    pub time: Duration,
    /// So much of the processor others may use while a pair is taken.
    pub others: f64,
    /// Where gates are remembered.
    pub history: Option<PathBuf>,
}

/// All that a gate needs once it's known to make sense.
pub struct Gate {
    suite: Suite,
    material: Material,
    target: Target,
    machine: Machine,
    source: SuiteSource,
    /// What the base runs, stage by stage, and what the new arm does.
    candidates: Vec<Candidate>,
    new_candidates: Vec<Candidate>,
    /// What was kept of the base, where that is what the new arm is compared with.
    kept: Option<Stored>,
    history: Option<History>,
    order: Order,
}

/// How a gate ended.
pub struct Ended {
    pub report: GateReport,
    /// The new arm's figures, where they are to be kept.
    pub stored: Option<Stored>,
    pub signal: Option<u8>,
    /// Why the gate couldn't be remembered.
    pub lost: Option<anyhow::Error>,
}

impl Order {
    /// Reads the suite, and the run whose winner is compared.
    pub fn begin(self) -> anyhow::Result<Gate> {
        let machine = Machine::here();
        let read = |path: &Option<PathBuf>| path.as_deref().map(Run::read).transpose();
        let (run, other) = (read(&self.config)?, read(&self.candidate)?);
        let (source, mut overrides) =
            report::source_of(self.suite.as_deref(), run.as_ref().or(other.as_ref()))?;
        overrides.replica |= self.replica;
        let mut suite = suite::parse(&source, &overrides, &env::names())?;
        suite.confirm = false;
        let material = suite.material(&source.folder)?;
        suite.without_labels(|stage| material.judging.contains_key(stage))?;
        suite.effort.time = suite.effort.time.min(LONGEST);
        suite.effort.passes = 1;
        let scripted = suite.backends.iter().all(|backend| backend.kind == fake::NAME);
        let target = target_of(&self.gpu, &suite, &machine, !scripted)?;
        let candidates = match &run {
            None => suite.stages.iter().map(|stage| stage.baseline.clone()).collect(),
            Some(run) => report::winners(&suite, run, "--config")?,
        };
        let new_candidates = match &other {
            None => candidates.clone(),
            Some(run) => report::winners(&suite, run, "--candidate")?,
        };
        self.base.check(&suite)?;
        self.new.check(&suite)?;
        let kept = match &self.base {
            Base::Kept(path) => Some(Stored::read(path)?),
            _ => None,
        };
        let history = self.history.as_deref().map(History::open).transpose()?;
        Ok(Gate {
            kept,
            history,
            suite,
            material,
            target,
            machine,
            source,
            candidates,
            new_candidates,
            order: self,
        })
    }
}

impl Gate {
    /// What is compared, in a line.
    pub fn title(&self) -> String {
        let Order { base, new, .. } = &self.order;
        let (suite, target) = (&self.suite.name, &self.target.description);
        match base {
            Base::Nothing => format!("{}, suite {suite}, on {target}", new.name()),
            _ => format!("{} beside {}, suite {suite}, on {target}", new.name(), base.name()),
        }
    }

    /// Takes the pairs and judges them.
    pub fn run(mut self, setup: Setup, interrupt: &Interrupt) -> anyhow::Result<Ended> {
        let scratch = tempfile::tempdir()?;
        let paths = lay_out(scratch.path(), &self.material)?;
        let supplies = provision::supplies(&self.suite, &self.machine, &self.target, setup);
        setup.tell.done();
        let device = self.target.device.as_deref();
        let new = self.order.new.arm(&self.suite, supplies.clone(), device)?;
        // Its worktree is there as long as it's measured.
        let (program, _built) = match &self.order.base {
            Base::Kept(_) | Base::Nothing => return Ok(self.alone(&new, &paths, setup.tell, interrupt)),
            Base::Program(program) => (program.clone(), None),
            Base::Revision(reference) => {
                let built = revision::build(reference, setup.tell)?;
                (Program::File(built.program.clone()), Some(built))
            }
        };
        setup.tell.done();
        let base = program.arm(&self.suite, supplies, device)?;
        let mut report = self.report();
        let time = self.order.time / self.suite.stages.len().max(1) as u32;
        for place in 0..self.suite.stages.len() {
            let gating = Gating {
                pairs: Pairs {
                    parties: [
                        self.party(&base, place, &self.candidates[place], &paths, "base", interrupt)
                            .in_turns(),
                        self.party(&new, place, &self.new_candidates[place], &paths, "new", interrupt)
                            .in_turns(),
                        self.party(&base, place, &self.candidates[place], &paths, "again", interrupt)
                            .in_turns(),
                    ],
                    alone: self.target.is_gpu(),
                    others: self.order.others,
                    random: Pcg64::seed_from_u64(self.suite.seed),
                    turn: 0,
                    plan: Plan::LEAST,
                },
                rule: self.order.rule,
                time,
                tell: setup.tell,
            };
            report.stages.push(gating.run());
            if interrupt.signal().is_some() {
                break;
            }
        }
        let signal = interrupt.signal();
        if signal.is_none() {
            setup.tell.step("what both programs count");
            self.explain(&mut report, &program, setup.tell);
            setup.tell.done();
        }
        let mut lost = None;
        if let (Some(mut history), None) = (self.history.take(), signal) {
            // Another file is of whatever it was built of.
            let here = !matches!(self.order.new, Program::File(_));
            match history.remember(&report, &self.setting(), here) {
                Ok(trends) => report.trends = trends,
                Err(error) => lost = Some(error),
            }
        }
        Ok(Ended { report, stored: None, signal, lost })
    }

    /// Where a build of this program takes more time or less than another: what it does more of, or less.
    fn explain(&self, report: &mut GateReport, base: &Program, tell: &dyn Tell) {
        let Order { suite, config, candidate, replica, new, .. } = &self.order;
        if candidate.is_some() || *base == Program::This {
            return;
        }
        let order = counts::Order { suite: suite.clone(), config: config.clone(), replica: *replica };
        let changed = |stage: &&mut GatedStage| {
            !stage.pairs.is_empty() && matches!(stage.verdict, Verdict::Regression | Verdict::Improved)
        };
        let mut changes = None;
        for stage in report.stages.iter_mut().filter(changed) {
            let all = changes.get_or_insert_with(|| counted::changes_between(base, new, &order, tell));
            let place = format!("{} · {}", stage.stage, stage.candidate.backend);
            stage.changes = all.iter().filter(|change| change.place.starts_with(&place)).cloned().collect();
        }
    }

    /// A report in which no stage is yet.
    fn report(&self) -> GateReport {
        GateReport {
            suite: self.suite.name.clone(),
            target: self.target.description.clone(),
            base: self.order.base.name(),
            new: self.order.new.name(),
            rule: self.order.rule,
            stages: Vec::new(),
            trends: Vec::new(),
        }
    }

    /// Measures the new arm by itself, and compares it with what was kept, if that is comparable.
    fn alone(&self, new: &Arm, paths: &Paths, tell: &dyn Tell, interrupt: &Interrupt) -> Ended {
        let mut report = self.report();
        let setting = self.setting();
        let mut stored = Stored::new(self.order.new.name(), setting.clone());
        let differs = self.kept.as_ref().and_then(|kept| kept.setting.differs_from(&setting));
        for (place, candidate) in self.new_candidates.iter().enumerate() {
            let name = &self.suite.stages[place].name;
            let invalid = |why| GatedStage::without_figures(name, candidate, Verdict::Invalid, why);
            if let Some(why) = &differs {
                report.stages.push(invalid(format!("not comparable: {why}")));
                continue;
            }
            let party = self.party(new, place, candidate, paths, "new", interrupt);
            match (Series { party, others: self.order.others, tell }.take(), &self.kept) {
                (Err(fault), _) => {
                    let (verdict, why) = blamed(fault, 0, "processes");
                    report.stages.push(GatedStage::without_figures(name, candidate, verdict, why));
                }
                (Ok(now), kept) => {
                    if let Some(kept) = kept {
                        report.stages.push(match kept.stages.get(name) {
                            Some(then) => beside(name, &now, then, kept.day(), self.order.rule),
                            None => invalid(format!("not comparable: the file has no stage {name}")),
                        });
                    }
                    stored.stages.insert(name.clone(), now);
                }
            }
            if interrupt.signal().is_some() {
                break;
            }
        }
        let whole = stored.stages.len() == self.suite.stages.len();
        Ended { report, stored: whole.then_some(stored), signal: interrupt.signal(), lost: None }
    }

    fn setting(&self) -> Setting {
        Setting {
            suite: self.suite.name.clone(),
            suite_digest: self.suite.digest.clone(),
            corpus_digest: digests(&self.material).0,
            target: self.target.description.clone(),
            machine: self.machine.clone(),
        }
    }

    fn party<'a>(
        &'a self,
        arm: &'a Arm,
        stage: usize,
        candidate: &'a Candidate,
        paths: &Paths,
        name: &str,
        interrupt: &Interrupt,
    ) -> Party<'a> {
        let paths = Paths { answers: paths.answers.join(name), ..paths.clone() };
        let runner = Runner::new(
            &arm.suite,
            &self.target,
            arm.folder.as_ref().unwrap_or(&self.source.folder),
            &self.material,
            paths,
            &arm.supplies,
            interrupt.clone(),
        );
        let watch = Watch::over(&self.machine, self.target.device.as_deref());
        Party { runner: runner.watching(watch), stage: &arm.suite.stages[stage], candidate }
    }
}

/// What is told of a stage by what was kept of it.
fn beside(name: &str, now: &StoredStage, then: &StoredStage, day: &str, rule: Rule) -> GatedStage {
    let versions = [then.version.clone(), now.version.clone()];
    let with = |verdict, sentence| GatedStage {
        versions: versions.clone(),
        ..GatedStage::without_figures(name, &now.candidate, verdict, sentence)
    };
    if let Some(why) = then.differs_from(now) {
        return with(Verdict::Invalid, format!("not comparable: {why}"));
    }
    let figures = Gated::ALL.into_iter().filter_map(|figure| {
        let of = |stage: &StoredStage| stage.figure(|side| side.figure(figure));
        let (now, then) = (of(now), of(then));
        (!now.is_empty() && !then.is_empty()).then_some((figure, now, then))
    });
    let figures = judge::compare_with_kept(&figures.collect::<Vec<_>>(), rule);
    if let Some(why) = judge::worse_than_kept(&now.quality, &then.quality) {
        return GatedStage { figures, ..with(Verdict::Regression, why) };
    }
    let (verdict, sentence) = judge::verdict(&figures, 0, rule, "processes");
    let answers = match now.answers == then.answers {
        true => "",
        false => "; the answers aren't the same as then",
    };
    let sentence = format!(
        "{sentence}; beside figures of {day}, so what the machine does differently today counts, too{answers}"
    );
    GatedStage { figures, ..with(verdict, sentence) }
}
