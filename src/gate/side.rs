//! What one arm took in a pair.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::analysis::gate::Gated;
use crate::analysis::statistics::of_round;
use crate::record::Recording;
use crate::units::Bytes;

/// Memory is handed out in lumps, and a process that is a few of them larger isn't another one.
const LUMP: f64 = 4.0 * Bytes::MIB as f64;

/// Figures of which more is worse.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// For a document.
    pub seconds: f64,
    pub bytes: Option<f64>,
    pub load_seconds: Option<f64>,
}

impl Side {
    pub fn of(recording: &Recording) -> Option<Side> {
        let passes = recording.passes();
        let seconds: Vec<f64> =
            passes.iter().map(|pass| pass.seconds / pass.documents.max(1) as f64).collect();
        let bytes = recording.peak_vram_bytes().or(recording.peak_rss_bytes);
        let loaded = recording.loaded.as_ref().filter(|_| recording.fresh);
        Some(Side {
            seconds: of_round(&seconds)?,
            bytes: bytes.map(|bytes| bytes as f64),
            load_seconds: loaded.map(|loaded| loaded.seconds),
        })
    }

    /// How many times another side's figures these are, of those that both have.
    pub fn beside(&self, base: &Side) -> IndexMap<Gated, f64> {
        let ratio = |figure: Gated| {
            let (own, other) = (self.figure(figure)?, base.figure(figure)?);
            let same = figure == Gated::Memory && (own - other).abs() < LUMP;
            let ratio = if same { 1.0 } else { own / other };
            (ratio.is_finite() && ratio > 0.0).then_some((figure, ratio))
        };
        Gated::ALL.into_iter().filter_map(ratio).collect()
    }

    pub fn figure(&self, figure: Gated) -> Option<f64> {
        match figure {
            Gated::Time => Some(self.seconds),
            Gated::Memory => self.bytes,
            Gated::Load => self.load_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_what_both_sides_have() {
        let base = Side { seconds: 2.0, bytes: Some(100.0), load_seconds: Some(2.0) };
        let new = Side { seconds: 3.0, bytes: None, load_seconds: Some(1.0) };
        let ratios = new.beside(&base);
        assert!((ratios[&Gated::Time] - 1.5).abs() < 1e-12);
        assert_eq!((ratios.get(&Gated::Memory), ratios[&Gated::Load]), (None, 0.5));
        let with = |mib: f64| Side { bytes: Some(mib * Bytes::MIB as f64), ..new };
        assert_eq!(with(13.0).beside(&with(10.0))[&Gated::Memory], 1.0);
        assert_eq!(with(120.0).beside(&with(100.0))[&Gated::Memory], 1.2);
    }
}
