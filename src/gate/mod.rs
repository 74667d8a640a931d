//! Whether a change makes something slower or worse: two programs run the same suite side by side, in pairs.
//!
//! A pair is measured in processes of its own, since processes of one program differ, too. Each arm is measured twice in it, in the order
//! base, new, new, base or the other way round, so that a machine that slows down harms neither; and then another process of the
//! base in the same way, which tells what differences mean nothing here. Knows the rooms that it joins; what the pairs tell is
//! `analysis`'s.

mod arm;
mod revision;
mod side;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::addon::{Setup, Tell};
use crate::analysis::gate::{
    self as judge, Finding, GateReport, Gated, GatedStage, LOOKS, Pair, Rule, Verdict, looks,
};
use crate::analysis::ranks::LEAST_PAIRS;
use crate::backend::fake;
use crate::emit::env;
use crate::hardware::{Machine, Target};
use crate::knob::Candidate;
use crate::provision;
use crate::quality::References;
use crate::record::{Failure, Status};
use crate::report;
use crate::runner::{Interrupt, Paths, Place, Runner, Stopped, Trial};
use crate::store::{Run, lay_out};
use crate::suite::{self, Material, Stage, Suite, SuiteSource};
use crate::telemetry::Watch;
use crate::tune::target_of;

use arm::Arm;
pub use arm::{Base, Program};
pub use revision::NoBase;
use side::Side;

/// A measurement lasts so long at most, whatever the suite says: many short ones tell more than a few long ones.
const LONGEST: Duration = Duration::from_millis(400);

/// What is to be compared, and how.
pub struct Order {
    pub gpu: String,
    pub suite: Option<String>,
    /// A run whose winner is the configuration; else it's the suite's baseline.
    pub config: Option<PathBuf>,
    pub base: Base,
    pub new: Program,
    pub rule: Rule,
    /// For all stages.
    pub time: Duration,
}

/// All that a gate needs once it's known to make sense.
pub struct Gate {
    suite: Suite,
    material: Material,
    target: Target,
    machine: Machine,
    source: SuiteSource,
    candidates: Vec<Candidate>,
    order: Order,
}

/// How a gate ended.
pub struct Ended {
    pub report: GateReport,
    pub signal: Option<u8>,
}

impl Order {
    /// Reads the suite, and the run whose winner is compared.
    pub fn begin(self) -> anyhow::Result<Gate> {
        let machine = Machine::here();
        let run = self.config.as_deref().map(Run::read).transpose()?;
        let (source, overrides) = report::source_of(self.suite.as_deref(), run.as_ref())?;
        let mut suite = suite::parse(&source, &overrides, &env::names())?;
        let material = suite.material(&source.folder)?;
        suite.without_labels(|stage| material.judging.contains_key(stage))?;
        suite.effort.time = suite.effort.time.min(LONGEST);
        suite.effort.passes = 1;
        let scripted = suite.backends.iter().all(|backend| backend.kind == fake::NAME);
        let target = target_of(&self.gpu, &suite, &machine, !scripted)?;
        let candidates = match &run {
            None => suite.stages.iter().map(|stage| stage.baseline.clone()).collect(),
            Some(run) => report::winners(&suite, run)?,
        };
        Ok(Gate { suite, material, target, machine, source, candidates, order: self })
    }
}

impl Gate {
    /// What is compared, in a line.
    pub fn title(&self) -> String {
        let Order { base, new, .. } = &self.order;
        format!(
            "{} beside {}, suite {}, on {}",
            new.name(),
            base.name(),
            self.suite.name,
            self.target.description
        )
    }

    /// Takes the pairs and judges them.
    pub fn run(self, setup: Setup, interrupt: &Interrupt) -> anyhow::Result<Ended> {
        let scratch = tempfile::tempdir()?;
        let paths = lay_out(scratch.path(), &self.material)?;
        let supplies = provision::supplies(&self.suite, &self.machine, &self.target, setup);
        setup.tell.done();
        let device = self.target.device.as_deref();
        // Its worktree is there as long as it's measured.
        let (program, _built) = match &self.order.base {
            Base::Program(program) => (program.clone(), None),
            Base::Revision(reference) => {
                let built = revision::build(reference, setup.tell)?;
                (Program::File(built.program.clone()), Some(built))
            }
        };
        setup.tell.done();
        let base = program.arm(&self.suite, supplies.clone(), device)?;
        let new = self.order.new.arm(&self.suite, supplies, device)?;
        let mut report = GateReport {
            suite: self.suite.name.clone(),
            target: self.target.description.clone(),
            base: self.order.base.name(),
            new: self.order.new.name(),
            rule: self.order.rule,
            stages: Vec::new(),
        };
        let time = self.order.time / self.suite.stages.len().max(1) as u32;
        for (place, candidate) in self.candidates.iter().enumerate() {
            let mut arms = Arms {
                base: self.runner(&base, &paths, "base", interrupt),
                again: self.runner(&base, &paths, "again", interrupt),
                new: self.runner(&new, &paths, "new", interrupt),
                stages: [&base.suite.stages[place], &new.suite.stages[place]],
                candidate,
                rule: self.order.rule,
                random: Pcg64::seed_from_u64(self.suite.seed),
                turn: 0,
            };
            match arms.stage(time, setup.tell) {
                Ok(stage) => report.stages.push(stage),
                Err(Stopped::Interrupted) => return Ok(Ended { report, signal: interrupt.signal() }),
                Err(Stopped::LoadBroke(failure)) => {
                    let why = format!("{}: {}", report.base, failure.in_words());
                    report.stages.push(arms.without_pairs(Verdict::Invalid, why));
                }
            }
        }
        Ok(Ended { report, signal: None })
    }

