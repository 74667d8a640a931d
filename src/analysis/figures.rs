//! How figures come from the trials of one candidate.

use super::statistics::{Estimate, Rounds, estimate, median};
use crate::pipeline::Pass;
use crate::record::{Failure, Judged, Predicted, Recording};
use crate::suite::{Figure, Known, Subject, promised};
use crate::task::Metric;
use crate::units::quantile;

/// The trials of one candidate, at most one a round.
pub struct Trials<'a> {
    pub recordings: &'a [&'a Recording],
    pub price_per_hour: Option<f64>,
    /// What the stage is judged by.
    pub metric: Metric,
}

impl<'a> Trials<'a> {
    /// A failure in any round is a failure: what fails once in three will fail in service.
    pub fn failure(&self) -> Option<&'a Failure> {
        self.recordings.iter().find_map(|recording| recording.failure())
    }

    /// The trials whose times count: those that weren't set aside, or all if every one was.
    fn counted(&self) -> Vec<&'a Recording> {
        let calm = |recording: &&Recording| recording.measured().is_some() && recording.set_aside().is_none();
        let counted: Vec<&Recording> = self.recordings.iter().copied().filter(calm).collect();
        if counted.is_empty() { self.recordings.to_vec() } else { counted }
    }

    pub fn passes(&self) -> impl Iterator<Item = &'a Pass> {
        self.counted().into_iter().flat_map(|recording| recording.passes())
    }

    /// What figures and failure were predicted by, if nothing was measured.
    pub fn predicted(&self) -> Option<&'a Predicted> {
        self.recordings.iter().find_map(|recording| recording.predicted())
    }

    /// The samples of a figure, a list a round; nothing for one that a candidate has once and for all.
    pub fn samples(&self, figure: Figure) -> Option<Rounds> {
        if figure == Figure::Quality {
            return None;
        }
        let rounds = self.recordings.iter().map(|recording| recording.round as usize + 1).max()?;
        let mut rounds = vec![Vec::new(); rounds];
        for recording in if is_memory(figure) { self.recordings.to_vec() } else { self.counted() } {
            rounds[recording.round as usize].extend(self.samples_of(recording, figure));
        }
        Some(rounds)
    }

    /// What one trial has of it: a sample a pass, or one alone.
    fn samples_of(&self, recording: &Recording, figure: Figure) -> Vec<f64> {
        if let Some(share) = figure.share_of_batches() {
            let mut batches: Vec<f64> = batches(recording).collect();
            batches.sort_by(f64::total_cmp);
            return quantile(&batches, share).into_iter().collect();
        }
        match of_pass(figure, self.price_per_hour) {
            Some(sample) => recording.passes().iter().filter_map(sample).collect(),
            None => read(figure, recording).into_iter().collect(),
        }
    }

    /// A figure alone, which is enough to hold it against a limit.
    pub fn value(&self, figure: Figure) -> Option<f64> {
        self.estimate(figure).map(|estimate| estimate.value)
    }

    /// A figure with its interval, where it has one.
    pub fn estimate(&self, figure: Figure) -> Option<Estimate> {
        if let Some(predicted) = self.predicted() {
            return self.predicted_estimate(figure, predicted);
        }
        // The same answers agree as much whenever they are asked for.
        let Some(samples) = self.samples(figure) else {
            return self.quality();
        };
        let by_rounds = estimate(&samples)?;
        let value = if is_memory(figure) {
            // What it took once it may take again.
            samples.into_iter().flatten().reduce(f64::max)?
        } else if let Some(share) = figure.share_of_batches() {
            promised(self.counted().into_iter().flat_map(batches).collect(), share)?
        } else {
            return Some(by_rounds);
        };
        Some(Estimate { value, interval: by_rounds.interval.map(|interval| interval.with(value)) })
    }

    fn quality(&self) -> Option<Estimate> {
        let value = self.recordings.iter().find_map(|recording| recording.quality)?;
        Some(match self.judged(self.metric).and_then(|judged| judged.interval) {
            Some([low, high]) => Estimate::between(low, value, high),
            None => Estimate::exact(value),
        })
    }

    /// What a metric says of its answers.
    pub fn judged(&self, metric: Metric) -> Option<Judged> {
        self.recordings.iter().find_map(|recording| recording.agreements.get(&metric)).copied()
    }

    /// What it has of a limit's subject.
    pub fn known(&self, subject: Subject) -> Option<Known> {
        known_of(subject, self.metric, |metric| self.judged(metric), |figure| self.value(figure))
    }
}

