//! The machine that measures, the GPUs in it, and what `--gpu` means.
//!
//! Knows no suite and no result.

mod apple;
mod card;
mod driver;
mod emulation;
mod gpu;
mod machine;
mod nvidia;
pub mod probe;

use serde::{Deserialize, Serialize};

pub use card::{Card, cards};
pub use driver::{CudaVersion, Driver};
pub use gpu::{FoundBy, Gpu};
pub use machine::Machine;

use crate::units::{Bytes, did_you_mean};

/// What the figures of a run are for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Target {
    /// Short, for file names: `cpu`, `rtx3090`, `h200-as-8GiB`, `simulated`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where workers must run: `cpu`, `cuda:0`, `mps`. Nothing where nothing real is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How figures for it come. Older runs don't say; what a run's figures are follows from its recordings, not from this.
    #[serde(default)]
    pub provenance: Provenance,
    /// Its name in the table of GPUs, if that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// What networks may use of the GPU's memory, as its driver tells, or else as it's sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// So much of it only, because a smaller card is emulated in its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulated_vram: Option<Bytes>,
    /// The card's price an hour from the table of GPUs, where the suite asks for the cost and states no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
}

/// How figures for a target come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// On the target itself, which is in this machine.
    #[default]
    Measured,
    /// The card is known, and not in this machine.
    Predicted,
    /// By a script.
    Simulated,
}

impl Provenance {
    pub fn name(self) -> &'static str {
        match self {
            Provenance::Measured => "measured",
            Provenance::Predicted => "predicted",
            Provenance::Simulated => "simulated",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("--gpu: {0}")]
    Unknown(String),
    /// Nothing can be predicted for it.
    #[error("--gpu: nothing can be predicted for {name}: {why}")]
    Unpredictable { name: String, why: &'static str },
    #[error(
        "--measured: {name} is not in this machine ({here}), so nothing can be measured on it; without --measured its \
         figures are predicted"
    )]
    NotMeasurable { name: String, here: String },
    /// A place where there is no GPU: there's no telling which one is meant, so nothing can be predicted either.
    #[error(
        "--gpu: {device} is not in this machine ({here}); `autotune list` shows the cards that can be predicted \
         without being in this machine"
    )]
    NoSuchDevice { device: String, here: String },
    /// It's in the machine, and programs can't have it as it is.
    #[error(
        "--gpu {wanted}: {name} is in this machine, but CUDA doesn't show it to programs as that card ({here}); \
         check CUDA_VISIBLE_DEVICES, or name a GPU that is shown, such as cuda:0"
    )]
    NotShown { wanted: String, name: String, here: String },
    #[error("--measured: every backend of this suite is simulated, so nothing can be measured")]
    NothingReal,
    #[error("--emulate-vram {wanted}: {why}")]
    Emulation { wanted: String, why: String },
}

