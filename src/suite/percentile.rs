//! Percentiles of batch times that are promised, and not only seen: MLPerf's rule of early stopping.
//!
//! Of few batches the plain quantile is too low about as often as it's too high. The rule leaves out as many of the slowest
//! as can be left out while the chance that the true percentile lies higher stays below one in a hundred.

use statrs::distribution::{Binomial, DiscreteCDF};

/// How likely it may be that the true percentile is above what is said.
const RISK: f64 = 0.01;

/// The time within which `share` of all batches are done; nothing where there are too few batches to say.
pub fn promised(mut batches: Vec<f64>, share: f64) -> Option<f64> {
    let over = most_over(batches.len(), share)?;
    batches.sort_by(f64::total_cmp);
    // One of those that may lie over it is the one that is said.
    batches.get(batches.len() - over).copied()
}

/// Of so many batches, how many may be the slowest of those that lie over the percentile, and still be believed.
fn most_over(batches: usize, share: f64) -> Option<usize> {
    let over = Binomial::new(1.0 - share, batches as u64).ok()?;
    let believed = |count: usize| over.cdf(count as u64) <= RISK;
    // The chance grows with the count.
    let (mut most, mut beyond) = (0, batches);
    while most + 1 < beyond {
        let middle = most.midpoint(beyond);
        if believed(middle) { most = middle } else { beyond = middle }
    }
    (most > 0).then_some(most)
}

/// How many batches it takes until a percentile can be said.
pub fn least_batches(share: f64) -> usize {
    (1..).find(|batches| most_over(*batches, share).is_some()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_said_from_as_many_batches_as_mlperf_asks_for() {
        assert_eq!([0.9, 0.95, 0.99].map(least_batches), [64, 130, 662]);
    }

    #[test]
    fn as_many_are_left_out_as_mlperf_leaves_out() {
        // What its load generator reports: 2048 queries, 172 discarded; 2116 and 178; 2145 and 181.
        for (batches, discarded) in [(64, 0), (2048, 172), (2116, 178), (2145, 181)] {
            assert_eq!(most_over(batches, 0.9), Some(discarded + 1), "{batches}");
        }
        let batches: Vec<f64> = (1..=64).map(f64::from).rev().collect();
        assert_eq!(promised(batches.clone(), 0.9), Some(64.0));
        assert_eq!(promised(batches[1..].to_vec(), 0.9), None);
    }

    #[test]
    fn what_is_promised_is_kept_in_99_of_100_cases() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_pcg::Pcg64::seed_from_u64(5);
        let broken = (0..2000).filter(|_| {
            let batches = (0..200).map(|_| random.random_range(0.0..1.0)).collect();
            promised(batches, 0.95).unwrap() < 0.95
        });
        assert!(broken.count() <= 35, "20 are expected, with a deviation of 4.5");
    }
}
