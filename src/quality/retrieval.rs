//! Answers as a search would use them, judged by graded relevance.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::agreement::{dot, sparse_dot};
use super::nearest::nearest;
use super::ranking::{self, DEEPEST, Hit};
use super::resample::Units;
use super::wrong::Wrong;
use crate::answer::{Answer, AnswerFile};
use crate::item::Item;
use crate::suite::{Pairs, Retrieval};
use crate::task::Metric;

/// Searches the documents' answers with the queries', which come first.
pub fn searched(
    gold: &Retrieval,
    items: &[Item],
    answers: &AnswerFile,
) -> Result<IndexMap<Metric, Units>, Wrong> {
    let queries = gold.grades.len();
    let found = found(gold, items, answers)?;
    let scores = found.iter().zip(&gold.grades).map(|(hits, grades)| {
        let graded: HashMap<usize, u32> = grades.iter().copied().collect();
        let grade = |hit: &Hit| graded.get(&(hit.document - queries)).copied().unwrap_or(0);
        let found: Vec<u32> = hits.iter().map(grade).collect();
        let all: Vec<u32> = grades.iter().map(|(_, grade)| *grade).collect();
        ranking::scores(&found, &all)
    });
    Ok(ranking::units(scores))
}

/// What each query finds, the best first.
pub fn found(gold: &Retrieval, items: &[Item], answers: &AnswerFile) -> Result<Vec<Vec<Hit>>, Wrong> {
    let queries = gold.grades.len();
    if answers.count() != items.len() || queries > items.len() {
        return Err(Wrong::Count { given: answers.count(), wanted: items.len() });
    }
    match answers.width() {
        Some(width) => {
            let mut vectors = Vec::with_capacity(queries * width);
            answers.vectors(0, queries, &mut vectors)?;
            nearest(answers, queries, vectors, &[], DEEPEST, |document| gold.ranks[document - queries])
        }
        None => by_similarity(gold, answers),
    }
}

/// The same for answers that aren't one vector each.
fn by_similarity(gold: &Retrieval, answers: &AnswerFile) -> Result<Vec<Vec<Hit>>, Wrong> {
    let count = gold.grades.len();
    let mut all = answers.answers()?;
    let queries: Vec<Answer> = all.by_ref().take(count).collect::<Result<_, _>>()?;
    let mut found: Vec<Vec<Hit>> = vec![Vec::new(); count];
    for (place, answer) in all.enumerate() {
        let answer = answer?;
        for (query, hits) in queries.iter().zip(&mut found) {
            let score = similarity(query, &answer) as f32;
            hits.push(Hit { score, rank: gold.ranks[place], document: count + place });
            if hits.len() >= 2 * DEEPEST {
                hits.sort_unstable();
                hits.truncate(DEEPEST);
            }
        }
    }
    for hits in &mut found {
        hits.sort_unstable();
        hits.truncate(DEEPEST);
    }
    Ok(found)
}

/// As the engines that search by such answers have it: the dot product of weights; of many vectors the sum over the query's of the
/// best product with one of the document's.
fn similarity(query: &Answer, document: &Answer) -> f64 {
    match (query, document) {
        (Answer::Sparse(query), Answer::Sparse(document)) => sparse_dot(query, document),
        (Answer::Vectors(query), Answer::Vectors(document)) => {
            let best = |vector: &Vec<f32>| {
                let products = document.iter().map(|other| dot(vector, other));
                products.fold(f64::NEG_INFINITY, f64::max)
            };
            if document.is_empty() { f64::NEG_INFINITY } else { query.iter().map(best).sum() }
        }
        _ => f64::NEG_INFINITY,
    }
}

/// Ranks the documents of each query by the scores that they got.
pub fn scored(gold: &Pairs, answers: &AnswerFile) -> Result<IndexMap<Metric, Units>, Wrong> {
    let scores: Vec<Answer> = answers.answers()?.collect::<Result<_, _>>()?;
    let queries = gold.queries.iter().map(|pairs| {
        let mut hits: Vec<(Hit, u32)> = pairs
            .iter()
            .filter_map(|pair| match scores.get(pair.item)? {
                Answer::Score(score) => {
                    Some((Hit { score: *score, rank: pair.rank, document: pair.item }, pair.grade))
                }
                _ => None,
            })
            .collect();
        hits.sort_unstable_by_key(|(hit, _)| *hit);
        let found: Vec<u32> = hits.iter().map(|(_, grade)| *grade).collect();
        ranking::scores(&found, &found)
    });
    Ok(ranking::units(queries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::write;
    use crate::suite::Pair;

    fn file(answers: &[Answer]) -> (tempfile::TempDir, AnswerFile) {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = write(&folder.path().join("a"), answers).unwrap();
        let file = AnswerFile::open(&path).unwrap();
        (folder, file)
    }

    fn items(count: usize) -> Vec<Item> {
        vec![Item { text: "text".into(), query: None }; count]
    }

    /// One query, for which the third document of three is the right one.
    fn gold() -> Retrieval {
        Retrieval { grades: vec![vec![(2, 1)]], ranks: vec![0, 1, 2] }
    }

    fn mrr(units: &IndexMap<Metric, Units>) -> f64 {
        units[&Metric::Mrr10].value()
    }

    #[test]
    fn every_kind_of_answer_is_searched_as_its_engines_do() {
        let vector = |numbers: [f32; 2]| Answer::Vector(numbers.to_vec());
        let vectors = [vector([1.0, 0.0]), vector([0.6, 0.8]), vector([0.0, 1.0]), vector([0.5, 0.1])];
        let sparse = |weights: &[(u32, f32)]| Answer::Sparse(weights.to_vec());
        let weights = [sparse(&[(1, 1.0)]), sparse(&[(1, 0.5)]), sparse(&[(2, 9.0)]), sparse(&[(1, 0.7)])];
        let many =
            |vectors: &[[f32; 2]]| Answer::Vectors(vectors.iter().map(|vector| vector.to_vec()).collect());
        let tokens = [
            many(&[[1.0, 0.0], [0.0, 1.0]]),
            many(&[[1.0, 0.0]]),
            many(&[]),
            many(&[[0.9, 0.0], [0.0, 0.9]]),
        ];
        for answers in [&vectors, &weights, &tokens] {
            let (_folder, file) = file(answers);
            assert_eq!(mrr(&searched(&gold(), &items(4), &file).unwrap()), 1.0, "{answers:?}");
        }
    }

    #[test]
    fn of_equal_scores_the_higher_rank_comes_first() {
        let (_folder, file) = file(&vec![Answer::Vector(vec![1.0, 0.0]); 4]);
        let with = |ranks: [usize; 3]| {
            let gold = Retrieval { ranks: ranks.to_vec(), ..gold() };
            mrr(&searched(&gold, &items(4), &file).unwrap())
        };
        assert_eq!((with([0, 1, 2]), with([2, 1, 0])), (1.0, 1.0 / 3.0));
    }

    #[test]
    fn pairs_are_ranked_within_their_query() {
        let pair = |item, grade| Pair { item, rank: item, grade };
        let gold = Pairs { queries: vec![vec![pair(0, 0), pair(1, 2)], vec![pair(2, 1), pair(3, 0)]] };
        let (_folder, file) = file(&[0.9, 0.1, 0.05, 0.01].map(Answer::Score));
        assert_eq!(mrr(&scored(&gold, &file).unwrap()), 0.75);
    }
}