impl Target {
    /// Finds what `wanted` names in `machine`: `auto`, `cpu`, `cuda:0`, `mps`, or a card such as `rtx3090`. A card that
    /// is known and not there is a target to predict for.
    pub fn resolve(wanted: &str, machine: &Machine) -> Result<Target, TargetError> {
        let here = |index: usize| machine.gpus.get(index).map(|gpu| Target::of_gpu(gpu, index));
        if wanted == "auto" {
            // No engine of ours runs on Apple's GPUs, and on their processors all of them do.
            let mut usable = machine.gpus.iter().enumerate().filter(|(_, gpu)| !gpu.is_apple());
            let first = usable.clone().next();
            // One that no engine can use is taken only where there's no other.
            let fit = usable.find(|(index, gpu)| machine.obstacle(&gpu.device(*index)).is_none());
            return Ok(fit
                .or(first)
                .and_then(|(index, _)| here(index))
                .unwrap_or_else(|| Target::of_processor(machine)));
        }
        if wanted == "cpu" {
            return Ok(Target::of_processor(machine));
        }
        if wanted == "mps" || wanted.strip_prefix("cuda:").is_some_and(|index| index.parse::<usize>().is_ok())
        {
            let absent = || TargetError::NoSuchDevice { device: wanted.to_owned(), here: machine.gpu_line() };
            let place = machine.gpus.iter().enumerate().position(|(index, gpu)| gpu.device(index) == wanted);
            return place.and_then(here).ok_or_else(absent);
        }
        if wanted.starts_with("GPU-") || wanted.starts_with("MIG-") {
            let is_it = |gpu: &Gpu| gpu.uuid.as_ref().is_some_and(|uuid| uuid.starts_with(wanted));
            let absent = || TargetError::NoSuchDevice { device: wanted.to_owned(), here: machine.gpu_line() };
            return machine.gpus.iter().position(is_it).and_then(here).ok_or_else(absent);
        }
        let meant = card::meant_by(wanted);
        let plain = card::plain(wanted);
        let named = |gpu: &Gpu| match gpu.card() {
            Some(card) => meant.contains(&card),
            None => !plain.is_empty() && card::plain(&gpu.name) == plain,
        };
        let found = machine.gpus.iter().position(named).and_then(here);
        // What is in the machine isn't predicted because programs don't see it, or see a part of it.
        let is_meant = |name: &&String| {
            let whole = name.split(" MIG ").next().unwrap_or_default();
            card::of_driver(whole, None).is_some_and(|card| meant.contains(&card))
        };
        let names = machine.gpus.iter().map(|gpu| gpu.name.clone());
        let parts: Vec<String> = names.filter(|name| name.contains(" MIG ")).collect();
        if let Some(name) = machine.hidden.iter().chain(&parts).find(is_meant).filter(|_| found.is_none()) {
            return Err(TargetError::NotShown {
                wanted: wanted.to_owned(),
                name: name.clone(),
                here: machine.gpu_line(),
            });
        }
        match (found, meant.first()) {
            (Some(target), _) => Ok(target),
            (None, Some(card)) => Ok(Target::of_absent_card(card)),
            (None, None) => Err(TargetError::Unknown(unknown(wanted))),
        }
    }

    /// Which target `auto` has come to, and why, for people.
    pub fn choice(&self, machine: &Machine) -> String {
        let device = self.device.as_deref().unwrap_or_default();
        let others = machine.gpus.len().saturating_sub(1);
        let setting = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
        let why = match device {
            "cpu" if !machine.hidden.is_empty() && setting.is_empty() => {
                format!(
                    "CUDA shows no GPU of this machine to programs; the machine has: {}",
                    machine.hidden.join(", ")
                )
            }
            "cpu" if !machine.hidden.is_empty() => format!(
                "CUDA_VISIBLE_DEVICES={setting} hides every GPU of this machine: {}",
                machine.hidden.join(", ")
            ),
            "cpu" if machine.no_cuda.is_some() => {
                machine.no_cuda.as_ref().map(|missing| missing.to_string()).unwrap_or_default()
            }
            "cpu" if machine.driver_hangs => {
                "NVIDIA's driver doesn't answer, so no GPU could be found; restart the machine".to_owned()
            }
            "cpu" => "no NVIDIA GPU was found; `autotune doctor` shows where it looked".to_owned(),
            _ if others > 0 && device != "cuda:0" => {
                format!("the first of {} GPUs that an engine can use", others + 1)
            }
            _ if others > 0 => format!("the first of {} GPUs; --gpu cuda:1 selects another", others + 1),
            _ if !machine.hidden.is_empty() => {
                format!("the GPU that CUDA shows to programs; hidden: {}", machine.hidden.join(", "))
            }
            _ => "the GPU of this machine; --gpu cpu selects the processor".to_owned(),
        };
        format!("{device}, {} ({why})", self.description)
    }

    /// The processor, for those who only run there and measure nothing.
    pub fn processor() -> Target {
        Target { name: "cpu".to_owned(), device: Some("cpu".to_owned()), ..Target::default() }
    }

    fn of_processor(machine: &Machine) -> Target {
        Target {
            name: "cpu".to_owned(),
            description: machine.cpu_line(),
            device: Some("cpu".to_owned()),
            ..Target::default()
        }
    }

    fn of_gpu(gpu: &Gpu, index: usize) -> Target {
        Target {
            name: gpu.short_name(),
            description: gpu.line(),
            device: Some(gpu.device(index)),
            card: gpu.card().map(|card| card.name.clone()),
            memory: gpu.memory,
            ..Target::default()
        }
    }

