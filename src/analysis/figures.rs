//! How figures come from the trials of one candidate.

use super::statistics::{Estimate, Rounds, estimate, median};
use crate::pipeline::Pass;
use crate::runner::{Failure, Predicted, Recording};
use crate::suite::Figure;
use crate::units::quantile;

/// The trials of one candidate, at most one a round.
pub struct Trials<'a> {
    pub recordings: &'a [&'a Recording],
    pub price_per_hour: Option<f64>,
}

impl<'a> Trials<'a> {
    /// A failure in any round is a failure: what fails once in three will fail in service.
    pub fn failure(&self) -> Option<&'a Failure> {
        self.recordings.iter().find_map(|recording| recording.failure.as_ref())
    }

    /// The trials whose times count: those that weren't disturbed, or all if every one was.
    fn counted(&self) -> Vec<&'a Recording> {
        let calm = |recording: &&Recording| recording.measured.is_some() && recording.disturbance().is_none();
        let counted: Vec<&Recording> = self.recordings.iter().copied().filter(calm).collect();
        if counted.is_empty() { self.recordings.to_vec() } else { counted }
    }

    pub fn passes(&self) -> impl Iterator<Item = &'a Pass> {
        self.counted().into_iter().flat_map(|recording| recording.passes())
    }

    /// What figures and failure were predicted by, if nothing was measured.
    pub fn predicted(&self) -> Option<&'a Predicted> {
        self.recordings.iter().find_map(|recording| recording.predicted.as_ref())
    }

    /// The samples of a figure that passes give, a list a round; nothing for one that is read once a trial.
    pub fn samples(&self, figure: Figure) -> Option<Rounds> {
        let sample = sampled(figure, self.price_per_hour)?;
        let rounds = self.recordings.iter().map(|recording| recording.round as usize + 1).max()?;
        let mut samples = vec![Vec::new(); rounds];
        for recording in self.counted() {
            samples[recording.round as usize].extend(recording.passes().iter().filter_map(&sample));
        }
        Some(samples)
    }

    /// A figure alone, which is enough to hold it against a limit.
    pub fn value(&self, figure: Figure) -> Option<f64> {
        match self.samples(figure) {
            Some(samples) => median(samples.into_iter().flatten()),
            None => self.read(figure),
        }
    }

    /// A figure with its interval, which takes a thousand times as long.
    pub fn estimate(&self, figure: Figure) -> Option<Estimate> {
        if let Some(predicted) = self.predicted() {
            return self.predicted_estimate(figure, predicted);
        }
        match self.samples(figure) {
            Some(samples) => estimate(&samples),
            None => self.read(figure).map(Estimate::exact),
        }
    }

    /// The figures that are read once a trial. Of memory the highest counts, of load times and energy the median.
    fn read(&self, figure: Figure) -> Option<f64> {
        let all = self.recordings.iter().copied();
        let highest = |bytes: fn(&Recording) -> Option<u64>| {
            all.clone().filter_map(bytes).max().map(|bytes| bytes as f64)
        };
        match figure {
            Figure::Vram => highest(Recording::peak_vram_bytes),
            Figure::Rss => highest(|recording| recording.peak_rss_bytes),
            Figure::Load => median(all.filter_map(|recording| Some(recording.loaded.as_ref()?.seconds))),
            Figure::Energy => median(self.counted().into_iter().filter_map(Recording::joules_per_document)),
            Figure::Quality => all.filter_map(|recording| recording.quality).next(),
            _ => None,
        }
    }
}

impl Trials<'_> {
    /// A predicted figure with the interval that was predicted with it.
    fn predicted_estimate(&self, figure: Figure, predicted: &Predicted) -> Option<Estimate> {
        if figure == Figure::Vram {
            let peak = predicted.peak_vram?;
            return Some(Estimate { value: peak.value as f64, low: peak.low as f64, high: peak.high as f64 });
        }
        let value = self.value(figure)?;
        let (low, high) = (predicted.between.low, predicted.between.high);
        // All that is predicted besides memory is a time, or so much in a time.
        let times = if figure.more_is_better() { (high.recip(), low.recip()) } else { (low, high) };
        Some(Estimate { value, low: value * times.0, high: value * times.1 })
    }
}

type Sample = Box<dyn Fn(&Pass) -> Option<f64>>;

/// How a pass gives a sample of a figure, for the figures that passes give.
fn sampled(figure: Figure, price_per_hour: Option<f64>) -> Option<Sample> {
    let batches = |share: f64| -> Sample {
        Box::new(move |pass| {
            let mut seconds = pass.batch_seconds.clone();
            seconds.sort_by(f64::total_cmp);
            quantile(&seconds, share)
        })
    };
    match figure {
        Figure::Throughput => Some(Box::new(|pass| Some(pass.documents as f64 / pass.seconds))),
        Figure::Tokens => Some(Box::new(|pass| (pass.tokens > 0).then(|| pass.tokens as f64 / pass.seconds))),
        Figure::Latency => Some(batches(0.5)),
        Figure::P95 => Some(batches(0.95)),
        Figure::Cost => Some(Box::new(move |pass| {
            price_per_hour.map(|price| price / 3600.0 * pass.seconds / pass.documents as f64 * 1e6)
        })),
        Figure::Vram | Figure::Rss | Figure::Load | Figure::Energy | Figure::Quality => None,
    }
}
