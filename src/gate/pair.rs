//! A pair: the base, the new arm and another process of the base, each measured several times in turn.

use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::side::Side;
use super::turns::{Turn, Turns};
use crate::analysis::gate::{Gated, Pair};
use crate::analysis::statistics::median;
use crate::backend::Transfers;
use crate::knob::Candidate;
use crate::pipeline::{Settings, Stretch};
use crate::quality::References;
use crate::record::{Failure, Recording};
use crate::runner::{Moment, Place, Runner, Stopped, TURN, Trial};
use crate::suite::Stage;
use crate::worker::protocol::STRETCHES;

/// One who is measured in a pair.
pub struct Party<'a> {
    pub runner: Runner<'a>,
    pub stage: &'a Stage,
    pub candidate: &'a Candidate,
}

/// The places of those who are measured.
pub const BASE: usize = 0;
pub const NEW: usize = 1;
/// The third is another process of the base, which tells what differences mean nothing here.
pub const PARTIES: usize = 3;

/// Why a pair wasn't measured.
pub enum Fault {
    Base(Failure),
    New(Failure),
    /// Nobody's: the pair doesn't count.
    Pair(String),
    Stopped(Stopped),
}

/// Who takes the pairs of a stage.
pub struct Pairs<'a> {
    pub parties: [Party<'a>; PARTIES],
    /// Whether only one may be loaded at a time: models share a processor's memory in peace, and a card's not always.
    pub alone: bool,
    /// So much of the processor others may use while a pair is taken.
    pub others: f64,
    pub random: Pcg64,
    /// Measurements so far: each is a round of its own, so that nobody draws the same noise twice.
    pub turn: u32,
    pub plan: Plan,
}

/// So many turns show how even they are.
const REHEARSED: usize = 6;

/// What each is measured on in a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// A pass is cut into so many turns…
    stretches: u32,
    /// …and taken so often.
    passes: usize,
}

/// What a pair costs, and what it tells.
#[derive(Debug, Clone, Copy)]
struct Price {
    loading: Duration,
    /// A turn, with its warm-up.
    turn: Duration,
    /// By how much a turn differs from the one before, as a share.
    noise: f64,
    /// What all of it may take, for each who is measured.
    most: Duration,
}

/// By so much processes of one program differ, as a share, whoever is quiet.
const PROCESS_NOISE: f64 = 0.01;

/// Measuring takes so many times as long as loading at most, if two passes don't take longer, and as long as loading at least: a pair
/// takes no more than twice the time that it would take with the best number of turns, whatever the noise.
const MOST_LOADS: f64 = 4.0;

/// The order of a turn and its opposite come as often, where a turn is a pass.
const LEAST_PASSES: usize = 2;
const MOST_PASSES: usize = 100;

impl Plan {
    pub const LEAST: Plan = Plan { stretches: 1, passes: LEAST_PASSES };

    /// In which each is measured in a pair.
    pub fn turns(self) -> usize {
        self.passes * self.stretches as usize
    }

    /// A pass of so much time is cut as far as it has batches.
    fn stretches(pass: Duration, batches: u64) -> u32 {
        let turns = (pass.as_secs_f64() / TURN.as_secs_f64()) as u64;
        u32::try_from(turns.min(batches)).unwrap_or(u32::MAX).max(1)
    }

    /// As many turns as tell most in the time that pairs take: more of them cost less than another load, and tell nothing of how
    /// processes differ.
    fn of(stretches: u32, price: Price) -> Plan {
        let loads = price.loading.as_secs_f64() / price.turn.as_secs_f64().max(1e-6);
        let best = price.noise / PROCESS_NOISE * loads.sqrt();
        let most =
            price.most.saturating_sub(price.loading).as_secs_f64() / price.turn.as_secs_f64().max(1e-6);
        let passes = best.clamp(loads, MOST_LOADS * loads).min(most) / f64::from(stretches);
        let passes = match stretches {
            1 => (2 * (passes / 2.0).round() as usize).clamp(LEAST_PASSES, MOST_PASSES),
            _ => (passes.round() as usize).clamp(1, MOST_PASSES),
        };
        Plan { stretches, passes }
    }
}

