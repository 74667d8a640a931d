//! From what a card said to a sample: what an error means for the quantity that it struck.

use std::time::Duration;

use serde::Serialize;

use super::reason::Reason;
use super::sensor::{Card, Clocks, Load, Memory, Power, Process, Quantity, Sensor};
use super::trouble::{Effect, Trouble};

/// A card at a moment, as far as it told.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Sample {
    /// Since whatever the reader's owner counts from.
    #[serde(skip)]
    pub at: Duration,
    pub memory: Option<Memory>,
    pub load: Option<Load>,
    pub temperature_celsius: Option<u32>,
    pub clocks: Option<Clocks>,
    pub reasons: Option<Vec<Reason>>,
    pub power: Option<Power>,
    pub energy_joules: Option<f64>,
    pub processes: Option<Vec<Process>>,
    /// Processes that worked lately, with their share of the multiprocessors' time in percent.
    #[serde(skip)]
    pub busy: Option<Vec<(u32, u32)>>,
}

impl Sample {
    /// In use on the whole card.
    pub fn used_bytes(&self) -> Option<u64> {
        self.memory.map(|memory| memory.used_bytes)
    }

    /// Memory of these processes, where the card lists one of them and tells what each of them has.
    pub fn bytes_of(&self, belongs: impl Fn(u32) -> bool) -> Option<u64> {
        let own = self.processes.as_ref()?.iter().filter(|process| belongs(process.pid));
        // One of whom it isn't known makes the sum unknown.
        let bytes = own.map(|process| process.bytes).collect::<Option<Vec<u64>>>()?;
        (!bytes.is_empty()).then(|| bytes.iter().sum())
    }
}

/// How much is asked of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Numbers that the driver has at hand.
    Numbers,
    /// Processes too, for which the driver has to look.
    All,
}

pub struct Reader {
    sensor: Box<dyn Sensor>,
    /// Quantities that this card doesn't tell, and why.
    absent: Vec<(Quantity, String)>,
    errors: u64,
}

impl Reader {
    pub fn new(sensor: Box<dyn Sensor>) -> Reader {
        Reader { sensor, absent: Vec::new(), errors: 0 }
    }

    pub fn card(&self) -> &Card {
        self.sensor.card()
    }

    /// Quantities that this card doesn't tell, and why.
    pub fn absent(&self) -> &[(Quantity, String)] {
        &self.absent
    }

    /// The same in words.
    pub fn absent_in_words(&self) -> Vec<String> {
        self.absent.iter().map(|(quantity, why)| format!("{} ({why})", quantity.name())).collect()
    }

    /// Readings that went wrong. What is absent counts once.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Reads a sample. An error says that the card can't be read any more.
    pub fn read(&mut self, at: Duration, depth: Depth) -> Result<Sample, Trouble> {
        let dear = |quantity: &Quantity| matches!(quantity, Quantity::Processes | Quantity::Busy);
        let wanted: Vec<Quantity> = Quantity::ALL
            .into_iter()
            .filter(|quantity| depth == Depth::All || !dear(quantity))
            .filter(|quantity| !self.absent.iter().any(|(absent, _)| absent == quantity))
            .collect();
        let reading = match self.sensor.read(&wanted) {
            Ok(reading) => reading,
            Err(trouble) if trouble.effect == Effect::Gone => {
                self.errors += 1;
                return Err(trouble);
            }
            Err(trouble) => {
                self.note(&trouble.why);
                return Ok(Sample { at, ..Sample::default() });
            }
        };
        Ok(Sample {
            at,
            memory: self.take(Quantity::Memory, reading.memory)?,
            load: self.take(Quantity::Load, reading.load)?,
            temperature_celsius: self.take(Quantity::Temperature, reading.temperature)?,
            clocks: self.take(Quantity::Clocks, reading.clocks)?,
            reasons: self.take(Quantity::Reasons, reading.reasons)?,
            power: self.take(Quantity::Power, reading.power)?,
            energy_joules: self.take(Quantity::Energy, reading.energy)?,
            processes: self.take(Quantity::Processes, reading.processes)?,
            busy: self.take(Quantity::Busy, reading.busy)?,
        })
    }

