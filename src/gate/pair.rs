//! A pair: the base, the new arm and another process of the base, each measured several times in turn.

use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use super::side::Side;
use crate::analysis::gate::Pair;
use crate::knob::Candidate;
use crate::quality::References;
use crate::record::{Failure, Recording};
use crate::runner::{Disturbance, Moment, Place, Runner, Stopped, Trial};
use crate::suite::Stage;

/// One who is measured in a pair.
pub struct Party<'a> {
    pub runner: Runner<'a>,
    pub stage: &'a Stage,
    pub candidate: &'a Candidate,
    /// So much of the processor others may use while it's measured.
    pub others: f64,
}

/// The places of those who are measured.
pub const BASE: usize = 0;
pub const NEW: usize = 1;
/// Another process of the base, which tells what differences mean nothing here.
const AGAIN: usize = 2;
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
    pub random: Pcg64,
    /// Measurements so far: each is a round of its own, so that nobody draws the same noise twice.
    pub turn: u32,
    /// How often each is measured in a pair: an even number, so that the order and its opposite come as often.
    pub turns: usize,
}

/// The fewest and the most measurements of each in a pair.
pub const LEAST_TURNS: usize = 2;
const MOST_TURNS: usize = 10;

/// How many measurements there are to be for each load. Where measuring takes as long as loading, a pair takes no more than twice the
/// time that it would take with the best number, whatever the noise of measurements and of processes.
fn turns(loading: Duration, measuring: Duration) -> usize {
    let as_long = loading.as_secs_f64() / measuring.as_secs_f64().max(1e-6);
    let even = 2 * (as_long / 2.0).round() as usize;
    even.clamp(LEAST_TURNS, MOST_TURNS)
}

impl<'a> Pairs<'a> {
    pub fn party(&mut self, place: usize) -> &mut Party<'a> {
        &mut self.parties[place]
    }

    /// Measures the base alone, to see how long that takes beside loading it, and plans a pair by that.
    pub fn rehearse(&mut self, references: &References) -> Result<(), Fault> {
        let mut times = [Duration::ZERO; 2];
        for time in &mut times {
            self.turn += 1;
            let start = Instant::now();
            self.parties[BASE].trial(BASE, self.turn, references)?;
            *time = start.elapsed();
        }
        let [with_load, measuring] = times;
        self.turns = turns(with_load.saturating_sub(measuring), measuring);
        self.rest();
        Ok(())
    }

    /// Takes a pair, in processes of its own.
    pub fn pair(&mut self, references: &References) -> Result<Pair, Fault> {
        let sides = self.in_turn(references);
        self.rest();
        let sides = sides?;
        let own = sides[AGAIN].seconds / sides[BASE].seconds;
        Ok(Pair { seconds: sides[BASE].seconds, ratios: sides[NEW].beside(&sides[BASE]), own })
    }

    /// Measures each in a random order, then in the opposite one, and so on, so that a machine that slows down harms all as much.
    fn in_turn(&mut self, references: &References) -> Result<[Side; PARTIES], Fault> {
        let mut order: [usize; PARTIES] = std::array::from_fn(|place| place);
        order.shuffle(&mut self.random);
        // Where only one may be loaded, it's measured more often while it is.
        let (turns, repeats) =
            if self.alone { (LEAST_TURNS, self.turns / LEAST_TURNS) } else { (self.turns, 1) };
        let there_and_back = order.into_iter().chain(order.into_iter().rev());
        let order: Vec<usize> =
            there_and_back.cycle().take(turns * PARTIES).flat_map(|who| vec![who; repeats]).collect();
        let mut sides: [Vec<Side>; PARTIES] = std::array::from_fn(|_| Vec::new());
        for (place, who) in order.iter().enumerate() {
            self.turn += 1;
            sides[*who].push(self.parties[*who].measure(*who, self.turn, references)?);
            if self.alone && order.get(place + 1) != Some(who) {
                self.parties[*who].runner.end();
            }
        }
        let [base, new, again] = sides.map(|own| Side::of_process(&own).ok_or_else(without_a_pass));
        Ok([base?, new?, again?])
    }

    /// Ends all workers, so that the next pair has others.
    pub fn rest(&mut self) {
        self.parties.iter_mut().for_each(|party| party.runner.end());
    }
}

impl Party<'_> {
    /// Its answers, by which others are judged, and their digest.
    pub fn right_answers(&mut self, who: usize) -> Result<(References, String), Fault> {
        let right = self.runner.right_answers(self.stage, self.candidate, Place::Target);
        let (reference, digest) = right.map_err(Fault::Stopped)?.map_err(|failure| of(who, failure))?;
        Ok((References::from([(self.stage.name.clone(), reference)]), digest))
    }

    /// Runs a trial that doesn't fail; a fault says whose it is.
    pub fn trial(&mut self, who: usize, round: u32, references: &References) -> Result<Recording, Fault> {
        let trial = Trial { stage: self.stage, candidate: self.candidate, round };
        let recording = self.runner.trial(&trial, references).map_err(|stopped| match stopped {
            Stopped::LoadBroke(failure) => of(who, failure),
            stopped => Fault::Stopped(stopped),
        })?;
        match recording.failure() {
            Some(failure) => Err(of(who, failure.clone())),
            None => Ok(recording),
        }
    }

    /// Why a measurement doesn't count.
    fn disturbed(&self, recording: &Recording, disturbance: Option<Disturbance>) -> Option<String> {
        // Figures that are made up are nobody's to disturb.
        let real = recording.loaded.as_ref().is_none_or(|loaded| !loaded.simulated);
        let others = disturbance.filter(|_| real).and_then(|one| one.beyond(self.others));
        others.or_else(|| recording.set_aside().map(|aside| aside.why))
    }

    /// Measures it.
    pub fn measure(&mut self, who: usize, round: u32, references: &References) -> Result<Side, Fault> {
        let before = Moment::now();
        let recording = self.trial(who, round, references)?;
        let disturbance = before.as_ref().and_then(Moment::disturbance_since);
        if let Some(why) = self.disturbed(&recording, disturbance) {
            return Err(Fault::Pair(why));
        }
        Side::of(&recording).ok_or_else(without_a_pass)
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

    #[test]
    fn measuring_takes_about_as_long_as_loading() {
        let of = |loading, measuring| turns(Duration::from_millis(loading), Duration::from_millis(measuring));
        assert_eq!((of(400, 100), of(300, 70), of(500, 100)), (4, 4, 6));
        assert_eq!((of(0, 100), of(100, 400), of(10_000, 100), of(100, 0)), (2, 2, 10, 10));
    }
}
