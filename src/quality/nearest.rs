//! The nearest neighbours of vectors among all vectors of a file, which is read in blocks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::ranking::Hit;
use super::wrong::Wrong;
use crate::answer::AnswerFile;
use crate::record::Judged;

/// Documents whose neighbours are compared, evenly spread: all pairs of a large corpus would take longer than measuring.
const MOST_COMPARED: usize = 1000;

const NEIGHBOURS: usize = 10;

/// Vectors of a block: enough that the product is busy with numbers, and few enough for the processor's cache.
const BLOCK: usize = 2048;

/// The nearest others of a sample of documents.
pub struct Neighbours {
    documents: usize,
    width: usize,
    /// For each document of the sample the nearest others.
    nearest: Vec<Vec<usize>>,
}

impl Neighbours {
    pub fn of(file: &AnswerFile) -> Result<Neighbours, Wrong> {
        let documents = file.count();
        let width = file.width().ok_or(Wrong::Nothing("no vectors"))?;
        if documents < 2 {
            return Err(Wrong::Nothing("the nearest neighbours need at least two documents"));
        }
        let compared = documents.min(MOST_COMPARED);
        let sample: Vec<usize> = (0..compared).map(|step| step * documents / compared).collect();
        let mut vectors = Vec::with_capacity(compared * width);
        for &document in &sample {
            file.vectors(document, 1, &mut vectors)?;
        }
        // Equal cosines are put in the order of the corpus, so that twins agree with themselves.
        let found = nearest(file, 0, vectors, &sample, NEIGHBOURS, |_| 0)?;
        let nearest = found.into_iter().map(|hits| hits.into_iter().map(|hit| hit.document).collect());
        Ok(Neighbours { documents, width, nearest: nearest.collect() })
    }

    /// The share of neighbours that is the same among others' vectors, with what a sample leaves open.
    pub fn kept_in(&self, other: &Neighbours) -> Result<Judged, Wrong> {
        if self.width != other.width {
            return Err(Wrong::Width { document: 0, given: other.width, wanted: self.width });
        }
        let shares: Vec<f64> = self
            .nearest
            .iter()
            .zip(&other.nearest)
            .map(|(own, others)| {
                let kept = own.iter().filter(|document| others.contains(document)).count();
                kept as f64 / own.len() as f64
            })
            .collect();
        let count = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / count;
        if shares.len() == self.documents {
            return Ok(Judged::exactly(mean));
        }
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (count - 1.0);
        // Of a sample without repetition: the more of all it holds, the less is left open.
        let left_open = 1.0 - count / self.documents as f64;
        let half = 1.96 * (variance / count * left_open).sqrt();
        Ok(Judged::between(mean, [(mean - half).max(0.0), (mean + half).min(1.0)]))
    }
}

/// For each of `queries`, vectors one behind the other, the `count` nearest vectors of a file by their cosine, the nearest first.
/// The file's first vectors up to `from` aren't looked at, nor is the one that `own` says is the query itself. Of equal cosines
/// the one with the higher `rank` is nearer, and then the earlier one.
pub fn nearest(
    file: &AnswerFile,
    from: usize,
    mut queries: Vec<f32>,
    own: &[usize],
    count: usize,
    rank: impl Fn(usize) -> usize,
) -> Result<Vec<Vec<Hit>>, Wrong> {
    let width = file.width().ok_or(Wrong::Nothing("no vectors"))?;
    if width == 0 {
        return Err(Wrong::Nothing("the vectors have width 0"));
    }
    normalise(&mut queries, width);
    let asked = queries.len() / width;
    let mut best: Vec<BinaryHeap<Hit>> = (0..asked).map(|_| BinaryHeap::with_capacity(count + 1)).collect();
    let mut block = Vec::with_capacity(BLOCK * width);
    let mut cosines = vec![0f32; BLOCK * asked];
    let mut start = from;
    while start < file.count() {
        let rows = BLOCK.min(file.count() - start);
        block.clear();
        file.vectors(start, rows, &mut block)?;
        normalise(&mut block, width);
        products(&queries, &block, width, &mut cosines);
        for (query, best) in best.iter_mut().enumerate() {
            for (row, &score) in cosines[query * rows..(query + 1) * rows].iter().enumerate() {
                let document = start + row;
                // Most are farther than what is there, which is seen at a glance.
                let is_far = best.len() == count && best.peek().is_some_and(|worst| score < worst.score);
                if is_far || own.get(query) == Some(&document) {
                    continue;
                }
                best.push(Hit { score, rank: rank(document), document });
                if best.len() > count {
                    best.pop();
                }
            }
        }
        start += rows;
    }
    Ok(best.into_iter().map(BinaryHeap::into_sorted_vec).collect())
}

