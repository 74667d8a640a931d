//! A card that says what a script has it say, for tests.

use super::sensor::{Card, Clocks, Load, Memory, Power, Quantity, Reading, Sensor};
use super::trouble::Trouble;

/// Gives its readings in turn, and the last one for ever.
#[derive(Debug, Clone)]
pub struct Scripted {
    card: Card,
    readings: Vec<Result<Reading, Trouble>>,
    next: usize,
}

impl Scripted {
    pub fn new(readings: impl IntoIterator<Item = Result<Reading, Trouble>>) -> Scripted {
        let card = Card {
            device: "cuda:0".to_owned(),
            name: "Scripted RTX 3090".to_owned(),
            uuid: "GPU-00000000-0000-0000-0000-000000000000".to_owned(),
            driver: "580.65".to_owned(),
            most_sm_mhz: Some(2100),
        };
        Scripted { card, readings: readings.into_iter().collect(), next: 0 }
    }

    /// A reading of a 24 GiB card that works at its ease, to be changed as a test needs it.
    pub fn calm() -> Reading {
        Reading {
            memory: Some(Ok(Memory { used_bytes: 2 << 30, total_bytes: 24 << 30 })),
            load: Some(Ok(Load { gpu_percent: 0, memory_percent: 0 })),
            temperature: Some(Ok(45)),
            clocks: Some(Ok(Clocks { sm_mhz: 1800, memory_mhz: Some(9501) })),
            reasons: Some(Ok(Vec::new())),
            power: Some(Ok(Power { watts: 100.0, limit_watts: Some(350.0) })),
            energy: Some(Ok(1000.0)),
            processes: Some(Ok(Vec::new())),
            busy: Some(Ok(Vec::new())),
        }
    }
}

impl Sensor for Scripted {
    fn card(&self) -> &Card {
        &self.card
    }

    fn read(&mut self, wanted: &[Quantity]) -> Result<Reading, Trouble> {
        let place = self.next.min(self.readings.len().saturating_sub(1));
        self.next += 1;
        let reading = self.readings.get(place).cloned().unwrap_or_else(|| Ok(Reading::default()))?;
        let wants = |quantity| wanted.contains(&quantity);
        Ok(Reading {
            memory: reading.memory.filter(|_| wants(Quantity::Memory)),
            load: reading.load.filter(|_| wants(Quantity::Load)),
            temperature: reading.temperature.filter(|_| wants(Quantity::Temperature)),
            clocks: reading.clocks.filter(|_| wants(Quantity::Clocks)),
            reasons: reading.reasons.filter(|_| wants(Quantity::Reasons)),
            power: reading.power.filter(|_| wants(Quantity::Power)),
            energy: reading.energy.filter(|_| wants(Quantity::Energy)),
            processes: reading.processes.filter(|_| wants(Quantity::Processes)),
            busy: reading.busy.filter(|_| wants(Quantity::Busy)),
        })
    }
}