impl<'a> Pairs<'a> {
    pub fn party(&mut self, place: usize) -> &mut Party<'a> {
        &mut self.parties[place]
    }

    /// Measures the base alone, to see how long that takes beside loading it and how even it is, and plans a pair by that.
    /// `know_stretches` if all can measure a stretch of a pass, and `time` is what a pair may take.
    pub fn rehearse(
        &mut self,
        references: &References,
        know_stretches: bool,
        time: Duration,
    ) -> Result<(), Fault> {
        let (first, with_load) = self.rehearsed(Stretch::WHOLE, references)?;
        let pass = first.passes().last().ok_or_else(without_a_pass)?;
        let (pass, documents) =
            (Duration::try_from_secs_f64(pass.seconds).unwrap_or_default(), pass.documents);
        // Where one is loaded after the other, their turns can't be next to each other; and what is made up doesn't drift.
        let together = know_stretches && !self.alone && !self.parties[BASE].is_simulated();
        let stretches = if together { Plan::stretches(pass, self.batches(documents)) } else { 1 };
        let (_, whole) = self.rehearsed(Stretch::WHOLE, references)?;
        // The longest texts may come first.
        let stretch = Stretch::all(stretches).nth(stretches as usize / 2).unwrap_or_default();
        let (mut turns, mut seconds) = (Vec::new(), Vec::new());
        for _ in 0..REHEARSED {
            let (recording, took) = self.rehearsed(stretch, references)?;
            turns.push(took.as_secs_f64());
            seconds.extend(Side::of(&recording).map(|side| side.seconds));
        }
        let differences: f64 = seconds.windows(2).map(|two| (two[1] / two[0]).ln().abs()).sum();
        let price = Price {
            // There and back, where only one may be loaded: of three, two are loaded twice.
            loading: with_load.saturating_sub(whole).mul_f64(if self.alone { 5.0 / 3.0 } else { 1.0 }),
            turn: Duration::try_from_secs_f64(median(turns).unwrap_or_default()).unwrap_or_default(),
            // The mean, since a machine is even most of the time: what matters is how uneven it is now and then.
            noise: differences / (seconds.len() as f64 - 1.0).max(1.0),
            most: time / PARTIES as u32,
        };
        self.plan = Plan::of(stretches, price);
        self.rest();
        Ok(())
    }

    /// How many batches so many documents are, between which a pass can be cut: for both arms in the same places, where what goes on
    /// in one batch doesn't reach into the next. One where nobody can tell.
    fn batches(&self, documents: u64) -> u64 {
        let [base, new] = [BASE, NEW].map(|who| self.parties[who].candidate);
        match Settings::of(base) {
            Ok(settings)
                if base == new
                    && settings.batch_tokens.is_none()
                    && settings.transfers != Transfers::NonBlocking =>
            {
                documents.div_ceil((settings.batch_size as u64).max(1))
            }
            _ => 1,
        }
    }

    fn rehearsed(
        &mut self,
        stretch: Stretch,
        references: &References,
    ) -> Result<(Recording, Duration), Fault> {
        self.turn += 1;
        let start = Instant::now();
        let recording = self.parties[BASE].trial(BASE, self.turn, stretch, references)?;
        Ok((recording, start.elapsed()))
    }

    /// Takes a pair, in processes of its own.
    pub fn pair(&mut self, references: &References) -> Result<Pair, Fault> {
        let turns = undisturbed(self.others, || {
            let turns = self.in_turn(references)?;
            Ok((turns, self.parties.iter().any(Party::is_simulated)))
        });
        self.rest();
        let [base, new, again] = turns?;
        if self.plan.stretches > 1 && !(new.are_like(&base) && again.are_like(&base)) {
            // Who sorts or batches otherwise has other texts in a stretch.
            self.plan = Plan { stretches: 1, passes: LEAST_PASSES };
            return Err(Fault::Pair(
                "both arms cut a pass in other places, so they measure whole ones".to_owned(),
            ));
        }
        let of = |turns: &Turns| Some((turns.side()?, turns.time_beside(&base)?));
        let (Some((side, _)), Some((new, time)), Some((_, own))) = (of(&base), of(&new), of(&again)) else {
            return Err(without_a_pass());
        };
        let mut ratios = new.beside(&side);
        ratios.insert(Gated::Time, time);
        Ok(Pair { seconds: side.seconds, ratios, own })
    }

    /// Measures each in a random order, then in the opposite one, and so on, so that a machine that slows down harms all as much.
    fn in_turn(&mut self, references: &References) -> Result<[Turns; PARTIES], Fault> {
        let mut order: [usize; PARTIES] = std::array::from_fn(|place| place);
        order.shuffle(&mut self.random);
        let Plan { stretches, passes } = self.plan;
        // Where only one may be loaded, it's measured more often while it is.
        let (passes, repeats) = if self.alone { (LEAST_PASSES, passes / LEAST_PASSES) } else { (passes, 1) };
        let all = (0..passes).flat_map(|_| Stretch::all(stretches));
        let mut turns: [Turns; PARTIES] = Default::default();
        let mut before = None;
        for stretch in all {
            for who in order {
                if self.alone && before.is_some_and(|before| before != who) {
                    self.rest();
                }
                before = Some(who);
                for _ in 0..repeats {
                    self.turn += 1;
                    turns[who].push(self.parties[who].turn(who, self.turn, stretch, references)?);
                }
            }
            // In the next pass each stretch has the opposite order, too.
            let last = stretch.index() + 1 == stretches;
            if !(last && stretches.is_multiple_of(2)) {
                order.reverse();
            }
        }
        Ok(turns)
    }

    /// Ends all workers, so that the next pair has others.
    pub fn rest(&mut self) {
        self.parties.iter_mut().for_each(|party| party.runner.end());
    }
}

