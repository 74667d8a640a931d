//! All trials of one candidate, taken together.

use indexmap::IndexMap;
use serde::Serialize;

use super::statistics::{Estimate, Rounds, estimate, median};
use crate::knob::Candidate;
use crate::pipeline::{Pass, Split};
use crate::runner::{Failure, Recording};
use crate::suite::Figure;
use crate::units::quantile;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub id: String,
    pub candidate: Candidate,
    /// Rounds in which it was measured.
    pub rounds: usize,
    pub passes: usize,
    /// Batches of a pass, where the worker tells them.
    pub batches: usize,
    pub figures: IndexMap<Figure, Estimate>,
    /// Half of the distance between the quartiles of the throughput of its passes, as a share of the median.
    pub spread: Option<f64>,
    /// Seconds of a pass, by where they went.
    pub split: Option<Split>,
    /// Share of the computed tokens that were padding.
    pub padding_waste: Option<f64>,
    pub failure: Option<Failure>,
    pub version: Option<String>,
    pub device: Option<String>,
    pub simulated: bool,
    /// Samples of the objective, a list a round, for comparisons side by side.
    #[serde(skip)]
    pub samples: Rounds,
}

impl Summary {
    /// Takes the recordings of one candidate together. There must be at least one.
    pub fn of(recordings: &[&Recording], objective: Figure, price_per_hour: Option<f64>) -> Option<Summary> {
        let first = recordings.first()?;
        let rounds = recordings.iter().map(|recording| recording.round as usize + 1).max()?;
        // A failure in any round is a failure: what fails once in three will fail in service.
        let failure = recordings.iter().find_map(|recording| recording.failure.clone());
        let passes: Vec<&Pass> =
            recordings.iter().filter_map(|r| r.measured.as_ref()).flat_map(|m| &m.passes).collect();
        let by_round = |sample: &dyn Fn(&Pass) -> Option<f64>| -> Rounds {
            let mut samples = vec![Vec::new(); rounds];
            for recording in recordings {
                let passes = recording.measured.iter().flat_map(|measured| &measured.passes);
                samples[recording.round as usize].extend(passes.filter_map(sample));
            }
            samples
        };
        let mut figures = IndexMap::new();
        for figure in Figure::ALL {
            let value = match sampled(figure, price_per_hour) {
                Some(sample) => estimate(&by_round(&*sample)),
                None => read(figure, recordings).map(Estimate::exact),
            };
            figures.extend(value.map(|value| (figure, value)));
        }
        let throughput =
            sampled(Figure::Throughput, None).map(|sample| by_round(&*sample)).unwrap_or_default();
        let loaded = recordings.iter().rev().find_map(|recording| recording.loaded.as_ref());
        let tokens: u64 = passes.iter().map(|pass| pass.tokens).sum();
        let padded: u64 = passes.iter().map(|pass| pass.padded_tokens).sum();
        Some(Summary {
            id: first.id.clone(),
            candidate: first.candidate.clone(),
            rounds: recordings.iter().filter(|recording| recording.measured.is_some()).count(),
            passes: passes.len(),
            batches: passes.first().map_or(0, |pass| pass.batch_seconds.len()),
            figures,
            spread: spread(throughput.into_iter().flatten().collect()),
            split: mean_split(&passes),
            padding_waste: (padded > 0).then(|| 1.0 - tokens as f64 / padded as f64),
            failure,
            version: loaded.map(|loaded| loaded.version.clone()),
            device: loaded.map(|loaded| loaded.device.clone()),
            simulated: loaded.is_some_and(|loaded| loaded.simulated),
            samples: sampled(objective, price_per_hour).map(|sample| by_round(&*sample)).unwrap_or_default(),
        })
    }

    pub fn figure(&self, figure: Figure) -> Option<Estimate> {
        self.figures.get(&figure).copied()
    }

    pub fn value(&self, figure: Figure) -> Option<f64> {
        self.figure(figure).map(|estimate| estimate.value)
    }

    /// Peak memory where it's scarce: on the device if it's known there, or else on the host.
    pub fn memory(&self) -> Option<f64> {
        self.value(Figure::Vram).or_else(|| self.value(Figure::Rss))
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
        Figure::Vram | Figure::Rss | Figure::Load | Figure::Quality => None,
    }
}

/// The figures that are read once a trial. Of memory the highest counts, of load times the median.
fn read(figure: Figure, recordings: &[&Recording]) -> Option<f64> {
    let highest = |bytes: &dyn Fn(&Recording) -> Option<u64>| {
        recordings.iter().filter_map(|recording| bytes(recording)).max().map(|bytes| bytes as f64)
    };
    match figure {
        Figure::Vram => highest(&|recording| recording.measured.as_ref()?.peak_vram_bytes),
        Figure::Rss => highest(&|recording| recording.peak_rss_bytes),
        Figure::Load => {
            median(recordings.iter().filter_map(|recording| Some(recording.loaded.as_ref()?.seconds)))
        }
        Figure::Quality => recordings.iter().find_map(|recording| recording.quality),
        _ => None,
    }
}

fn spread(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let at = |share| quantile(&samples, share);
    Some((at(0.75)? - at(0.25)?) / 2.0 / at(0.5)?)
}

fn mean_split(passes: &[&Pass]) -> Option<Split> {
    let count = passes.len() as f64;
    let mean = |part: fn(&Split) -> f64| passes.iter().map(|pass| part(&pass.split)).sum::<f64>() / count;
    let split = Split {
        tokenise: mean(|split| split.tokenise),
        pad: mean(|split| split.pad),
        to_device: mean(|split| split.to_device),
        compute: mean(|split| split.compute),
        from_device: mean(|split| split.from_device),
        finish: mean(|split| split.finish),
    };
    // A worker of another language may not tell where its time went.
    split.parts().iter().any(|part| *part > 0.0).then_some(split)
}