    fn take<T>(
        &mut self,
        quantity: Quantity,
        read: Option<Result<T, Trouble>>,
    ) -> Result<Option<T>, Trouble> {
        let trouble = match read {
            None => return Ok(None),
            Some(Ok(value)) => return Ok(Some(value)),
            Some(Err(trouble)) => trouble,
        };
        self.note(&format!("{}: {}", quantity.name(), trouble.why));
        match trouble.effect {
            Effect::Gone => return Err(trouble),
            Effect::NotNow => {}
            Effect::Never => self.absent.push((quantity, trouble.why)),
        }
        Ok(None)
    }

    fn note(&mut self, error: &str) {
        self.errors += 1;
        log::debug!("{}: {error}", self.card().device);
    }
}

#[cfg(test)]
mod tests {
    use nvml_wrapper::error::NvmlError;

    use super::super::scripted::Scripted;
    use super::super::sensor::Reading;
    use super::*;

    fn reader(readings: Vec<Result<Reading, Trouble>>) -> Reader {
        Reader::new(Box::new(Scripted::new(readings)))
    }

    #[test]
    fn what_a_card_does_not_tell_is_asked_for_once_and_the_rest_is_read() {
        let without = Reading { power: Some(Err(NvmlError::NotSupported.into())), ..Scripted::calm() };
        // The second reading would have it: it isn't asked.
        let mut reader = reader(vec![Ok(without), Ok(Scripted::calm())]);
        for _ in 0..2 {
            let sample = reader.read(Duration::ZERO, Depth::All).unwrap();
            assert_eq!(sample.power, None);
            assert_eq!(sample.temperature_celsius, Some(45));
        }
        assert_eq!(reader.absent(), [(Quantity::Power, "this card doesn't report it".to_owned())]);
        assert_eq!(reader.errors(), 1);
    }

    #[test]
    fn what_fails_for_the_moment_is_asked_for_again() {
        for error in [NvmlError::Timeout, NvmlError::Unknown, NvmlError::InUse] {
            let without = Reading { energy: Some(Err(error.into())), ..Scripted::calm() };
            let mut reader = reader(vec![Ok(without), Ok(Scripted::calm())]);
            assert_eq!(reader.read(Duration::ZERO, Depth::All).unwrap().energy_joules, None);
            assert_eq!(reader.read(Duration::ZERO, Depth::All).unwrap().energy_joules, Some(1000.0));
            assert!(reader.absent().is_empty());
            assert_eq!(reader.errors(), 1);
        }
    }

    #[test]
    fn a_lost_card_ends_it_wherever_it_shows() {
        let lost = || Trouble::from(NvmlError::GpuLost);
        let in_a_quantity = Reading { clocks: Some(Err(lost())), ..Scripted::calm() };
        for reading in [Err(lost()), Ok(in_a_quantity)] {
            let trouble = reader(vec![reading]).read(Duration::ZERO, Depth::All).unwrap_err();
            assert_eq!(trouble.effect, Effect::Gone);
            assert!(trouble.why.contains("fell off the bus"), "{trouble}");
        }
        let passing = Err(Trouble::from(NvmlError::Timeout));
        let mut reader = reader(vec![passing, Ok(Scripted::calm())]);
        assert_eq!(reader.read(Duration::ZERO, Depth::All).unwrap(), Sample::default());
        assert!(reader.read(Duration::ZERO, Depth::All).unwrap().memory.is_some());
    }

    #[test]
    fn a_shallow_reading_leaves_processes_alone() {
        let sample = reader(vec![Ok(Scripted::calm())]).read(Duration::ZERO, Depth::Numbers).unwrap();
        assert_eq!((sample.processes, sample.busy), (None, None));
        assert!(sample.memory.is_some());
    }
}
