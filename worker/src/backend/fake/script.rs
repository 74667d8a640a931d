//! The fake's script: the table of a `fake` backend in a suite.

use serde::{Deserialize, Serialize};

use crate::backend::declared::DeclaredKnobs;
use crate::knob::{Candidate, Condition};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What it claims to be.
    #[serde(default = "default_version")]
    pub version: String,
    #[serde(default = "default_device")]
    pub device: String,
    #[serde(default)]
    pub time: Time,
    /// Standard deviation of the logarithm of a batch's compute time.
    #[serde(default)]
    pub noise: f64,
    #[serde(default)]
    pub load_ms: f64,
    /// Compute time of a batch, whatever is in it.
    #[serde(default)]
    pub batch_ms: f64,
    /// Compute time of a token, padding included.
    #[serde(default)]
    pub token_us: f64,
    #[serde(default)]
    pub tokenise_us: f64,
    /// Copying one token to the device, and its results back: each takes so long.
    #[serde(default)]
    pub copy_us: f64,
    /// So many batches after a load are slower, by `cold_factor`.
    #[serde(default)]
    pub cold_batches: u64,
    #[serde(default = "one")]
    pub cold_factor: f64,
    #[serde(default)]
    pub memory_mib: f64,
    /// Memory of a token in the batch, padding included.
    #[serde(default)]
    pub token_kib: f64,
    #[serde(default = "default_capacity")]
    pub capacity_mib: f64,
    /// Memory of the host that each load takes for real, and that nobody ever gives back.
    #[serde(default)]
    pub leak_mib: f64,
    #[serde(default)]
    pub knobs: DeclaredKnobs,
    #[serde(default)]
    pub rules: Vec<Rule>,
}

fn default_version() -> String {
    "fake 1".to_owned()
}

fn default_device() -> String {
    "cpu".to_owned()
}

fn default_capacity() -> f64 {
    8192.0
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Time {
    /// Simulated: passes at once, and exactly as scripted.
    #[default]
    Virtual,
    /// Slept.
    Real,
}

/// What certain values of knobs change. Factors of several rules multiply, errors add up, the last fault counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub when: Condition,
    #[serde(default = "one")]
    pub compute: f64,
    #[serde(default = "one")]
    pub copy: f64,
    #[serde(default = "one")]
    pub memory: f64,
    /// Standard deviation of what is added to each number of an answer.
    #[serde(default)]
    pub error: f64,
    /// How far the longest text of a batch turns the answers to all others.
    #[serde(default)]
    pub company: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    #[serde(default)]
    pub during: Phase,
    #[serde(default)]
    pub after_batches: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    WrongAnswers,
    /// Reports that memory ran out, as a well-behaved engine does.
    OutOfMemory,
    /// Aborts as Rust does when an allocation fails.
    AllocationFailure,
    /// Dies by SIGKILL, as by the kernel's out-of-memory killer.
    Killed,
    /// Aborts with SIGSEGV.
    Crash,
    /// Ends by itself, with an exit status of 3 and a word on stderr.
    Exit,
    Hang,
    /// Writes something that is no event to stdout, and goes on.
    Garbage,
    NotAvailable,
    Refused,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Load,
    #[default]
    Run,
}

/// All rules that apply to one candidate, taken together.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub compute: f64,
    pub copy: f64,
    pub memory: f64,
    pub error: f64,
    pub company: f64,
    pub fault: Option<Fault>,
    pub during: Phase,
    pub after_batches: u32,
}

impl Script {
    pub(super) fn effect(&self, candidate: &Candidate) -> Effect {
        let mut effect = Effect {
            compute: 1.0,
            copy: 1.0,
            memory: 1.0,
            error: 0.0,
            company: 0.0,
            fault: None,
            during: Phase::Run,
            after_batches: 0,
        };
        for rule in self.rules.iter().filter(|rule| rule.when.holds(candidate)) {
            effect.compute *= rule.compute;
            effect.copy *= rule.copy;
            effect.memory *= rule.memory;
            effect.error += rule.error;
            effect.company += rule.company;
            if rule.fault.is_some() {
                effect.fault = rule.fault;
                effect.during = rule.during;
                effect.after_batches = rule.after_batches;
            }
        }
        effect
    }

    /// Refuses numbers that no machine could show, and rules about knobs that aren't there.
    pub fn validate(&self, knows: impl Fn(&str) -> bool) -> Result<(), String> {
        let numbers = [
            ("noise", self.noise, 10.0),
            ("load_ms", self.load_ms, 1e7),
            ("batch_ms", self.batch_ms, 1e7),
            ("token_us", self.token_us, 1e7),
            ("tokenise_us", self.tokenise_us, 1e7),
            ("copy_us", self.copy_us, 1e7),
            ("cold_factor", self.cold_factor, 1e4),
            ("memory_mib", self.memory_mib, 1e9),
            ("token_kib", self.token_kib, 1e9),
            ("capacity_mib", self.capacity_mib, 1e9),
            // This one is taken for real.
            ("leak_mib", self.leak_mib, 1024.0),
        ];
        let factors = self.rules.iter().flat_map(|rule| {
            [
                ("compute", rule.compute, 1e4),
                ("copy", rule.copy, 1e4),
                ("memory", rule.memory, 1e4),
                ("error", rule.error, 1e4),
                ("company", rule.company, 1e4),
            ]
        });
        for (name, value, most) in numbers.into_iter().chain(factors) {
            if !(0.0..=most).contains(&value) {
                return Err(format!("`{name}` is {value}, and must be from 0 to {most}"));
            }
        }
        if self.version.trim().is_empty() {
            return Err("`version` is empty: a backend that can't state its version can't be measured".into());
        }
        for knob in self.rules.iter().flat_map(|rule| rule.when.0.keys()) {
            if !knows(knob) {
                return Err(format!("a rule names {knob:?}, which is not one of its knobs"));
            }
        }
        Ok(())
    }
}
