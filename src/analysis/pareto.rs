//! The Pareto front: what no other candidate beats in everything at once.

use super::summary::Summary;
use crate::suite::Figure;

/// Places of the candidates that no other one equals in all and beats in some of throughput, latency, memory, quality.
pub fn front(summaries: &[&Summary]) -> Vec<usize> {
    let points: Vec<Option<[f64; 4]>> = summaries.iter().map(|summary| point(summary)).collect();
    let dominated = |point: &[f64; 4]| {
        let better =
            |other: &[f64; 4]| other != point && other.iter().zip(point).all(|(other, own)| other >= own);
        points.iter().flatten().any(better)
    };
    (0..points.len()).filter(|&place| points[place].as_ref().is_some_and(|point| !dominated(point))).collect()
}

/// A candidate in four dimensions, in each of which more is better. What isn't known is the same for all.
fn point(summary: &Summary) -> Option<[f64; 4]> {
    Some([
        summary.value(Figure::Throughput)?,
        -summary.value(Figure::Latency).unwrap_or(0.0),
        -summary.memory().unwrap_or(0.0),
        summary.value(Figure::Quality).unwrap_or(0.0),
    ])
}