    fn of_absent_card(card: &Card) -> Target {
        Target {
            name: card.name.clone(),
            description: format!("{} with {} (not in this machine)", card.title, card.memory()),
            provenance: Provenance::Predicted,
            card: Some(card.name.clone()),
            memory: Some(card.memory()),
            ..Target::default()
        }
    }

    /// The same for a prediction, whether it's in this machine or not.
    pub fn to_predict(self) -> Result<Target, TargetError> {
        let refuse = |why| Err(TargetError::Unpredictable { name: self.title().to_owned(), why });
        if self.card().is_some() {
            return Ok(Target { device: None, provenance: Provenance::Predicted, ..self });
        }
        refuse(match self.device.as_deref() {
            Some("cpu") => {
                "the table of GPUs has no figures of processors; run without `predict` to measure it"
            }
            _ => {
                "the table of GPUs (`autotune list`) doesn't have its figures; run without `predict` to measure it"
            }
        })
    }

    /// Whether it's a GPU, here or not.
    pub fn is_gpu(&self) -> bool {
        self.device.as_deref() != Some("cpu") && self.provenance != Provenance::Simulated
    }

    /// For a run in which nothing real is measured.
    pub fn simulated(wanted: Option<&str>, version: &str) -> Target {
        let name = wanted.filter(|wanted| *wanted != "auto").map(card::plain);
        Target {
            name: name.unwrap_or_else(|| "simulated".to_owned()),
            description: version.to_owned(),
            provenance: Provenance::Simulated,
            ..Target::default()
        }
    }

    /// Its figures in the table of GPUs, if that has it.
    pub fn card(&self) -> Option<&'static Card> {
        cards().iter().find(|card| Some(&card.name) == self.card.as_ref())
    }

    /// What people call it.
    pub fn title(&self) -> &str {
        self.card().map_or(&self.name, |card| &card.title)
    }

    /// The memory that workers may use of the device, if that's known.
    pub fn device_memory(&self) -> Option<Bytes> {
        self.emulated_vram.or(self.memory)
    }

    /// Why a worker on `device` doesn't measure this target, if it doesn't: falling back to the processor in silence is
    /// the commonest lie of a benchmark.
    pub fn excludes(&self, device: &str) -> Option<String> {
        if self.provenance == Provenance::Predicted {
            return Some(format!(
                "{} is not in this machine, so no worker measures it (see --gpu)",
                self.name
            ));
        }
        let wanted = self.device.as_deref()?;
        // `cuda` alone is whichever one the worker was given.
        let fits = device == wanted || (device == "cuda" && wanted.starts_with("cuda:"));
        (!fits).then(|| format!("the worker runs on {device:?}, and the target is {wanted:?} (see --gpu)"))
    }
}

