//! A backend that does what a script says: latencies, memory, noise, and every way of going wrong.
//!
//! With it the runner, the search, the gate and the command line are tested exactly and in milliseconds. Its time
//! is virtual unless the script asks for real sleep. Whatever it measures is labelled `simulated`.

mod misdeed;
mod network;
mod script;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal, Normal};
use rand_pcg::Pcg64;

use super::{
    Backend, BackendError, Batch, Clock, DeviceMemory, Legend, LoadRequest, Monotonic, Output, Session,
    VirtualClock,
};
use super::{declared, memory_fraction_of};
use crate::knob::{Candidate, KnobSpec};
use crate::model::{Encoding, Tokenise};
use crate::task::Task;
use crate::units::Bytes;

pub use script::{Fault, Phase, Rule, Script, Time};

pub const NAME: &str = "fake";

pub struct Fake {
    script: Script,
    pace: Pace,
}

impl Fake {
    pub fn new(script: Script) -> Self {
        let pace = Pace::from(script.time);
        Fake { script, pace }
    }
}

impl Backend for Fake {
    fn version(&self) -> Result<String, BackendError> {
        Ok(self.script.version.clone())
    }

    fn simulated(&self) -> bool {
        true
    }

    fn clock(&self) -> Rc<dyn Clock> {
        match &self.pace {
            Pace::Virtual(clock) => Rc::new(clock.clone()),
            Pace::Real => Rc::new(Monotonic),
        }
    }

    fn knobs(&self) -> Vec<KnobSpec> {
        // The suite was refused if the declarations made no sense, so there is nothing left to report here.
        declared::specs(&self.script.knobs).unwrap_or_default()
    }

    fn load(&self, request: &LoadRequest) -> Result<Box<dyn Session>, BackendError> {
        let mut session = FakeSession {
            effect: self.script.effect(&request.candidate),
            script: self.script.clone(),
            task: request.task,
            pace: self.pace.clone(),
            random: Pcg64::seed_from_u64(0),
            batches: 0,
            peak_bytes: 0,
            capacity_bytes: 0,
        };
        session.configure(&request.candidate, 0)?;
        session.pace.spend(milliseconds(self.script.load_ms));
        session.misbehave(Phase::Load)?;
        session.take(0)?;
        // Written to, so that there's memory behind it: a page that nobody has touched is none.
        vec![1u8; (self.script.leak_mib * Bytes::MIB as f64) as usize].leak();
        Ok(Box::new(session))
    }
}

struct FakeSession {
    script: Script,
    effect: script::Effect,
    task: Task,
    pace: Pace,
    random: Pcg64,
    batches: u64,
    peak_bytes: u64,
    capacity_bytes: u64,
}

impl Session for FakeSession {
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError> {
        let (pace, tokenise_us) = (self.pace.clone(), self.script.tokenise_us);
        Ok(Arc::new(Words { limit: limit.unwrap_or(usize::MAX), pace, tokenise_us }))
    }

    fn legend(&self) -> Legend {
        network::legend(self.task)
    }

    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError> {
        self.misbehave(Phase::Run)?;
        let tokens = batch.ids.len();
        self.take(tokens)?;
        let copy = microseconds(self.script.copy_us * self.effect.copy * tokens as f64);
        let compute = self.compute(tokens);
        self.pace.spend(copy + compute + copy);
        self.batches += 1;
        let mut rows: Vec<_> = batch
            .rows()
            .map(|row| {
                let wrong = self.effect.fault == Some(Fault::WrongAnswers);
                network::answer(self.task, &batch.ids[row], wrong)
            })
            .collect();
        self.blur(&mut rows);
        self.turn(&mut rows, batch);
        Ok(Output { rows, to_device: copy, compute, from_device: copy })
    }

    fn configure(&mut self, candidate: &Candidate, seed: u64) -> Result<(), BackendError> {
        self.effect = self.script.effect(candidate);
        // Where the script declares the knob.
        let fraction = memory_fraction_of(candidate);
        self.capacity_bytes = (self.script.capacity_mib * fraction) as u64 * Bytes::MIB;
        // Noise belongs to the candidate and the round, so that a trial repeated after a kill gives the same figures.
        let id = u64::from_str_radix(&candidate.id(), 16).unwrap_or_default();
        self.peak_bytes = 0;
        self.random = Pcg64::seed_from_u64(id ^ seed.rotate_left(40));
        Ok(())
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        // A script that says nothing of memory plays a machine that can't tell.
        (self.peak_bytes > 0).then(|| DeviceMemory {
            total_bytes: self.script.capacity_mib as u64 * Bytes::MIB,
            cap_bytes: Some(self.capacity_bytes),
            reserved_peak_bytes: self.peak_bytes,
            ..DeviceMemory::default()
        })
    }

