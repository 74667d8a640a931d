//! From a library to what a stage is judged by.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::bm25::Bm25;
use super::gold::{Gold, Labelled, Pair, Pairs, Retrieval};
use super::library::{Document, Library, Query};
use crate::item::Item;
use crate::task::Task;

/// How much of a corpus judges answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slice {
    pub documents: usize,
    pub queries: usize,
}

impl Slice {
    /// All that there is.
    pub const WHOLE: Slice = Slice { documents: usize::MAX, queries: usize::MAX };
}

/// What answers of a stage are judged by: the items that are asked, and what people say of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Judging {
    pub items: Vec<Item>,
    pub gold: Gold,
}

/// Documents that a reranker sorts for each query: what a first search finds, with all that are relevant.
const PAIRS_OF_A_QUERY: usize = 20;

impl Library {
    /// What answers to a task are judged by, as far as people have said anything that it needs. `names` has what the model's labels
    /// stand for.
    pub fn judging(&self, task: Task, slice: Slice, names: &IndexMap<String, String>) -> Option<Judging> {
        match task {
            Task::Embed | Task::Sparse | Task::MultiVector => self.searched(slice),
            Task::Rerank => self.reranked(slice),
            Task::Classify => {
                self.labelled(slice, |document| document.label.clone()).map(|(items, labels)| Judging {
                    items,
                    gold: Gold::Labels(Labelled { items: labels, names: names.clone() }),
                })
            }
            Task::Entities => {
                self.labelled(slice, |document| document.entities.clone()).map(|(items, spans)| Judging {
                    items,
                    gold: Gold::Spans(Labelled { items: spans, names: names.clone() }),
                })
            }
        }
    }

    /// Queries, and among the documents all that are relevant to them.
    fn searched(&self, slice: Slice) -> Option<Judging> {
        let queries = self.some_queries(slice);
        if queries.is_empty() {
            return None;
        }
        let documents = self.some_documents(&queries, slice);
        let place_of: IndexMap<usize, usize> =
            documents.iter().enumerate().map(|(place, document)| (*document, place)).collect();
        let grades = |query: &&Query| {
            let known =
                query.grades.iter().filter_map(|(document, grade)| Some((*place_of.get(document)?, *grade)));
            known.collect::<Vec<_>>()
        };
        let ranks = self.ranks(&documents);
        let grades = queries.iter().map(grades).collect();
        let plain = |text: &String| Item { text: text.clone(), query: None };
        let items = queries.iter().map(|query| plain(&query.text));
        let items = items.chain(documents.iter().map(|document| plain(&self.documents[*document].text)));
        Some(Judging { items: items.collect(), gold: Gold::Retrieval(Retrieval { grades, ranks }) })
    }

    /// For each query its judged documents, and what a search by words finds besides.
    fn reranked(&self, slice: Slice) -> Option<Judging> {
        let queries = self.some_queries(slice);
        if queries.is_empty() {
            return None;
        }
        let every: Vec<usize> = (0..self.documents.len()).collect();
        let ranks = self.ranks(&every);
        let index = Bm25::new(self.documents.iter().map(|document| document.text.as_str()));
        let mut items = Vec::new();
        let mut pairs = Vec::new();
        for query in queries {
            let mut chosen = query.grades.clone();
            let judged: HashSet<usize> = chosen.iter().map(|(document, _)| *document).collect();
            let found = index.search(&query.text, PAIRS_OF_A_QUERY + judged.len()).into_iter();
            let others = found.filter(|document| !judged.contains(document)).map(|document| (document, 0));
            chosen.extend(others.take(PAIRS_OF_A_QUERY.saturating_sub(judged.len())));
            // Nobody's order, least of all one that has the right ones in front.
            chosen.sort_unstable();
            let pair = |(document, grade): (usize, u32)| {
                items.push(Item {
                    text: self.documents[document].text.clone(),
                    query: Some(query.text.clone()),
                });
                Pair { item: items.len() - 1, rank: ranks[document], grade }
            };
            pairs.push(chosen.into_iter().map(pair).collect());
        }
        Some(Judging { items, gold: Gold::Pairs(Pairs { queries: pairs }) })
    }

