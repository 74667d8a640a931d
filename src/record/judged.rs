//! What a metric says of a candidate's answers.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Judged {
    pub value: f64,
    /// Where the truth lies, as far as so many queries or documents can tell.
    pub interval: Option<[f64; 2]>,
    /// The same metric of the reference's answers, where it's one by labels.
    pub reference: Option<f64>,
    /// Where the difference from the reference lies, worse being negative.
    pub change: Option<[f64; 2]>,
    /// Queries or documents with labels.
    pub units: Option<usize>,
}

impl Judged {
    /// Of all that there is, so that nothing is left open.
    pub fn exactly(value: f64) -> Judged {
        Judged { value, interval: None, reference: None, change: None, units: None }
    }

    pub fn between(value: f64, interval: [f64; 2]) -> Judged {
        Judged { interval: Some(interval), ..Judged::exactly(value) }
    }
}

/// A number alone, as older versions have it, or with what stands beside it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Alone(f64),
    Whole {
        value: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<[f64; 2]>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<[f64; 2]>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        units: Option<usize>,
    },
}

impl From<Written> for Judged {
    fn from(written: Written) -> Judged {
        match written {
            Written::Alone(value) => Judged::exactly(value),
            Written::Whole { value, interval, reference, change, units } => {
                Judged { value, interval, reference, change, units }
            }
        }
    }
}

impl From<Judged> for Written {
    fn from(judged: Judged) -> Written {
        if judged == Judged::exactly(judged.value) {
            return Written::Alone(judged.value);
        }
        let Judged { value, interval, reference, change, units } = judged;
        Written::Whole { value, interval, reference, change, units }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_written_as_older_versions_wrote_it() {
        let alone = Judged::exactly(0.5);
        assert_eq!(serde_json::to_string(&alone).unwrap(), "0.5");
        assert_eq!(serde_json::from_str::<Judged>("0.5").unwrap(), alone);
        let whole = Judged {
            reference: Some(0.75),
            change: Some([-0.5, 0.0]),
            units: Some(40),
            ..Judged::between(0.5, [0.25, 0.75])
        };
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Judged>(&text).unwrap(), whole);
    }
}