    fn device(&self) -> String {
        self.script.device.clone()
    }
}

impl FakeSession {
    fn compute(&mut self, tokens: usize) -> Duration {
        let cold = if self.batches < self.script.cold_batches { self.script.cold_factor } else { 1.0 };
        // A standard deviation of zero or less has been refused with the suite; zero gives exactly 1.
        let noise =
            LogNormal::new(0.0, self.script.noise).map_or(1.0, |noise| noise.sample(&mut self.random));
        let scripted = self.script.batch_ms * 1e3 + self.script.token_us * tokens as f64;
        microseconds(scripted * self.effect.compute * cold * noise)
    }

    /// Takes the memory for a batch of so many tokens, or reports that there isn't so much.
    fn take(&mut self, tokens: usize) -> Result<(), BackendError> {
        let scripted = self.script.memory_mib * 1024.0 + self.script.token_kib * tokens as f64;
        let wanted = (scripted * self.effect.memory * 1024.0) as u64;
        if wanted > self.capacity_bytes {
            return Err(BackendError::OutOfMemory(format!(
                "tried to take {} of {}",
                Bytes(wanted),
                Bytes(self.capacity_bytes)
            )));
        }
        self.peak_bytes = self.peak_bytes.max(wanted);
        Ok(())
    }

    /// Adds the script's rounding error to the answers.
    fn blur(&mut self, rows: &mut [Vec<f32>]) {
        if self.effect.error > 0.0
            && let Ok(error) = Normal::new(0.0, self.effect.error)
        {
            for number in rows.iter_mut().flatten() {
                *number += error.sample(&mut self.random) as f32;
            }
        }
    }

    /// Turns the answers by the longest text of the batch, as an engine does that has one scale for all of them.
    fn turn(&self, rows: &mut [Vec<f32>], batch: &Batch) {
        if self.effect.company > 0.0 {
            let longest = batch.lengths.iter().copied().max().unwrap_or(0) as f64;
            let turned = (self.effect.company * longest.sin()) as f32;
            for (place, number) in rows.iter_mut().flat_map(|row| row.iter_mut().enumerate()) {
                *number += if place % 2 == 0 { turned } else { -turned };
            }
        }
    }

    fn misbehave(&mut self, now: Phase) -> Result<(), BackendError> {
        match self.effect.fault {
            Some(fault) if self.effect.during == now => {
                // A fault that comes on the first batch would never leave half a trial behind.
                if now == Phase::Load || self.batches >= u64::from(self.effect.after_batches) {
                    return misdeed::commit(fault, &mut || self.random.random());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The fake's tokeniser: a token a word, each of which takes its time.
struct Words {
    limit: usize,
    pace: Pace,
    tokenise_us: f64,
}

impl Tokenise for Words {
    fn encode(&self, query: Option<&str>, text: &str) -> Result<Encoding, String> {
        let encoding = network::words(query, text, self.limit);
        self.pace.spend(microseconds(self.tokenise_us * encoding.ids.len() as f64));
        Ok(encoding)
    }
}

/// How the fake spends time: by moving a clock of its own, or by sleeping.
#[derive(Clone)]
enum Pace {
    Virtual(VirtualClock),
    Real,
}

impl From<Time> for Pace {
    fn from(time: Time) -> Self {
        match time {
            Time::Virtual => Pace::Virtual(VirtualClock::default()),
            Time::Real => Pace::Real,
        }
    }
}

impl Pace {
    fn spend(&self, duration: Duration) {
        match self {
            Pace::Virtual(clock) => clock.advance(duration),
            Pace::Real => std::thread::sleep(duration),
        }
    }
}

/// Durations of a script are bounded when the suite is read, so neither can overflow.
fn microseconds(count: f64) -> Duration {
    Duration::from_secs_f64(count.max(0.0) * 1e-6)
}

fn milliseconds(count: f64) -> Duration {
    microseconds(count * 1e3)
}