impl PartialEq for Hit {
    fn eq(&self, other: &Hit) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Hit {}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Hit) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The nearest is the least, so that the greatest of a heap is the one to go.
impl Ord for Hit {
    fn cmp(&self, other: &Hit) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then(other.rank.cmp(&self.rank)).then(self.document.cmp(&other.document))
    }
}

/// Makes vectors of length one, but for those without a direction.
fn normalise(vectors: &mut [f32], width: usize) {
    for vector in vectors.chunks_exact_mut(width) {
        let norm = super::agreement::dot(vector, vector).sqrt() as f32;
        if norm > 0.0 {
            vector.iter_mut().for_each(|number| *number /= norm);
        }
    }
}

/// The products of every query with every row: those of the first query, then those of the second.
fn products(queries: &[f32], rows: &[f32], width: usize, into: &mut [f32]) {
    let (asked, count) = (queries.len() / width, rows.len() / width);
    assert!(into.len() >= asked * count);
    // SAFETY: the three matrices lie within their slices: `asked` and `count` are how many whole rows of `width` numbers there
    // are, and the result has `asked` rows of `count` numbers, for which there is room.
    unsafe {
        gemm::gemm(
            asked,
            count,
            width,
            into.as_mut_ptr(),
            1,
            count as isize,
            false,
            queries.as_ptr(),
            1,
            width as isize,
            rows.as_ptr(),
            width as isize,
            1,
            0f32,
            1f32,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, write};

    fn neighbours(vectors: &[Vec<f32>]) -> Result<Neighbours, Wrong> {
        let folder = tempfile::tempdir().unwrap();
        let answers: Vec<Answer> = vectors.iter().cloned().map(Answer::Vector).collect();
        let (path, _) = write(&folder.path().join("a"), &answers).unwrap();
        Neighbours::of(&AnswerFile::open(&path).unwrap())
    }

    fn arc(count: usize) -> Vec<Vec<f32>> {
        let point = |step: usize| {
            let (sin, cos) = (step as f32 * 1.2 / count as f32).sin_cos();
            vec![sin, cos]
        };
        (0..count).map(point).collect()
    }

    #[test]
    fn neighbours_are_counted_among_the_others() {
        // Twelve documents on an arc: each has eleven others, of which ten are kept, so one can be lost.
        let left = neighbours(&arc(12)).unwrap();
        assert_eq!(left.kept_in(&left).unwrap().value, 1.0);
        assert!(
            left.nearest.iter().enumerate().all(|(own, others)| !others.contains(&own) && others.len() == 10)
        );
        let mut swapped = arc(12);
        swapped.swap(0, 11);
        let kept = left.kept_in(&neighbours(&swapped).unwrap()).unwrap();
        assert!((0.9..1.0).contains(&kept.value) && kept.interval.is_none(), "{kept:?}");
        assert!(matches!(neighbours(&arc(1)), Err(Wrong::Nothing(_))));
    }

    #[test]
    fn blocks_find_what_a_plain_search_finds() {
        let vectors = arc(2 * BLOCK + 100);
        let found = neighbours(&vectors).unwrap();
        assert_eq!(found.nearest.len(), MOST_COMPARED);
        let own = MOST_COMPARED / 2 * vectors.len() / MOST_COMPARED;
        let cosine = |other: usize| {
            vectors[own].iter().zip(&vectors[other]).map(|(x, y)| f64::from(x * y)).sum::<f64>()
        };
        let mut others: Vec<usize> = (0..vectors.len()).filter(|other| *other != own).collect();
        others.sort_by(|left, right| cosine(*right).total_cmp(&cosine(*left)));
        // Neighbours on an arc are so near that single precision can't order them, but they're all from around here.
        assert!(found.nearest[MOST_COMPARED / 2].iter().all(|other| others[..60].contains(other)));
    }

    #[test]
    fn a_sample_leaves_something_open() {
        let vectors = arc(3 * MOST_COMPARED);
        let mut others = vectors.clone();
        others[..MOST_COMPARED].reverse();
        let kept = neighbours(&vectors).unwrap().kept_in(&neighbours(&others).unwrap()).unwrap();
        let [low, high] = kept.interval.unwrap();
        assert!(low < kept.value && kept.value < high && high - low < 0.1, "{kept:?}");
    }

    #[test]
    fn twins_are_put_in_the_order_of_the_corpus() {
        let found = neighbours(&vec![vec![0.3, 0.7, 0.1]; 25]).unwrap();
        assert_eq!(found.nearest[20], (0..10).collect::<Vec<_>>());
        assert_eq!(found.nearest[0], (1..11).collect::<Vec<_>>());
    }
}
