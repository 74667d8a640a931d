//! What a ranked list is worth, by the grades that people gave its documents. As trec_eval defines it: gains are grades, and a
//! document without a grade isn't relevant.

use indexmap::IndexMap;

use super::resample::Units;
use crate::task::Metric;

/// A document that a search has found.
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    pub score: f32,
    /// Of documents with the same score the one with the higher rank comes first.
    pub rank: usize,
    pub document: usize,
}

/// The metrics of rankings, each with the place at which the list is cut.
pub const METRICS: [(Metric, usize); 4] =
    [(Metric::Ndcg10, 10), (Metric::Mrr10, 10), (Metric::Recall10, 10), (Metric::Recall100, 100)];

/// As far down as any metric looks.
pub const DEEPEST: usize = 100;

/// What each metric makes of one query: the grades of what was found, the best first, and all grades that there are.
pub fn scores(found: &[u32], grades: &[u32]) -> [f64; 4] {
    METRICS.map(|(metric, cut)| {
        let found = &found[..found.len().min(cut)];
        match metric {
            Metric::Ndcg10 => ndcg(found, grades, cut),
            Metric::Mrr10 => {
                found.iter().position(|grade| *grade > 0).map_or(0.0, |place| 1.0 / (place + 1) as f64)
            }
            _ => {
                let relevant = grades.iter().filter(|grade| **grade > 0).count();
                let there = found.iter().filter(|grade| **grade > 0).count();
                if relevant == 0 { 0.0 } else { there as f64 / relevant as f64 }
            }
        }
    })
}

/// nDCG of the first ten of what was found.
pub fn ndcg10(found: &[u32], grades: &[u32]) -> f64 {
    ndcg(&found[..found.len().min(10)], grades, 10)
}

fn ndcg(found: &[u32], grades: &[u32], cut: usize) -> f64 {
    let mut ideal = grades.to_vec();
    ideal.sort_unstable_by(|left, right| right.cmp(left));
    ideal.truncate(cut);
    let best = gain(&ideal);
    if best > 0.0 { gain(found) / best } else { 0.0 }
}

/// The sum of grades, each worth less the further down it stands.
fn gain(grades: &[u32]) -> f64 {
    let discounted = |(place, grade): (usize, &u32)| f64::from(*grade) / ((place + 2) as f64).log2();
    grades.iter().enumerate().map(discounted).sum()
}

/// The metrics of many queries.
pub fn units(queries: impl Iterator<Item = [f64; 4]>) -> IndexMap<Metric, Units> {
    let mut units: IndexMap<Metric, Units> =
        METRICS.iter().map(|(metric, _)| (*metric, Units::of_means())).collect();
    for query in queries {
        for (score, units) in query.into_iter().zip(units.values_mut()) {
            units.push(&[score, 1.0]);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_worth_what_its_grades_say() {
        // One of grade 2 is second, one of grade 1 fourth, and one of grade 1 wasn't found.
        let [ndcg, mrr, recall, deeper] = scores(&[0, 2, 0, 1], &[1, 2, 1]);
        let gain = 2.0 / 3f64.log2() + 1.0 / 5f64.log2();
        let best = 2.0 + 1.0 / 3f64.log2() + 1.0 / 4f64.log2();
        assert!((ndcg - gain / best).abs() < 1e-12);
        assert_eq!((mrr, recall, deeper), (0.5, 2.0 / 3.0, 2.0 / 3.0));
        assert_eq!(scores(&[0, 0], &[]), [0.0; 4]);
    }

    #[test]
    fn what_stands_below_the_cut_counts_for_nothing() {
        let mut found = vec![0; 10];
        found.push(1);
        assert_eq!(scores(&found, &[1]), [0.0, 0.0, 0.0, 1.0]);
    }
}