impl Party<'_> {
    /// As it's measured beside others.
    pub fn in_turns(self) -> Self {
        Party { runner: self.runner.in_turns(), ..self }
    }

    /// Its answers, by which others are judged, and their digest.
    pub fn right_answers(&mut self, who: usize) -> Result<(References, String), Fault> {
        let right = self.runner.right_answers(self.stage, self.candidate, Place::Target);
        let (reference, digest) = right.map_err(Fault::Stopped)?.map_err(|failure| of(who, failure))?;
        Ok((References::from([(self.stage.name.clone(), reference)]), digest))
    }

    /// What the library says that it has loaded.
    pub fn version(&self) -> String {
        self.runner.loaded().map(|loaded| loaded.version.clone()).unwrap_or_default()
    }

    /// Whether it can measure a stretch of a pass.
    pub fn knows_stretches(&self) -> bool {
        self.runner.loaded().is_some_and(|loaded| loaded.protocol >= STRETCHES)
    }

    /// Whether its figures are made up: those are nobody's to disturb.
    pub fn is_simulated(&self) -> bool {
        self.runner.loaded().is_some_and(|loaded| loaded.simulated)
    }

    /// Runs a trial that doesn't fail; a fault says whose it is.
    pub fn trial(
        &mut self,
        who: usize,
        round: u32,
        stretch: Stretch,
        references: &References,
    ) -> Result<Recording, Fault> {
        let trial = Trial { stage: self.stage, candidate: self.candidate, round, stretch };
        let recording = self.runner.trial(&trial, references).map_err(|stopped| match stopped {
            Stopped::LoadBroke(failure) => of(who, failure),
            stopped => Fault::Stopped(stopped),
        })?;
        match recording.failure() {
            Some(failure) => Err(of(who, failure.clone())),
            None => Ok(recording),
        }
    }

    /// Measures it once.
    pub fn turn(
        &mut self,
        who: usize,
        round: u32,
        stretch: Stretch,
        references: &References,
    ) -> Result<Turn, Fault> {
        let recording = self.trial(who, round, stretch, references)?;
        if let Some(aside) = recording.set_aside() {
            return Err(Fault::Pair(aside.why));
        }
        let first = recording.passes().first().map(|pass| (pass.documents, pass.tokens));
        let turn = first.zip(Side::of(&recording));
        turn.map(|((documents, tokens), side)| Turn { stretch, documents, tokens, side })
            .ok_or_else(without_a_pass)
    }
}

/// What is measured while nobody else uses more than this share of the processor; `measure` says with it whether it's made up.
pub fn undisturbed<T>(others: f64, measure: impl FnOnce() -> Result<(T, bool), Fault>) -> Result<T, Fault> {
    let before = Moment::now();
    let (measured, simulated) = measure()?;
    let disturbance = before.as_ref().and_then(Moment::disturbance_since).filter(|_| !simulated);
    match disturbance.and_then(|one| one.beyond(others)) {
        Some(why) => Err(Fault::Pair(why)),
        None => Ok(measured),
    }
}

/// A failure of the new arm, or of the base.
fn of(who: usize, failure: Failure) -> Fault {
    if who == NEW { Fault::New(failure) } else { Fault::Base(failure) }
}

pub fn without_a_pass() -> Fault {
    Fault::Pair("a measurement without a pass".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(stretches: u32, loading: u64, turn: u64, noise: f64) -> usize {
        passes_within(60_000, stretches, loading, turn, noise)
    }

    fn passes_within(most: u64, stretches: u32, loading: u64, turn: u64, noise: f64) -> usize {
        let [loading, turn, most] = [loading, turn, most].map(Duration::from_millis);
        Plan::of(stretches, Price { loading, turn, noise, most }).passes
    }

    #[test]
    fn the_noisier_turns_are_beside_what_loading_costs_the_more_of_them() {
        assert_eq!([0.0, 0.01, 0.05, 0.2].map(|noise| passes(1, 400, 25, noise)), [16, 16, 20, 64]);
        // Whose measurements take long hasn't the time.
        assert_eq!([25, 100, 1000].map(|turn| passes(1, 400, turn, 0.05)), [20, 10, 2]);
        assert_eq!(
            (passes(1, 10_000, 1, 1.0), passes(1, 0, 100, 0.1), passes(1, 100, 0, 0.1)),
            (100, 2, 100)
        );
        assert_eq!([10, 650, 900].map(|most| passes_within(most, 1, 400, 25, 0.05)), [2, 10, 20]);
        assert_eq!([1, 4, 40].map(|stretches| passes(stretches, 400, 25, 0.05)), [20, 5, 1]);
    }

    #[test]
    fn a_long_pass_is_cut_into_turns_as_far_as_it_has_batches() {
        let of = |pass, batches| Plan::stretches(Duration::from_millis(pass), batches);
        assert_eq!((of(250, 99), of(250, 9), of(5, 9), of(250, 0)), (25, 9, 1, 1));
    }
}