    fn runner<'a>(&'a self, arm: &'a Arm, paths: &Paths, name: &str, interrupt: &Interrupt) -> Runner<'a> {
        let paths = Paths { answers: paths.answers.join(name), ..paths.clone() };
        Runner::new(
            &arm.suite,
            &self.target,
            &self.source.folder,
            &self.material,
            paths,
            &arm.supplies,
            interrupt.clone(),
        )
        .watching(Watch::over(&self.machine, self.target.device.as_deref()))
    }
}

/// What takes the pairs of one stage.
struct Arms<'a> {
    base: Runner<'a>,
    /// Another process of the base.
    again: Runner<'a>,
    new: Runner<'a>,
    /// The stage as the base has it, and as the new arm has it.
    stages: [&'a Stage; 2],
    candidate: &'a Candidate,
    rule: Rule,
    random: Pcg64,
    /// Measurements so far: each is a round of its own, so that nobody draws the same noise twice.
    turn: u32,
}

/// Which arm failed to be measured, and why.
enum Fault {
    Base(Failure),
    New(Failure),
    /// Neither: the pair doesn't count.
    Pair(String),
    Stopped(Stopped),
}

impl Arms<'_> {
    fn stage(&mut self, time: Duration, tell: &dyn Tell) -> Result<GatedStage, Stopped> {
        let start = Instant::now();
        let candidate = self.candidate;
        tell.step("answers of both arms");
        let (reference, _) = match self.base.right_answers(self.stages[0], candidate, Place::Target)? {
            Ok(right) => right,
            Err(failure) => {
                let why = format!("the base gives no answers: {}", failure.in_words());
                return Ok(self.without_pairs(Verdict::Invalid, why));
            }
        };
        let references = References::from([(self.stages[1].name.clone(), reference)]);
        let trial = Trial { stage: self.stages[1], candidate, round: 0 };
        let first = match self.new.trial(&trial, &references) {
            Ok(recording) => recording,
            Err(Stopped::LoadBroke(failure)) => return Ok(self.failed(&failure)),
            Err(stopped) => return Err(stopped),
        };
        if let Some(failure) = first.failure() {
            return Ok(self.failed(failure));
        }
        self.rest();
        let worse = judge::worse_answers(self.stages[1].metric, &first.agreements);
        let mut taken = Taken::default();
        let mut planned = LEAST_PAIRS;
        let compared = loop {
            let count = taken.pairs.len();
            if count == LEAST_PAIRS {
                planned = self.plan(&taken, start.elapsed(), time);
            }
            let looks = looks(planned);
            if count >= LEAST_PAIRS && looks.contains(&count) {
                let compared = judge::compare(&taken.figures(), self.rule, LOOKS);
                let open = compared.iter().any(|one| one.finding == Finding::Ambiguous);
                if !open || count >= planned || worse.is_some() {
                    break compared;
                }
            }
            // Who is disturbed all the time is never done.
            if taken.dropped.len() > LEAST_PAIRS + count {
                break judge::compare(&taken.figures(), self.rule, LOOKS);
            }
            tell.step(&format!("pair {} of {planned}", count + 1));
            match self.pair(&references) {
                Ok(pair) => taken.pairs.push(pair),
                Err(Fault::Pair(why)) => taken.dropped.push(why),
                Err(Fault::New(failure)) => return Ok(self.failed(&failure)),
                Err(Fault::Base(failure)) => {
                    let why = format!("the base failed: {}", failure.in_words());
                    return Ok(self.without_pairs(Verdict::Invalid, why));
                }
                Err(Fault::Stopped(stopped)) => return Err(stopped),
            }
        };
        let own = taken.own();
        let (verdict, sentence) = judge::verdict(&compared, worse, taken.dropped.len(), self.rule);
        Ok(GatedStage {
            stage: self.stages[0].name.clone(),
            candidate: candidate.clone(),
            verdict,
            sentence,
            figures: compared,
            answers: first.agreements,
            calibration: judge::calibrate(&own, taken.pairs.len(), self.rule, 0),
            needed: (!own.is_empty()).then(|| judge::needed(&own, self.rule)),
            pairs: taken.pairs,
            dropped: taken.dropped,
        })
    }

    /// How many pairs are taken: as many as the noise asks for, or as there is time for.
    fn plan(&self, taken: &Taken, spent: Duration, time: Duration) -> usize {
        let of_a_pair = spent.as_secs_f64() / (taken.pairs.len() + taken.dropped.len()).max(1) as f64;
        let left = time.saturating_sub(spent).as_secs_f64();
        let most = taken.pairs.len() + (left / of_a_pair.max(1e-6)) as usize;
        judge::needed(&taken.own(), self.rule).min(most)
    }

    /// Takes a pair, in processes of its own.
    fn pair(&mut self, references: &References) -> Result<Pair, Fault> {
        let new_first = self.random.random_bool(0.5);
        let base = self.stages[0];
        let pair = (|| {
            let [of_base, of_new] = turns(
                [(&mut self.base, base), (&mut self.new, self.stages[1])],
                self.candidate,
                references,
                new_first,
                &mut self.turn,
            )
            .map_err(|(place, fault)| fault.of(if place == 0 { Fault::Base } else { Fault::New }))?;
            self.new.end();
            let [before, again] = turns(
                [(&mut self.base, base), (&mut self.again, base)],
                self.candidate,
                references,
                !new_first,
                &mut self.turn,
            )
            .map_err(|(_, fault)| fault.of(Fault::Base))?;
            Ok(Pair { ratios: of_new.beside(&of_base), own: again.seconds / before.seconds })
        })();
        self.rest();
        pair
    }

    /// Ends all workers, so that the next pair has others.
    fn rest(&mut self) {
        self.base.end();
        self.again.end();
        self.new.end();
    }

    /// The new arm can't be measured and the base can.
    fn failed(&self, failure: &Failure) -> GatedStage {
        let why = format!("the new arm failed: {}", failure.in_words());
        // What isn't here says nothing of what the arm does where it is.
        let absent = failure.status == Status::NotAvailable;
        self.without_pairs(if absent { Verdict::Invalid } else { Verdict::Regression }, why)
    }

    fn without_pairs(&self, verdict: Verdict, sentence: String) -> GatedStage {
        GatedStage {
            stage: self.stages[0].name.clone(),
            candidate: self.candidate.clone(),
            verdict,
            sentence,
            figures: Vec::new(),
            answers: IndexMap::new(),
            calibration: None,
            needed: None,
            pairs: Vec::new(),
            dropped: Vec::new(),
        }
    }
}