/// That nothing is called so, what was probably meant, and what there is.
fn unknown(wanted: &str) -> String {
    /// What a terminal shows without breaking a name in two.
    const WIDTH: usize = 100;
    let names: Vec<&str> = cards().iter().map(|card| card.name.as_str()).collect();
    let hint = did_you_mean(
        &wanted.to_ascii_lowercase(),
        ["auto", "cpu", "mps"].into_iter().chain(names.iter().copied()),
    );
    let list = textwrap::fill(
        &names.join(", "),
        textwrap::Options::new(WIDTH)
            .initial_indent("  ")
            .subsequent_indent("  ")
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .break_words(false),
    );
    format!(
        "{wanted:?} is not auto, cpu, cuda:N, mps, a GPU of this machine or one of these known GPUs{hint}\n{list}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn machine(gpus: &[&str]) -> Machine {
        let gpu = |name: &&str| Gpu { name: name.to_string(), driver: "580".into(), ..Gpu::default() };
        Machine { gpus: gpus.iter().map(gpu).collect(), ..Machine::default() }
    }

    #[test]
    fn a_card_is_found_by_its_short_name_and_by_its_place() {
        let machine = machine(&["NVIDIA GeForce RTX 3090", "NVIDIA L40", "NVIDIA A100-SXM4-80GB"]);
        for (wanted, name, device) in [
            ("auto", "rtx3090", "cuda:0"),
            ("rtx3090", "rtx3090", "cuda:0"),
            ("RTX 3090", "rtx3090", "cuda:0"),
            ("cuda:1", "nvidial40", "cuda:1"),
            ("NVIDIA L40", "nvidial40", "cuda:1"),
            // The model is named, and the variant is the machine's.
            ("a100", "a100-80gb", "cuda:2"),
        ] {
            let target = Target::resolve(wanted, &machine).unwrap();
            let found = (target.name.as_str(), target.device.as_deref(), target.provenance);
            assert_eq!(found, (name, Some(device), Provenance::Measured), "{wanted}");
        }
        assert_eq!(Target::resolve("cpu", &machine).unwrap().name, "cpu");
        assert_eq!(Target::resolve("a100", &machine).unwrap().card().unwrap().vram_gib, Some(80.0));
    }

    #[test]
    fn a_gpu_of_apple_is_taken_when_it_is_asked_for() {
        let gpu = Gpu { name: "Apple M2 Max".into(), found_by: FoundBy::Sysctl, ..Gpu::default() };
        let machine = Machine { gpus: vec![gpu], ..Machine::default() };
        let name = |wanted: &str| Target::resolve(wanted, &machine).map(|target| target.name);
        assert_eq!((name("auto"), name("mps")), (Ok("cpu".into()), Ok("m2max".into())));
        assert_eq!(name("m2max"), Ok("m2max".into()));
        assert!(matches!(name("cuda:0"), Err(TargetError::NoSuchDevice { .. })));
        assert_eq!(Target::resolve("m2max", &machine).unwrap().excludes("mps"), None);
        assert!(Target::resolve("m2max", &machine).unwrap().excludes("cpu").is_some());
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
    fn an_absent_card_is_predicted_for_and_never_measured() {
        let here = machine(&["Tesla T4"]);
        let target = Target::resolve("rtx3090", &here).unwrap();
        assert_eq!((target.name.as_str(), target.provenance), ("rtx3090", Provenance::Predicted));
        assert_eq!((target.device.as_deref(), target.device_memory()), (None, Some(Bytes(24 << 30))));
        assert!(target.description.contains("not in this machine"), "{}", target.description);
        for device in ["cpu", "cuda:0", "cuda"] {
            assert!(target.excludes(device).is_some(), "{device}");
        }
        assert_eq!(Target::resolve("a100", &here).unwrap().name, "a100-40gb");
        for device in ["cuda:1", "mps"] {
            let error = Target::resolve(device, &here).unwrap_err();
            assert!(error.to_string().contains("not in this machine (Tesla T4)"), "{error}");
        }
        assert_eq!(Target::resolve("auto", &machine(&[])).unwrap().name, "cpu");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_with_all_that_fit_the_terminal() {
        let unknown = |wanted: &str| Target::resolve(wanted, &machine(&[])).unwrap_err().to_string();
        assert!(unknown("RTX309").contains("did you mean \"rtx3090\"?"), "{}", unknown("RTX309"));
        assert!(unknown("cpuu").contains("did you mean \"cpu\"?"), "{}", unknown("cpuu"));
        let text = unknown("zzz");
        assert!(!text.contains("did you mean"), "{text}");
        assert!(text.lines().count() > 3 && text.lines().all(|line| line.len() <= 100), "{text}");
        for card in cards() {
            // No name is broken at its hyphen.
            assert!(text.contains(&card.name), "{}: {text}", card.name);
        }
        for wanted in ["cuda:x", "cuda:", "", "3090 Ti", "cuda:-1"] {
            assert!(
                matches!(Target::resolve(wanted, &machine(&[])), Err(TargetError::Unknown(_))),
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn targets_and_machines_of_older_runs_are_read() {
        let old = r#"{"name":"rtx3090","description":"RTX 3090 with 24.0 GiB","device":"cuda:0"}"#;
        let target: Target = serde_json::from_str(old).unwrap();
        assert_eq!((target.provenance, target.device_memory()), (Provenance::Measured, None));
        let old = r#"{"cpu":"x","cores":2,"memory":1,"system":"linux","gpus":[{"name":"Tesla T4","memory":16106127360,"driver":"550"}]}"#;
        let machine: Machine = serde_json::from_str(old).unwrap();
        assert_eq!(
            (machine.gpus[0].memory, machine.gpus[0].found_by),
            (Some(Bytes(15 << 30)), FoundBy::Nvml)
        );
        let again: Machine = serde_json::from_str(&serde_json::to_string(&machine).unwrap()).unwrap();
        assert_eq!(again, machine);
    }
}
