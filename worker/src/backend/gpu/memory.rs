//! What of a GPU's memory a worker may take, and what it took. Sums only; who enforces them are the engines' allocators.

use serde::{Deserialize, Serialize};

use crate::backend::BackendError;
use crate::units::Bytes;

/// A worker's share of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What the card has, or is emulated to have.
    pub total_bytes: u64,
    /// What the worker may take of it, everything included. Nothing where it may take all that the card has.
    pub cap_bytes: Option<u64>,
    /// What the driver and the libraries took before the model came.
    pub overhead_bytes: u64,
}

/// Libraries load kernels when they are first called, and their code lies in the card's memory outside of any pool. So much
/// of a share is left for it, or a fiftieth of a small one. No card has been asked yet how much it needs.
const KERNELS_TO_COME: u64 = 64 << 20;

impl Share {
    /// `emulated` is the memory of the card that this one stands in for.
    pub fn new(
        card_bytes: u64,
        emulated: Option<u64>,
        fraction: f64,
        overhead_bytes: u64,
    ) -> Result<Share, BackendError> {
        let total_bytes = emulated.map_or(card_bytes, |emulated| emulated.min(card_bytes));
        let cap = (total_bytes as f64 * fraction) as u64;
        let cap_bytes = (cap < card_bytes).then_some(cap);
        let share = Share { total_bytes, cap_bytes, overhead_bytes };
        match share.pool_bytes() {
            Some(0) => Err(BackendError::OutOfMemory(format!(
                "memory_fraction {fraction} of {} is {}, and the driver and its libraries alone take {}",
                Bytes(total_bytes),
                Bytes(cap),
                Bytes(overhead_bytes)
            ))),
            _ => Ok(share),
        }
    }

    /// What is left for the engine's allocator: a share that holds is one of everything that the process takes, and not of
    /// what one allocator hands out.
    pub fn pool_bytes(&self) -> Option<u64> {
        let kernels = |cap: u64| KERNELS_TO_COME.min(cap / 50);
        self.cap_bytes.map(|cap| cap.saturating_sub(self.overhead_bytes + kernels(cap)))
    }

    /// With what the allocator has seen.
    pub fn taken(&self, reserved_peak_bytes: u64, used_peak_bytes: Option<u64>) -> DeviceMemory {
        let Share { total_bytes, cap_bytes, overhead_bytes } = *self;
        DeviceMemory { total_bytes, cap_bytes, overhead_bytes, reserved_peak_bytes, used_peak_bytes }
    }
}

/// Memory of the device, as the engine saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    /// What the card has, or is emulated to have.
    pub total_bytes: u64,
    /// What the worker was allowed, everything included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_bytes: Option<u64>,
    /// What the driver and the libraries took before the model came.
    #[serde(default)]
    pub overhead_bytes: u64,
    /// The most that the engine's allocator held…
    pub reserved_peak_bytes: u64,
    /// …and the most of it that was in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_peak_bytes: Option<u64>,
}

/// Two counts of the same memory that differ by more than this are worth a word.
const AGREE: f64 = 0.05;

impl DeviceMemory {
    /// All that the worker took, by its own count.
    pub fn peak_bytes(&self) -> u64 {
        self.overhead_bytes + self.reserved_peak_bytes
    }

    /// By how much another count of the same memory differs, as a share of it, if it's worth a word.
    pub fn disagreement(&self, seen_bytes: u64) -> Option<f64> {
        let difference = (self.peak_bytes() as f64 - seen_bytes as f64) / (seen_bytes as f64).max(1.0);
        (difference.abs() > AGREE).then_some(difference)
    }

    /// Why a worker that was seen to take so much has broken its cap, if it has.
    pub fn broken(&self, seen_bytes: u64) -> Option<String> {
        let cap = self.cap_bytes?;
        let most = self.peak_bytes().max(seen_bytes);
        (most > cap).then(|| format!("it used {}, but its share was {}", Bytes(most), Bytes(cap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_share_is_of_everything_that_the_process_takes() {
        let share = Share::new(24 * GIB, None, 0.5, GIB).unwrap();
        assert_eq!((share.cap_bytes, share.pool_bytes()), (Some(12 * GIB), Some(11 * GIB - KERNELS_TO_COME)));
        let whole = Share::new(24 * GIB, None, 1.0, GIB).unwrap();
        assert_eq!((whole.cap_bytes, whole.pool_bytes()), (None, None));
        let error = Share::new(24 * GIB, None, 0.01, GIB).unwrap_err();
        assert!(matches!(&error, BackendError::OutOfMemory(why) if why.contains("1.00 GiB")), "{error}");
    }

    #[test]
    fn a_bigger_card_stands_in_for_a_smaller_one() {
        let share = Share::new(141 * GIB, Some(8 * GIB), 1.0, GIB).unwrap();
        assert_eq!((share.total_bytes, share.pool_bytes()), (8 * GIB, Some(7 * GIB - KERNELS_TO_COME)));
        let half = Share::new(141 * GIB, Some(8 * GIB), 0.5, GIB).unwrap();
        assert_eq!(half.cap_bytes, Some(4 * GIB));
        // Not for a larger one.
        assert_eq!(Share::new(8 * GIB, Some(24 * GIB), 1.0, GIB).unwrap().total_bytes, 8 * GIB);
    }

    #[test]
    fn two_counts_that_differ_are_worth_a_word_and_a_broken_cap_is_one() {
        let taken = Share::new(8 * GIB, None, 0.5, GIB).unwrap().taken(3 * GIB, Some(2 * GIB));
        assert_eq!(taken.peak_bytes(), 4 * GIB);
        assert_eq!(taken.disagreement(4 * GIB), None);
        assert_eq!(taken.disagreement(4 * GIB + GIB / 5), None);
        assert!((taken.disagreement(5 * GIB).unwrap() + 0.2).abs() < 1e-9);
        assert_eq!(taken.broken(4 * GIB), None);
        assert!(taken.broken(4 * GIB + 1).unwrap().contains("its share was 4.00 GiB"));
    }
}