impl Trials<'_> {
    /// A predicted figure with the interval that was predicted with it.
    fn predicted_estimate(&self, figure: Figure, predicted: &Predicted) -> Option<Estimate> {
        if figure == Figure::Vram {
            let peak = predicted.peak_vram?;
            return Some(Estimate::between(peak.low as f64, peak.value as f64, peak.high as f64));
        }
        // A prediction has no noise: its one pass is the figure, and a percentile is that of its batches.
        let value = median(self.samples(figure)?.into_iter().flatten())?;
        let (low, high) = (predicted.between.low, predicted.between.high);
        // All that is predicted besides memory is a time, or so much in a time.
        let times = if figure.more_is_better() { (high.recip(), low.recip()) } else { (low, high) };
        Some(Estimate::between(value * times.0, value, value * times.1))
    }
}

/// The reference agrees with itself; by labels it has a figure of its own.
pub fn known(metric: Metric, judged: &Judged) -> Known {
    let reference = if metric.needs_labels() { judged.reference } else { Some(1.0) };
    Known { value: judged.value, reference }
}

/// What is known of a limit's subject in a stage that is judged by `metric`, by what metrics say and by the value of figures.
pub fn known_of(
    subject: Subject,
    metric: Metric,
    judged: impl Fn(Metric) -> Option<Judged>,
    value: impl Fn(Figure) -> Option<f64>,
) -> Option<Known> {
    let by = |metric| judged(metric).map(|judged| known(metric, &judged));
    match subject {
        Subject::Metric(metric) => by(metric),
        // Runs of older versions may have the figure alone.
        Subject::Figure(Figure::Quality) => by(metric).or_else(|| value(Figure::Quality).map(Known::from)),
        Subject::Figure(figure) => value(figure).map(Known::from),
        // Whoever wins is checked for it (`certificate.rs`).
        Subject::Stability => None,
    }
}

fn is_memory(figure: Figure) -> bool {
    matches!(figure, Figure::Vram | Figure::Rss)
}

fn batches(recording: &Recording) -> impl Iterator<Item = f64> {
    recording.passes().iter().flat_map(|pass| pass.batch_seconds.iter().copied())
}

/// The figures that are read once a trial.
fn read(figure: Figure, recording: &Recording) -> Option<f64> {
    match figure {
        Figure::Vram => recording.peak_vram_bytes().map(|bytes| bytes as f64),
        Figure::Rss => recording.peak_rss_bytes.map(|bytes| bytes as f64),
        // A load that several trials used was timed once.
        Figure::Load => recording.loaded.as_ref().filter(|_| recording.fresh).map(|loaded| loaded.seconds),
        // A counter that didn't move meanwhile has counted nothing.
        Figure::Energy => recording.joules_per_document().filter(|joules| *joules > 0.0),
        _ => None,
    }
}

type Sample = Box<dyn Fn(&Pass) -> Option<f64>>;

/// How a pass gives a sample of a figure, for the figures that passes give.
fn of_pass(figure: Figure, price_per_hour: Option<f64>) -> Option<Sample> {
    match figure {
        Figure::Throughput => Some(Box::new(|pass| Some(pass.documents as f64 / pass.seconds))),
        Figure::Tokens => Some(Box::new(|pass| (pass.tokens > 0).then(|| pass.tokens as f64 / pass.seconds))),
        Figure::Latency => Some(Box::new(|pass| median(pass.batch_seconds.iter().copied()))),
        Figure::Cost => Some(Box::new(move |pass| {
            price_per_hour.map(|price| price / 3600.0 * pass.seconds / pass.documents as f64 * 1e6)
        })),
        _ => None,
    }
}
