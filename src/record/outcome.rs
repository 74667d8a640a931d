//! How a trial came out.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::predicted::Predicted;
use crate::worker::protocol::Measured;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Outcome {
    Measured(Measured),
    /// By the cost model, where nothing is measured.
    Predicted(Predicted),
    Failed(Box<Failed>),
}

/// A failure, and what there was of the trial before.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    pub failure: Failure,
    pub measured: Option<Measured>,
    /// The failure is predicted, too.
    pub predicted: Option<Predicted>,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Outcome::Failed(Box::new(Failed { failure, measured: None, predicted: None }))
    }
}

impl Outcome {
    /// The same measurement, and a failure that was found in it.
    pub fn fails(self, failure: Failure) -> Outcome {
        let (measured, predicted) = match self {
            Outcome::Measured(measured) => (Some(measured), None),
            Outcome::Predicted(predicted) => (None, Some(predicted)),
            Outcome::Failed(failed) => (failed.measured, failed.predicted),
        };
        Outcome::Failed(Box::new(Failed { failure, measured, predicted }))
    }

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Failed(failed) => Some(&failed.failure),
            _ => None,
        }
    }

    pub fn measured(&self) -> Option<&Measured> {
        match self {
            Outcome::Measured(measured) => Some(measured),
            Outcome::Predicted(_) => None,
            Outcome::Failed(failed) => failed.measured.as_ref(),
        }
    }

    pub fn predicted(&self) -> Option<&Predicted> {
        match self {
            Outcome::Measured(_) => None,
            Outcome::Predicted(predicted) => Some(predicted),
            Outcome::Failed(failed) => failed.predicted.as_ref(),
        }
    }
}

/// As a line of the journal has it, since the first version.
#[derive(Clone, Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measured: Option<Measured>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predicted: Option<Predicted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

impl From<Outcome> for Written {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Measured(measured) => {
                Written { measured: Some(measured), predicted: None, failure: None }
            }
            Outcome::Predicted(predicted) => {
                Written { measured: None, predicted: Some(predicted), failure: None }
            }
            Outcome::Failed(failed) => {
                let Failed { failure, measured, predicted } = *failed;
                Written { measured, predicted, failure: Some(failure) }
            }
        }
    }
}

impl TryFrom<Written> for Outcome {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        match written {
            Written { failure: Some(failure), measured, predicted } => {
                Ok(Outcome::Failed(Box::new(Failed { failure, measured, predicted })))
            }
            Written { measured: Some(measured), predicted: None, .. } => Ok(Outcome::Measured(measured)),
            Written { predicted: Some(predicted), measured: None, .. } => Ok(Outcome::Predicted(predicted)),
            Written { measured: Some(_), .. } => Err("a trial that was measured and predicted"),
            Written { .. } => Err("a trial that was neither measured nor predicted, and hasn't failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::Status;
    use super::*;

    #[test]
    fn an_outcome_is_written_as_it_always_was() {
        let text = r#"{"failure":{"status":"out-of-memory","reason":"too much"}}"#;
        let outcome: Outcome = Failure::new(Status::OutOfMemory, "too much").into();
        assert_eq!(serde_json::to_string(&outcome).unwrap(), text);
        assert_eq!(serde_json::from_str::<Outcome>(text).unwrap(), outcome);
        let measured = r#"{"measured":{"passes":[],"warmup_passes":1,"busy_seconds":2.0}}"#;
        let read: Outcome = serde_json::from_str(measured).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), measured);
        let both = read.fails(Failure::new(Status::OutOfMemory, "too much"));
        assert!(both.measured().is_some() && both.failure().is_some());
        assert_eq!(serde_json::from_str::<Outcome>(&serde_json::to_string(&both).unwrap()).unwrap(), both);
    }

    #[test]
    fn an_outcome_of_nothing_is_none() {
        assert!(serde_json::from_str::<Outcome>("{}").is_err());
    }
}
