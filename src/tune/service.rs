//! What is seen of a service once its stages have their winners: requests of the sizes that come, a search whose finds are sorted
//! again, a log of queries.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::TuneError;
use super::sweep::Tuning;
use crate::analysis;
use crate::answer::Answer;
use crate::item::Item;
use crate::knob::Candidate;
use crate::pipeline::Stretch;
use crate::quality;
use crate::record::{Asked, Scenario, ScenarioKind, Search, Served};
use crate::runner::{Documents, Stopped, Trial};
use crate::store::Entry;
use crate::suite::{Gold, Log, Service, Stage, hits_by_size};

/// A round of its own, in which nobody is judged.
const ROUND: u32 = 3_000_000;

/// Sorting the finds of all queries again may be expected to take so long; of a slower one fewer queries are sorted.
const SECONDS_OF_SORTING: f64 = 20.0;

/// As deep as any list is looked at.
const LEAST_DEPTH: usize = 10;

/// As long as queries are.
const WORDS_OF_A_QUERY: usize = 12;

/// What a request of a fixed size may be expected to take, its load included.
const SECONDS_OF_A_SCENARIO: f64 = 2.0;

/// The time that there is for all of it.
#[derive(Clone, Copy)]
struct Room {
    start: Instant,
    most: Option<Duration>,
}

impl Room {
    /// Whether there is time for something that may be expected to take so long; else that is said of it.
    fn has(self, what: &str, seconds: f64, without: &mut Vec<String>) -> bool {
        let expected = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let fits = self.most.is_none_or(|most| self.start.elapsed().saturating_add(expected) <= most);
        if !fits {
            without.push(format!("{what}: there is no time for it, raise --budget"));
        }
        fits
    }
}

