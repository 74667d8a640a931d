//! A card as a person watches it: what it says now, and how it came there.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::reader::{Depth, Reader, Sample};
use super::sensor::{Card, Sensor};
use super::trouble::Trouble;

/// Loads of the past that are kept: as many as the widest terminal has columns.
const KEPT: usize = 512;

/// What there is to see of a card.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Panel {
    pub card: Card,
    /// The card now; nothing while it's away.
    pub now: Option<Sample>,
    /// The load in percent at each sample, where it was known; the latest last.
    #[serde(skip)]
    pub loads: VecDeque<Option<u32>>,
    /// The energy counter when the watching began.
    #[serde(skip)]
    pub first_energy: Option<f64>,
    /// Why it's away.
    pub problem: Option<String>,
    /// Quantities that the card doesn't tell, and why.
    pub absent: Vec<String>,
    /// Readings that went wrong.
    pub errors: u64,
}

impl Panel {
    /// Whether the card can be read.
    pub fn is_up(&self) -> bool {
        self.now.is_some()
    }

    /// The same card, away for a reason that isn't its own.
    pub fn away(&self, why: &str) -> Panel {
        Panel { now: None, problem: Some(why.to_owned()), ..self.clone() }
    }
}

type Open = Box<dyn FnMut() -> Result<Box<dyn Sensor>, Trouble> + Send>;

/// Keeps a panel up to date.
pub struct Keeper {
    open: Open,
    reader: Option<Reader>,
    /// Readings that went wrong with readers before the one there is.
    errors_before: u64,
    pub panel: Panel,
}

impl Keeper {
    /// Opens a card, which must be there. One that goes away later is opened again when it's back.
    pub fn open(
        mut open: impl FnMut() -> Result<Box<dyn Sensor>, Trouble> + Send + 'static,
    ) -> Result<Keeper, Trouble> {
        let reader = Reader::new(open()?);
        let panel = Panel { card: reader.card().clone(), ..Panel::default() };
        Ok(Keeper { open: Box::new(open), reader: Some(reader), errors_before: 0, panel })
    }

    /// Reads the card once. `at` is the time since the watching began.
    pub fn refresh(&mut self, at: Duration) {
        let read = self.read(at);
        let panel = &mut self.panel;
        panel.errors = self.errors_before + self.reader.as_ref().map_or(0, Reader::errors);
        match read {
            Ok(sample) => {
                panel.first_energy = panel.first_energy.or(sample.energy_joules);
                panel.absent = self.reader.as_ref().map(Reader::absent_in_words).unwrap_or_default();
                panel.problem = None;
                panel.now = Some(sample);
            }
            Err(trouble) => {
                panel.now = None;
                panel.problem = Some(trouble.why);
                panel.errors += u64::from(self.reader.is_none());
                self.errors_before = panel.errors;
                self.reader = None;
            }
        }
        if panel.loads.len() == KEPT {
            panel.loads.pop_front();
        }
        panel.loads.push_back(panel.now.as_ref().and_then(|now| Some(now.load?.gpu_percent)));
    }

    fn read(&mut self, at: Duration) -> Result<Sample, Trouble> {
        if self.reader.is_none() {
            self.reader = Some(Reader::new((self.open)()?));
        }
        let gone = || Trouble::gone("the card isn't open");
        self.reader.as_mut().ok_or_else(gone)?.read(at, Depth::All)
    }
}

#[cfg(test)]
mod tests {
    use nvml_wrapper::error::NvmlError;

    use super::super::scripted::Scripted;
    use super::*;

    #[test]
    fn a_card_that_goes_away_is_shown_as_away_and_taken_up_again_when_it_is_back() {
        let lost = || Trouble::from(NvmlError::GpuLost);
        // It's opened, lost, not to be opened, and back.
        let mut sensors = vec![
            Ok(Scripted::new([Ok(Scripted::calm()), Err(lost())])),
            Err(lost()),
            Ok(Scripted::new([Ok(Scripted::calm())])),
        ]
        .into_iter();
        let open = move || -> Result<Box<dyn Sensor>, Trouble> {
            let next = sensors.next().unwrap_or_else(|| Err(NvmlError::GpuLost.into()));
            next.map(|sensor| Box::new(sensor) as Box<dyn Sensor>)
        };
        let mut keeper = Keeper::open(open).unwrap();
        let mut seen = Vec::new();
        for second in 0..4 {
            keeper.refresh(Duration::from_secs(second));
            let panel = &keeper.panel;
            seen.push((panel.is_up(), panel.errors, panel.problem.is_some()));
        }
        assert_eq!(seen, [(true, 0, false), (false, 1, true), (false, 2, true), (true, 2, false)]);
        assert_eq!(keeper.panel.loads, [Some(0), None, None, Some(0)]);
    }
}
