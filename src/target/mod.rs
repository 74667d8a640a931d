//! The machine that measures, the GPUs in it, and what `--gpu` means.
//!
//! Knows no suite and no result.

mod card;
mod machine;

use serde::{Deserialize, Serialize};

pub use card::{Card, cards};
pub use machine::{Gpu, Machine};

/// What the figures of a run are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Short, for file names: `cpu`, `rtx3090`, `simulated`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where workers must run: `cpu`, `cuda:0`. Nothing where nothing real is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("--gpu: {0}")]
    Unknown(String),
    /// It's a GPU, and it isn't in this machine.
    #[error(
        "--gpu: {name} is not in this machine ({here}). Predicting for an absent GPU needs the cost model, which this \
         version doesn't have; run autotune on the machine that has the card"
    )]
    Absent { name: String, here: String },
}

impl Target {
    /// Finds what `wanted` names in `machine`: `auto`, `cpu`, `cuda:0`, or a card such as `rtx3090`.
    pub fn resolve(wanted: &str, machine: &Machine) -> Result<Target, TargetError> {
        let cpu = || Target {
            name: "cpu".to_owned(),
            description: machine.cpu_line(),
            device: Some("cpu".to_owned()),
        };
        let gpu = |index: usize, gpu: &Gpu| Target {
            name: card::find(&gpu.name).map_or_else(|| card::plain(&gpu.name), |card| card.name.clone()),
            description: format!("{} with {}", gpu.name, gpu.memory),
            device: Some(format!("cuda:{index}")),
        };
        if wanted == "auto" {
            return Ok(machine.gpus.first().map_or_else(cpu, |first| gpu(0, first)));
        }
        if wanted == "cpu" {
            return Ok(cpu());
        }
        if let Some(index) = wanted.strip_prefix("cuda:").and_then(|index| index.parse::<usize>().ok()) {
            let absent = || TargetError::Absent { name: wanted.to_owned(), here: machine.gpu_line() };
            return machine.gpus.get(index).map(|found| gpu(index, found)).ok_or_else(absent);
        }
        let card = card::find(wanted);
        let plain = card::plain(wanted);
        let named = |gpu: &Gpu| match card {
            Some(_) => card::find(&gpu.name) == card,
            None => !plain.is_empty() && card::plain(&gpu.name) == plain,
        };
        if let Some((index, found)) = machine.gpus.iter().enumerate().find(|(_, gpu)| named(gpu)) {
            return Ok(gpu(index, found));
        }
        match card {
            Some(card) => Err(TargetError::Absent { name: card.title.clone(), here: machine.gpu_line() }),
            None => {
                let known: Vec<_> = cards().iter().map(|card| card.name.as_str()).collect();
                Err(TargetError::Unknown(format!(
                    "{wanted:?} is neither auto, cpu, cuda:N nor a GPU known here: {}",
                    known.join(", ")
                )))
            }
        }
    }

    /// Why a worker on `device` doesn't measure this target, if it doesn't: falling back to the processor in silence is
    /// the commonest lie of a benchmark.
    pub fn excludes(&self, device: &str) -> Option<String> {
        let wanted = self.device.as_deref()?;
        // `cuda` alone is whichever one the worker was given.
        let fits = device == wanted || (device == "cuda" && wanted.starts_with("cuda:"));
        (!fits).then(|| format!("the worker runs on {device:?}, and the target is {wanted:?} (see --gpu)"))
    }

    /// For a run in which nothing real is measured.
    pub fn simulated(wanted: Option<&str>, version: &str) -> Target {
        let name = wanted.filter(|wanted| *wanted != "auto").map(card::plain);
        Target {
            name: name.unwrap_or_else(|| "simulated".to_owned()),
            description: version.to_owned(),
            device: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn machine(gpus: &[&str]) -> Machine {
        let gpu = |name: &&str| Gpu { name: name.to_string(), memory: Bytes(24 << 30), driver: "580".into() };
        Machine { gpus: gpus.iter().map(gpu).collect(), ..Machine::default() }
    }

    #[test]
    fn a_card_is_found_by_its_short_name_and_by_its_place() {
        let machine = machine(&["NVIDIA GeForce RTX 3090", "NVIDIA L40S"]);
        for (wanted, name) in
            [("auto", "rtx3090"), ("rtx3090", "rtx3090"), ("RTX 3090", "rtx3090"), ("cuda:1", "nvidial40s")]
        {
            assert_eq!(Target::resolve(wanted, &machine).unwrap().name, name, "{wanted}");
        }
        assert_eq!(Target::resolve("cpu", &machine).unwrap().name, "cpu");
    }

    #[test]
    fn a_worker_elsewhere_does_not_measure_the_target() {
        let machine = machine(&["NVIDIA L40S", "Tesla T4"]);
        let target = |wanted: &str| Target::resolve(wanted, &machine).unwrap();
        for (wanted, device, fits) in [
            ("cpu", "cpu", true),
            ("cpu", "cuda:0", false),
            ("auto", "cpu", false),
            ("cuda:1", "cuda:1", true),
            ("cuda:1", "cuda:0", false),
            ("t4", "cuda", true),
        ] {
            assert_eq!(target(wanted).excludes(device).is_none(), fits, "{wanted} {device}");
        }
        assert_eq!(Target::simulated(None, "").excludes("cuda:0"), None);
    }

    #[test]
    fn an_absent_card_is_not_another_one() {
        let error = Target::resolve("rtx3090", &machine(&["Tesla T4"])).unwrap_err();
        assert!(matches!(error, TargetError::Absent { .. }), "{error}");
        assert!(matches!(Target::resolve("cuda:0", &machine(&[])), Err(TargetError::Absent { .. })));
        assert!(matches!(Target::resolve("rtx9999", &machine(&[])), Err(TargetError::Unknown(_))));
        assert_eq!(Target::resolve("auto", &machine(&[])).unwrap().name, "cpu");
    }
}
