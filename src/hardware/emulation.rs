//! `--emulate-vram`: a bigger card stands in for a smaller one, in its memory only.

use super::{Provenance, Target, TargetError, card};
use crate::units::Bytes;

/// Below this it isn't a card's memory but a slip, such as `8` for `8GiB`: the driver takes as much for itself.
const LEAST: Bytes = Bytes(128 * Bytes::MIB);

impl Target {
    /// The same GPU with no more memory than `wanted` says: a size, or a card's. Speed stays its own, and the name and
    /// the description say so wherever figures are shown.
    pub fn with_emulated_vram(self, wanted: &str) -> Result<Target, TargetError> {
        let refuse = |why: String| TargetError::Emulation { wanted: wanted.to_owned(), why };
        let limit = limit(wanted).map_err(refuse)?;
        let title = match self.provenance {
            Provenance::Simulated => self.name.clone(),
            Provenance::Predicted => {
                return Err(refuse(format!(
                    "{} is not in this machine, and only a GPU of this machine can emulate a smaller one; name one \
                     with --gpu",
                    self.name
                )));
            }
            Provenance::Measured => {
                let Some(memory) = self.memory else {
                    return Err(refuse(format!(
                        "{} has no memory of its own to limit, or it could not be read (see `autotune doctor`); \
                         name a GPU with --gpu",
                        self.name
                    )));
                };
                if limit >= memory {
                    return Err(refuse(format!(
                        "{} has {memory}, and can only emulate a card with less",
                        self.name
                    )));
                }
                self.title().to_owned()
            }
        };
        let own = match self.provenance {
            Provenance::Simulated => {
                format!("{}, a label only: these figures are simulated", self.description)
            }
            _ => format!("memory is emulated, speed is the {title}'s own"),
        };
        let size = print(limit);
        Ok(Target {
            name: format!("{}-as-{}", self.name, size.replace(' ', "")),
            description: format!("{title}, memory limited to {size}: {own}"),
            emulated_vram: Some(limit),
            ..self
        })
    }
}

/// The memory that a person means by a size or by a card.
fn limit(wanted: &str) -> Result<Bytes, String> {
    match (wanted.parse::<Bytes>(), card::meant_by(wanted).first()) {
        (_, Some(card)) if card.vram_gib.is_none() => {
            Err(format!("{} has no memory of its own; write a size such as 8GiB", card.title))
        }
        (_, Some(card)) => Ok(card.memory()),
        (Ok(size), None) if size >= LEAST => Ok(size),
        (Ok(size), None) => Err(format!("{size} is less than any card has; write a unit, as in 8GiB")),
        (Err(_), None) => Err("neither a size such as 8GiB nor a card of `autotune list`".to_owned()),
    }
}

/// As short as it is exact enough: whole GiB, or else MiB.
fn print(size: Bytes) -> String {
    if size.0.is_multiple_of(Bytes::GIB) {
        format!("{} GiB", size.0 / Bytes::GIB)
    } else {
        format!("{} MiB", size.0 / Bytes::MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Gpu, Machine};

    fn h200() -> Machine {
        let gpu =
            Gpu { name: "NVIDIA H200".into(), memory: Some(Bytes(143_771 * Bytes::MIB)), ..Gpu::default() };
        Machine { gpus: vec![gpu], ..Machine::default() }
    }

    #[test]
    fn a_bigger_card_stands_in_for_a_smaller_one_in_memory_only() {
        for (wanted, name, bytes) in [
            ("8GiB", "h200-as-8GiB", 8 << 30),
            ("rtx2070super", "h200-as-8GiB", 8 << 30),
            ("A100 80GB", "h200-as-80GiB", 80 << 30),
            ("6500 MiB", "h200-as-6500MiB", 6500 << 20),
        ] {
            let target = Target::resolve("auto", &h200()).unwrap().with_emulated_vram(wanted).unwrap();
            assert_eq!((target.name.as_str(), target.emulated_vram), (name, Some(Bytes(bytes))), "{wanted}");
            assert_eq!(target.device_memory(), Some(Bytes(bytes)));
            assert_eq!((target.device.as_deref(), target.provenance), (Some("cuda:0"), Provenance::Measured));
        }
        let target = Target::resolve("h200", &h200()).unwrap().with_emulated_vram("8g").unwrap();
        assert_eq!(
            target.description,
            "H200, memory limited to 8 GiB: memory is emulated, speed is the H200's own"
        );
    }

    #[test]
    fn what_cannot_be_emulated_is_refused_with_the_reason() {
        for (gpu, wanted, why) in [
            ("auto", "141GiB", "can only emulate a card with less"),
            ("auto", "h200", "can only emulate a card with less"),
            ("cpu", "8GiB", "no memory of its own"),
            ("rtx4090", "8GiB", "not in this machine"),
            ("auto", "8", "write a unit"),
            ("auto", "m2max", "no memory of its own"),
            ("auto", "small", "neither a size"),
            ("auto", "-1GiB", "neither a size"),
        ] {
            let target = Target::resolve(gpu, &h200()).unwrap();
            let error = target.with_emulated_vram(wanted).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--emulate-vram {wanted}: ")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn on_a_script_it_is_a_label() {
        let target = Target::simulated(None, "script 1").with_emulated_vram("8GiB").unwrap();
        assert_eq!((target.name.as_str(), target.provenance), ("simulated-as-8GiB", Provenance::Simulated));
        assert!(target.description.contains("script 1, a label only"), "{}", target.description);
    }
}
