//! One stage of a gate: its answers first, and then as many pairs as it takes.

use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::pair::{BASE, Fault, NEW, Pairs};
use crate::addon::Tell;
use crate::analysis::gate::{self as judge, Compared, Gated, GatedStage, LOOKS, Looks, Pair, Rule, Verdict};
use crate::analysis::ranks::LEAST_PAIRS;
use crate::pipeline::Stretch;
use crate::quality::References;
use crate::record::{Failure, Judged, Status};
use crate::runner::Stopped;
use crate::task::Metric;
use crate::units::print_duration;

/// The pairs of a stage, and who says what of them.
pub struct Gating<'a> {
    pub pairs: Pairs<'a>,
    pub rule: Rule,
    /// For this stage, beyond the fewest pairs.
    pub time: Duration,
    pub tell: &'a dyn Tell,
}

/// What the base answers, and how the new arm's answers agree with that.
struct Answers {
    references: References,
    agreements: IndexMap<Metric, Judged>,
    /// What the base has loaded, and what the new arm has.
    versions: [String; 2],
    /// Whether both can measure a stretch of a pass.
    know_stretches: bool,
}

/// The pairs so far.
#[derive(Default)]
struct Taken {
    pairs: Vec<Pair>,
    dropped: Vec<String>,
    took: Duration,
}

impl Gating<'_> {
    /// Takes the pairs and judges them. Somebody who stops it gets what there is, which decides nothing.
    pub fn run(mut self) -> GatedStage {
        let answers = match self.answers() {
            Ok(answers) => answers,
            Err(fault) => return self.at_fault(fault, &Taken::default()),
        };
        let Answers { references, agreements, versions, know_stretches } = answers;
        self.pairs.rest();
        let metric = self.pairs.parties[NEW].stage.metric;
        if let Some(why) = judge::worse_answers(metric, &agreements) {
            // However fast it is: no pair would change that.
            let stage = self.without_pairs(Verdict::Regression, why);
            return GatedStage { answers: agreements, versions, ..stage };
        }
        let mut taken = Taken::default();
        let compared = match self.take(&references, know_stretches, &mut taken) {
            Ok(compared) => compared,
            Err(fault) => {
                let stage = self.at_fault(fault, &taken);
                return GatedStage { answers: agreements, versions, ..stage };
            }
        };
        let (verdict, sentence) = judge::verdict(&compared, taken.dropped.len(), self.rule, "pairs");
        let own = taken.own();
        let stage = self.without_pairs(verdict, sentence);
        GatedStage {
            answers: agreements,
            calibration: judge::calibrate(&own, taken.pairs.len(), self.rule, compared.len(), 0),
            needed: (!own.is_empty()).then(|| judge::needed(&own, self.rule, compared.len())),
            figures: compared,
            pair_seconds: Some(taken.each()),
            turns: Some(self.pairs.plan.turns()),
            versions,
            pairs: taken.pairs,
            dropped: taken.dropped,
            ..stage
        }
    }

    /// Has both arms answer, and says how the new one's answers agree.
    fn answers(&mut self) -> Result<Answers, Fault> {
        self.tell.step("answers of both arms");
        let (references, _) = self.pairs.party(BASE).right_answers(BASE)?;
        let base = self.pairs.party(BASE);
        let (version, knows_stretches) = (base.version(), base.knows_stretches());
        if self.pairs.alone {
            self.pairs.rest();
        }
        let new = self.pairs.party(NEW);
        let agreements = new.trial(NEW, 0, Stretch::WHOLE, &references)?.agreements;
        let (versions, know_stretches) = ([version, new.version()], knows_stretches && new.knows_stretches());
        Ok(Answers { references, agreements, versions, know_stretches })
    }

    /// Takes pairs until they tell, or the time is up.
    fn take(
        &mut self,
        references: &References,
        know_stretches: bool,
        taken: &mut Taken,
    ) -> Result<Vec<Compared>, Fault> {
        self.pairs.rehearse(references, know_stretches, self.time / LEAST_PAIRS as u32)?;
        let start = Instant::now();
        let mut looks = Looks::new(self.rule);
        loop {
            taken.took = start.elapsed();
            let most = taken.pairs.len() + self.left_for(taken);
            if let Some(compared) = looks.after(&taken.figures(), &taken.own(), most) {
                return Ok(compared);
            }
            // Who is disturbed all the time is never done.
            if taken.dropped.len() > LEAST_PAIRS + taken.pairs.len() {
                return Ok(judge::compare(&taken.figures(), self.rule, LOOKS));
            }
            self.tell.step(&said(looks.planned(), taken));
            match self.pairs.pair(references) {
                Ok(pair) => taken.pairs.push(pair),
                Err(Fault::Pair(why)) => taken.dropped.push(why),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// For how many more pairs there is time.
    fn left_for(&self, taken: &Taken) -> usize {
        let left = self.time.saturating_sub(taken.took).as_secs_f64();
        (left / taken.each().max(1e-6)) as usize
    }

    /// Who is to blame, and what was taken until then.
    fn at_fault(&self, fault: Fault, taken: &Taken) -> GatedStage {
        let (verdict, why) = blamed(fault, taken.pairs.len(), "pairs");
        let stage = self.without_pairs(verdict, why);
        GatedStage { pairs: taken.pairs.clone(), dropped: taken.dropped.clone(), ..stage }
    }

    fn without_pairs(&self, verdict: Verdict, sentence: String) -> GatedStage {
        let [base, new] = [BASE, NEW].map(|who| &self.pairs.parties[who]);
        let other = Some(new.candidate).filter(|new| *new != base.candidate);
        GatedStage {
            new_candidate: other.cloned(),
            ..GatedStage::without_figures(&base.stage.name, base.candidate, verdict, sentence)
        }
    }
}

/// The verdict on a fault, and why; `count` things were measured until then.
pub fn blamed(fault: Fault, count: usize, things: &str) -> (Verdict, String) {
    match fault {
        Fault::Base(failure) => (Verdict::Invalid, format!("the base failed: {}", failure.in_words())),
        Fault::New(failure) => (new_failed(&failure), format!("the new arm failed: {}", failure.in_words())),
        Fault::Pair(why) => (Verdict::Invalid, why),
        Fault::Stopped(Stopped::LoadBroke(failure)) => (Verdict::Invalid, failure.in_words()),
        Fault::Stopped(Stopped::Interrupted) => {
            (Verdict::Invalid, format!("interrupted after {count} {things}, which decide nothing"))
        }
    }
}

/// What a failure of the new arm is: nothing of what the arm does, where it can't run at all for want of something.
fn new_failed(failure: &Failure) -> Verdict {
    if failure.status == Status::NotAvailable { Verdict::Invalid } else { Verdict::Regression }
}

/// Which pair comes, and how long the rest may take.
fn said(planned: usize, taken: &Taken) -> String {
    let count = taken.pairs.len();
    let rest = taken.each() * planned.saturating_sub(count) as f64;
    let left = Duration::try_from_secs_f64(rest.round()).unwrap_or_default();
    let left = if left.is_zero() { String::new() } else { format!(", about {} left", print_duration(left)) };
    format!("pair {} of {planned}{left}", count + 1)
}

impl Taken {
    /// Seconds that a pair takes.
    fn each(&self) -> f64 {
        self.took.as_secs_f64() / (self.pairs.len() + self.dropped.len()).max(1) as f64
    }

    fn figures(&self) -> Vec<(Gated, Vec<f64>)> {
        Gated::ALL
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
