//! A card as a person watches it: what it says now, and how it came there.

use std::collections::VecDeque;
use std::time::Duration;

use super::reader::{Depth, Reader, Sample};
use super::sensor::{Card, Sensor};
use super::trouble::Trouble;

/// Samples of the past that are kept: as many as the widest terminal has columns.
const KEPT: usize = 512;

type Open = Box<dyn FnMut() -> Result<Box<dyn Sensor>, Trouble> + Send>;

pub struct Panel {
    open: Open,
    reader: Option<Reader>,
    pub card: Card,
    /// The card now; nothing while it's away.
    pub now: Option<Sample>,
    /// The load in percent at each sample, where it was known; the latest last.
    pub loads: VecDeque<Option<u32>>,
    /// Why it's away, or what went wrong last.
    pub problem: Option<String>,
    /// Readings that went wrong.
    pub errors: u64,
    /// Errors of readers that were before the one there is.
    errors_before: u64,
}

impl Panel {
    /// Opens a card, which must be there. One that goes away later is opened again when it's back.
    pub fn open(
        mut open: impl FnMut() -> Result<Box<dyn Sensor>, Trouble> + Send + 'static,
    ) -> Result<Panel, Trouble> {
        let reader = Reader::new(open()?);
        Ok(Panel {
            card: reader.card().clone(),
            open: Box::new(open),
            reader: Some(reader),
            now: None,
            loads: VecDeque::new(),
            problem: None,
            errors: 0,
            errors_before: 0,
        })
    }

    /// Whether the card can be read.
    pub fn is_up(&self) -> bool {
        self.now.is_some()
    }

    /// Quantities that the card doesn't tell, and why.
    pub fn absent(&self) -> Vec<String> {
        let absent = self.reader.iter().flat_map(Reader::absent);
        absent.map(|(quantity, why)| format!("{}: {why}", quantity.name())).collect()
    }

    /// Reads the card once. `at` is the time since the watching began.
    pub fn refresh(&mut self, at: Duration) {
        if self.reader.is_none() {
            match (self.open)() {
                Ok(sensor) => self.reader = Some(Reader::new(sensor)),
                Err(trouble) => {
                    self.problem = Some(trouble.why);
                    self.errors_before += 1;
                }
            }
        }
        let read = self.reader.as_mut().map(|reader| (reader.read(at, Depth::All), reader.errors().0));
        self.errors = self.errors_before;
        self.now = None;
        match read {
            Some((Ok(sample), errors)) => {
                self.errors += errors;
                self.problem = None;
                self.now = Some(sample);
            }
            Some((Err(trouble), errors)) => {
                self.errors += errors;
                self.errors_before = self.errors;
                self.problem = Some(trouble.why);
                self.reader = None;
            }
            None => {}
        }
        if self.loads.len() == KEPT {
            self.loads.pop_front();
        }
        self.loads.push_back(self.now.as_ref().and_then(|now| Some(now.load?.gpu_percent)));
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
        let mut panel = Panel::open(open).unwrap();
        let mut seen = Vec::new();
        for second in 0..4 {
            panel.refresh(Duration::from_secs(second));
            seen.push((panel.is_up(), panel.errors, panel.problem.is_some()));
        }
        assert_eq!(seen, [(true, 0, false), (false, 1, true), (false, 2, true), (true, 2, false)]);
        assert_eq!(panel.loads, [Some(0), None, None, Some(0)]);
    }
}