/// The pairs so far.
#[derive(Default)]
struct Taken {
    pairs: Vec<Pair>,
    dropped: Vec<String>,
}

impl Taken {
    fn figures(&self) -> Vec<(Gated, Vec<f64>)> {
        [Gated::Time, Gated::Memory, Gated::Load]
            .into_iter()
            .map(|figure| {
                let ratios = self.pairs.iter().filter_map(|pair| pair.ratios.get(&figure).copied());
                (figure, ratios.collect::<Vec<f64>>())
            })
            // A figure that some pairs don't have is none.
            .filter(|(_, ratios)| ratios.len() == self.pairs.len())
            .collect()
    }

    fn own(&self) -> Vec<f64> {
        self.pairs.iter().map(|pair| pair.own).collect()
    }
}

/// Why a side of a pair couldn't be measured.
enum SideFault {
    Failed(Failure),
    Aside(String),
    Stopped(Stopped),
}

impl SideFault {
    fn of(self, failed: fn(Failure) -> Fault) -> Fault {
        match self {
            SideFault::Failed(failure) | SideFault::Stopped(Stopped::LoadBroke(failure)) => failed(failure),
            SideFault::Aside(why) => Fault::Pair(why),
            SideFault::Stopped(stopped) => Fault::Stopped(stopped),
        }
    }
}

/// Measures two arms in the order first, second, second, first, or the other way round. An error says whose it is.
fn turns(
    mut arms: [(&mut Runner, &Stage); 2],
    candidate: &Candidate,
    references: &References,
    second_first: bool,
    turn: &mut u32,
) -> Result<[Side; 2], (usize, SideFault)> {
    let order = if second_first { [1, 0, 0, 1] } else { [0, 1, 1, 0] };
    let mut sides: [Vec<Side>; 2] = [Vec::new(), Vec::new()];
    for place in order {
        let (runner, stage) = &mut arms[place];
        *turn += 1;
        let trial = Trial { stage, candidate, round: *turn };
        let recording =
            runner.trial(&trial, references).map_err(|stopped| (place, SideFault::Stopped(stopped)))?;
        if let Some(failure) = recording.failure() {
            return Err((place, SideFault::Failed(failure.clone())));
        }
        if let Some(aside) = recording.set_aside() {
            return Err((place, SideFault::Aside(aside.why)));
        }
        let nothing = || (place, SideFault::Aside("a measurement without a pass".to_owned()));
        sides[place].push(Side::of(&recording).ok_or_else(nothing)?);
    }
    let nothing = |place| (place, SideFault::Aside("a measurement without a pass".to_owned()));
    let [first, second] = sides.map(|own| Side::of_both(&own));
    Ok([first.ok_or_else(|| nothing(0))?, second.ok_or_else(|| nothing(1))?])
}