    fn labelled<Label>(
        &self,
        slice: Slice,
        label: impl Fn(&Document) -> Option<Label>,
    ) -> Option<(Vec<Item>, Vec<Option<Label>>)> {
        let known = self.documents.iter().filter_map(|document| Some((document, label(document)?)));
        let known = known.take(slice.documents);
        let item = |document: &Document| Item { text: document.text.clone(), query: document.query.clone() };
        let (items, labels): (Vec<_>, Vec<_>) =
            known.map(|(document, label)| (item(document), Some(label))).unzip();
        (!items.is_empty()).then_some((items, labels))
    }

    fn some_queries(&self, slice: Slice) -> Vec<&Query> {
        self.queries.iter().take(slice.queries).collect()
    }

    /// All that are judged for some queries, and others up to as many as are wanted, in the order of the corpus.
    fn some_documents(&self, queries: &[&Query], slice: Slice) -> Vec<usize> {
        let judged: HashSet<usize> =
            queries.iter().flat_map(|query| &query.grades).map(|(document, _)| *document).collect();
        let others = slice.documents.saturating_sub(judged.len());
        let others: HashSet<usize> =
            (0..self.documents.len()).filter(|document| !judged.contains(document)).take(others).collect();
        (0..self.documents.len())
            .filter(|document| judged.contains(document) || others.contains(document))
            .collect()
    }

    /// Of documents, the place of each in the order of their ids.
    fn ranks(&self, documents: &[usize]) -> Vec<usize> {
        let id = |document: usize| self.documents[document].id.as_deref().unwrap_or_default();
        let mut order: Vec<usize> = (0..documents.len()).collect();
        order.sort_by_key(|&place| id(documents[place]));
        let mut ranks = vec![0; documents.len()];
        order.into_iter().enumerate().for_each(|(rank, place)| ranks[place] = rank);
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> Library {
        let document = |id: &str, text: &str, label: Option<&str>| Document {
            id: Some(id.into()),
            text: text.into(),
            label: label.map(str::to_owned),
            ..Document::default()
        };
        let query =
            |text: &str, grades: &[(usize, u32)]| Query { text: text.into(), grades: grades.to_vec() };
        Library {
            documents: vec![
                document("d", "a hut in the rain", Some("bad")),
                document("c", "a tram in the snow", None),
                document("b", "a hut in the snow", Some("good")),
                document("a", "bread", Some("good")),
            ],
            queries: vec![query("snow", &[(2, 2), (1, 1)]), query("bread", &[(3, 1)])],
            notes: vec![],
        }
    }

    fn texts(judging: &Judging) -> Vec<&str> {
        judging.items.iter().map(|item| item.text.as_str()).collect()
    }

    #[test]
    fn a_slice_has_all_that_its_queries_need() {
        let slice = Slice { documents: 3, queries: 1 };
        let judging = library().judging(Task::Embed, slice, &IndexMap::new()).unwrap();
        assert_eq!(texts(&judging), ["snow", "a hut in the rain", "a tram in the snow", "a hut in the snow"]);
        let Gold::Retrieval(Retrieval { grades, ranks }) = judging.gold else { panic!() };
        assert_eq!((grades, ranks), (vec![vec![(2, 2), (1, 1)]], vec![2, 1, 0]));
        let whole = library().judging(Task::Sparse, Slice::WHOLE, &IndexMap::new()).unwrap();
        assert_eq!(whole.items.len(), 6);
    }

    #[test]
    fn pairs_have_what_is_judged_and_what_words_find() {
        let judging = library().judging(Task::Rerank, Slice::WHOLE, &IndexMap::new()).unwrap();
        let Gold::Pairs(Pairs { queries }) = &judging.gold else { panic!() };
        assert_eq!(queries.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(queries[0][1], Pair { item: 1, rank: 1, grade: 2 });
        assert!(judging.items[..2].iter().all(|item| item.query.as_deref() == Some("snow")));
    }

    #[test]
    fn only_what_has_a_label_is_asked() {
        let names = [("POS".to_owned(), "good".to_owned())].into_iter().collect();
        let judging = library().judging(Task::Classify, Slice { documents: 2, queries: 0 }, &names).unwrap();
        assert_eq!(texts(&judging), ["a hut in the rain", "a hut in the snow"]);
        let Gold::Labels(labels) = &judging.gold else { panic!() };
        assert_eq!((labels.name_of("POS"), labels.name_of("x")), ("good", "x"));
        assert_eq!(library().judging(Task::Entities, Slice::WHOLE, &names), None);
    }
}
