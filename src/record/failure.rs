//! Why a trial has no figures.

use serde::{Deserialize, Serialize};

use crate::backend::Missing;
use crate::worker::protocol::FailureKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    OutOfMemory,
    NotAvailable,
    Refused,
    Failed,
    Crashed,
    TimedOut,
    /// It wrote something that the protocol doesn't know.
    Garbage,
    /// Its answers can't be right, whatever the limit: too few, not finite, of another kind.
    WrongAnswers,
    /// It died by a SIGKILL that nobody here sent and no out-of-memory killer counted.
    Killed,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::OutOfMemory => "out of memory",
            Status::NotAvailable => "not available",
            Status::Refused => "refused",
            Status::Failed => "failed",
            Status::Crashed => "crashed",
            Status::TimedOut => "timed out",
            Status::Garbage => "garbage",
            Status::WrongAnswers => "wrong answers",
            Status::Killed => "killed",
        }
    }
}

impl From<FailureKind> for Status {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::OutOfMemory => Status::OutOfMemory,
            FailureKind::NotAvailable => Status::NotAvailable,
            FailureKind::Refused => Status::Refused,
            FailureKind::Failed => Status::Failed,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub status: Status,
    pub reason: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The end of what the worker wrote to stderr.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Failure {
        Failure { remedy: missing.remedy, ..Failure::new(Status::NotAvailable, missing.why) }
    }
}

impl Failure {
    pub fn new(status: Status, reason: impl Into<String>) -> Self {
        Failure { status, reason: reason.into(), remedy: String::new(), stderr: String::new() }
    }

    /// The reason, with the last line that the worker wrote to stderr, where people look for it, and the remedy.
    pub fn in_words(&self) -> String {
        let mut words = self.reason.clone();
        let last = self.stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
        if let Some(line) = last.filter(|line| !self.reason.contains(line)) {
            words.push_str(&format!("; last line of stderr: {}", line.chars().take(160).collect::<String>()));
        }
        if !self.remedy.is_empty() {
            words.push_str(&format!(" → {}", self.remedy));
        }
        words
    }

    /// A trial that was killed twice by nobody we know: in a container, whose kernel's counters can't be seen, that is
    /// what running out of memory looks like.
    pub fn killed_again(self) -> Self {
        let reason =
            format!("{}, twice: most likely out of memory, which this system doesn't report", self.reason);
        Failure { status: Status::OutOfMemory, reason, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_stands_behind_the_reason() {
        let missing = Missing { why: "too old".into(), remedy: "update it".into() };
        assert_eq!(Failure::from(missing).in_words(), "too old → update it");
    }

    #[test]
    fn a_second_kill_counts_as_memory() {
        let failure = Failure::new(Status::Killed, "the worker ended: signal: 9 (SIGKILL)").killed_again();
        assert_eq!(failure.status, Status::OutOfMemory);
        assert!(failure.reason.contains("twice"), "{}", failure.reason);
    }
}