impl Tuning<'_> {
    /// Looks at the service, unless that was done or there is none.
    pub(super) fn serve(&mut self) -> Result<Option<u8>, TuneError> {
        let Some(service) = self.suite.service.as_ref().filter(|_| !self.served) else { return Ok(None) };
        if let Some(signal) = self.interrupt.signal() {
            return Ok(Some(signal));
        }
        match self.seen(service) {
            Ok(Some(served)) => {
                self.folder.append(Entry::Served(Box::new(served)))?;
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(stopped) => self.stopped(stopped).map(Some),
        }
    }

    fn winner(&self, stage: &Stage) -> Option<Candidate> {
        let known = self.confirmations.get(&stage.name);
        analysis::finalists(self.suite, stage, &self.recordings, known).into_iter().next()
    }

    fn seen(&mut self, service: &Service) -> Result<Option<Served>, Stopped> {
        let suite = self.suite;
        let Some(embed) = suite.stage(&service.embed) else { return Ok(None) };
        let Some(searcher) = self.winner(embed) else { return Ok(None) };
        let room = Room { start: Instant::now(), most: suite.budget.of_service() };
        let rerank = service.rerank.as_ref().and_then(|name| suite.stage(name));
        let sorter = rerank.and_then(|stage| Some((stage, self.winner(stage)?)));
        let mut served = Served {
            embed: searcher.id(),
            rerank: sorter.as_ref().map(|(_, sorter)| sorter.id()),
            ..Served::default()
        };
        let found = self.search(embed, &searcher, service, room, &mut served)?;
        if let Some((stage, sorter)) = &sorter {
            self.sort_again(stage, sorter, &found, room, &mut served)?;
        }
        self.scenarios(embed, &searcher, room, &mut served)?;
        if let Some((stage, sorter)) = &sorter {
            self.sorting_scenarios(stage, sorter, service, &found, room, &mut served)?;
        }
        served.log = self.asked(service, embed, &searcher, &mut served.without)?;
        Ok(Some(served))
    }

    /// Searches all that people have judged. Gives each query with the texts that it finds.
    fn search(
        &mut self,
        stage: &Stage,
        searcher: &Candidate,
        service: &Service,
        room: Room,
        served: &mut Served,
    ) -> Result<Vec<(String, Vec<String>)>, Stopped> {
        let material = self.material;
        let judging = material.judging.get(&stage.name);
        let Some((judging, Gold::Retrieval(gold))) = judging.map(|judging| (judging, &judging.gold)) else {
            served.without.push("a search: the corpus has no queries with judged documents".to_owned());
            return Ok(Vec::new());
        };
        let expected = self.seconds_each(stage, searcher) * judging.items.len() as f64;
        if !room.has("a search", expected, &mut served.without) {
            return Ok(Vec::new());
        }
        self.progress.began(&format!("{}: searching for {} queries", stage.name, gold.grades.len()));
        let answers = self.answered(stage, searcher, &judging.items, "service-embed", &mut served.without)?;
        let Some(answers) = answers else { return Ok(Vec::new()) };
        let hits = match quality::found(gold, &judging.items, &answers) {
            Ok(hits) => hits,
            Err(wrong) => {
                served.without.push(format!("a search: {wrong}"));
                return Ok(Vec::new());
            }
        };
        let depth = service.rerank_k.iter().copied().max().unwrap_or(0).max(LEAST_DEPTH);
        let queries = gold.grades.len();
        let mut found = Vec::new();
        for ((hits, grades), query) in hits.iter().zip(&gold.grades).zip(&judging.items) {
            let graded: HashMap<usize, u32> = grades.iter().copied().collect();
            let hits = &hits[..hits.len().min(depth)];
            let grade = |document: usize| graded.get(&(document - queries)).copied().unwrap_or(0);
            served.searches.push(Search {
                found: hits.iter().map(|hit| grade(hit.document)).collect(),
                scores: Vec::new(),
                grades: grades.iter().map(|(_, grade)| *grade).collect(),
            });
            let texts = hits.iter().map(|hit| judging.items[hit.document].text.clone());
            found.push((query.text.clone(), texts.collect()));
        }
        Ok(found)
    }

    /// Has the finds scored by whoever sorts them again, of as many queries as there is time for.
    fn sort_again(
        &mut self,
        stage: &Stage,
        sorter: &Candidate,
        found: &[(String, Vec<String>)],
        room: Room,
        served: &mut Served,
    ) -> Result<(), Stopped> {
        let each: usize = found.iter().map(|(_, texts)| texts.len()).max().unwrap_or(0);
        let seconds = self.seconds_each(stage, sorter) * each as f64;
        // Half of what there is at the most: requests come after it.
        let most =
            room.most.map_or(SECONDS_OF_SORTING, |most| SECONDS_OF_SORTING.min(most.as_secs_f64() / 2.0));
        let some = &found[..found.len().min(((most / seconds) as usize).max(LEAST_DEPTH))];
        if !room.has("finds sorted again", seconds * some.len() as f64, &mut served.without) {
            return Ok(());
        }
        let pair = |query: &String, text: &String| Item { text: text.clone(), query: Some(query.clone()) };
        let items: Vec<Item> =
            some.iter().flat_map(|(query, texts)| texts.iter().map(move |text| pair(query, text))).collect();
        if items.is_empty() {
            return Ok(());
        }
        self.progress.began(&format!("{}: sorting {} finds again", stage.name, items.len()));
        let answers = self.answered(stage, sorter, &items, "service-rerank", &mut served.without)?;
        let scores = answers.and_then(|file| file.answers().ok()?.collect::<Result<Vec<_>, _>>().ok());
        let Some(scores) = scores.filter(|scores| scores.len() == items.len()) else {
            served.without.push("finds sorted again: their scores don't read".to_owned());
            return Ok(());
        };
        let mut scores = scores.into_iter().map(|answer| match answer {
            Answer::Score(score) => score,
            _ => f32::NAN,
        });
        for (search, (_, texts)) in served.searches.iter_mut().zip(some) {
            search.scores = scores.by_ref().take(texts.len()).collect();
        }
        Ok(())
    }

    /// Requests as they come to an embedder, as the winner and the default configuration answer them.
    fn scenarios(
        &mut self,
        stage: &Stage,
        searcher: &Candidate,
        room: Room,
        served: &mut Served,
    ) -> Result<(), Stopped> {
        let material = self.material;
        let mut documents: Vec<Item> = material.documents.clone();
        let judging = material.judging.get(&stage.name);
        let queries: Vec<Item> = match judging.map(|judging| (&judging.items, &judging.gold)) {
            Some((items, Gold::Retrieval(gold))) => items[..gold.grades.len()].to_vec(),
            _ => documents.clone(),
        };
        documents.iter_mut().for_each(|document| document.query = None);
        let shortest = queries.iter().min_by_key(|query| query.text.len()).cloned();
        for (what, kind, items) in [
            ("single query embedding (short)", ScenarioKind::Queries, shortest.into_iter().collect()),
            ("10 queries embedding", ScenarioKind::Queries, taken(&queries, 10)),
            ("20 documents embedding", ScenarioKind::Documents, taken(&documents, 20)),
        ] {
            self.scenario(stage, searcher, (what, kind), items, room, served)?;
        }
        Ok(())
    }

    /// How long it takes to sort a query's finds again, by how many they are.
    fn sorting_scenarios(
        &mut self,
        stage: &Stage,
        sorter: &Candidate,
        service: &Service,
        found: &[(String, Vec<String>)],
        room: Room,
        served: &mut Served,
    ) -> Result<(), Stopped> {
        let own = || self.material.documents.iter().map(|document| document.text.clone());
        let (query, texts) = match found.first() {
            Some((query, texts)) => (query.clone(), texts.clone()),
            None => {
                let query = self.material.documents.iter().find_map(|document| document.query.clone());
                (query.unwrap_or_default(), own().collect())
            }
        };
        let pairs: Vec<Item> =
            texts.into_iter().map(|text| Item { text, query: Some(query.clone()) }).collect();
        let sizes = service.rerank_k.iter().copied().filter(|size| *size > 0);
        let mut sizes: Vec<usize> = std::iter::once(5).chain(sizes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let what = format!("rerank {size} passages");
            let request = (what.as_str(), ScenarioKind::Rerank);
            self.scenario(stage, sorter, request, taken(&pairs, size), room, served)?;
        }
        Ok(())
    }

    fn scenario(
        &mut self,
        stage: &Stage,
        winner: &Candidate,
        (what, kind): (&str, ScenarioKind),
        items: Vec<Item>,
        room: Room,
        served: &mut Served,
    ) -> Result<(), Stopped> {
        if items.is_empty() {
            served.without.push(format!("{what}: there are no texts for it"));
            return Ok(());
        }
        let count = items.len();
        let path = match self.folder.keep_part(&format!("{}-request", stage.name), &items) {
            Ok(path) => path,
            Err(error) => {
                served.without.push(format!("{what}: {error}"));
                return Ok(());
            }
        };
        let documents = Documents { items, path };
        let default = (*winner != stage.baseline).then_some((&stage.baseline, true));
        for (candidate, default) in [Some((winner, false)), default].into_iter().flatten() {
            let seconds = SECONDS_OF_A_SCENARIO + 3.0 * self.seconds_each(stage, winner) * count as f64;
            let whose = if default { format!("{what} by default") } else { what.to_owned() };
            if !room.has(&whose, seconds, &mut served.without) {
                continue;
            }
            self.progress.began(&format!("{}: {what}", stage.name));
            let before = self.runner.measures(&stage.name, documents.clone());
            let trial = Trial { stage, candidate, round: ROUND, stretch: Stretch::WHOLE };
            let recorded = self.runner.trial(&trial, &self.references);
            self.runner.returns_to(&stage.name, before);
            let recording = match recorded {
                Ok(recording) => recording,
                Err(Stopped::LoadBroke(failure)) => {
                    served.without.push(format!("{what}: {}", failure.in_words()));
                    continue;
                }
                Err(stopped) => return Err(stopped),
            };
            if let Some(failure) = recording.failure() {
                served.without.push(format!("{what}: {}", failure.in_words()));
                continue;
            }
            let seconds = recording.passes().iter().map(|pass| pass.seconds).collect();
            served.scenarios.push(Scenario { what: what.to_owned(), kind, default, items: count, seconds });
        }
        Ok(())
    }

    /// What a cache of each size would have had of the log.
    fn asked(
        &mut self,
        service: &Service,
        stage: &Stage,
        searcher: &Candidate,
        without: &mut Vec<String>,
    ) -> Result<Option<Asked>, Stopped> {
        let Some(log) = &service.log else { return Ok(None) };
        // What people ask for, and what they might: how documents begin.
        let judging = self.material.judging.get(&stage.name);
        let judged = judging.map_or(&self.material.documents, |judging| &judging.items);
        let begins =
            |item: &Item| item.text.split_whitespace().take(WORDS_OF_A_QUERY).collect::<Vec<_>>().join(" ");
        let own: indexmap::IndexSet<String> = judged.iter().map(begins).collect();
        let own: Vec<String> = own.into_iter().collect();
        let (places, texts) = match log {
            Log::Zipf { queries, exponent } => {
                (Log::drawn(*queries, *exponent, own.len(), self.suite.seed), own)
            }
            Log::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let mut texts = indexmap::IndexSet::new();
                    let lines = text.lines().filter(|line| !line.trim().is_empty());
                    let places = lines.map(|line| texts.insert_full(line.to_owned()).0).collect();
                    (places, texts.into_iter().collect())
                }
                Err(error) => {
                    without.push(format!("the log of queries {}: {error}", path.display()));
                    return Ok(None);
                }
            },
        };
        let mut distinct = places.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let first: Vec<Item> =
            texts.iter().take(1).map(|text| Item { text: text.clone(), query: None }).collect();
        let vector = self.answered(stage, searcher, &first, "service-cached", without)?;
        let numbers = vector.and_then(|file| file.width()).unwrap_or(0);
        let letters: usize = distinct.iter().map(|place| texts[*place].len()).sum();
        let bytes_each = (numbers * size_of::<f32>() + letters / distinct.len().max(1)) as u64;
        let hits = hits_by_size(&places, &service.cache).into_iter().collect();
        Ok(Some(Asked { queries: places.len(), distinct: distinct.len(), hits, bytes_each }))
    }

    fn answered(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        items: &[Item],
        name: &str,
        without: &mut Vec<String>,
    ) -> Result<Option<crate::answer::AnswerFile>, Stopped> {
        let path = match self.folder.keep_part(&format!("{}-service", stage.name), items) {
            Ok(path) => path,
            Err(error) => {
                without.push(error.to_string());
                return Ok(None);
            }
        };
        let documents = Documents { items: items.to_vec(), path };
        match self.runner.answers_to(stage, candidate, &documents, name)? {
            Ok(file) => Ok(Some(file)),
            Err(failure) => {
                without.push(format!("{}: {}", stage.name, failure.in_words()));
                Ok(None)
            }
        }
    }
}

/// The first so many, from the start again where there are fewer.
fn taken(items: &[Item], count: usize) -> Vec<Item> {
    items.iter().cycle().take(if items.is_empty() { 0 } else { count }).cloned().collect()
}
