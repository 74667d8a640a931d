//! Candidates of a suite, predicted one by one. Models are opened and texts tokenised once, however many candidates ask.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::assumption::{Overhead, RATIO_WITHIN};
use super::batches::{Batches, Remembering, Seen};
use super::memory::{Memory, memory};
use super::method::{Engine, Method};
use super::throughput;
use crate::backend::{Transfers, memory_fraction_of};
use crate::hardware::Card;
use crate::item::Item;
use crate::knob::Candidate;
use crate::model::Outline;
use crate::pipeline::Settings;
use crate::record::{Failure, Outcome, Predicted, Recording, Status};
use crate::suite::{Stage, Suite};
use crate::units::Bytes;

/// As services spell the device of a card that isn't here.
const DEVICE: &str = "cuda:0";

pub struct Forecast<'a> {
    suite: &'a Suite,
    documents: &'a [Item],
    /// Where the model of each stage lies, or why it can't be had.
    folders: HashMap<String, Result<PathBuf, Failure>>,
    opened: HashMap<String, Result<Opened, Failure>>,
}

/// The model of a stage, and what the corpus becomes with it.
struct Opened {
    outline: Outline,
    /// By the number of tokens after which texts are cut.
    seen: HashMap<Option<usize>, Seen>,
    batches: Vec<(Settings, Rc<Batches>)>,
}

impl<'a> Forecast<'a> {
    pub fn new(
        suite: &'a Suite,
        documents: &'a [Item],
        folders: HashMap<String, Result<PathBuf, Failure>>,
    ) -> Self {
        Forecast { suite, documents, folders, opened: HashMap::new() }
    }

    /// What a candidate would do on a card, as a row like any other.
    pub fn recording(&mut self, stage: &Stage, candidate: &Candidate, card: &Card) -> Recording {
        let start = Instant::now();
        let mut predicted = Predicted {
            device: DEVICE.to_owned(),
            ratio_within: RATIO_WITHIN,
            pass: None,
            between: Default::default(),
            peak_vram: None,
        };
        let failure = self.fill(&mut predicted, stage, candidate, card).err();
        let predicted_vram_bytes = predicted.peak_vram.map(|peak| peak.value);
        let outcome = Outcome::Predicted(predicted);
        let outcome = match failure {
            Some(failure) => outcome.fails(failure),
            None => outcome,
        };
        Recording {
            predicted_vram_bytes,
            wall_seconds: start.elapsed().as_secs_f64(),
            ..Recording::of(&stage.name, candidate, 0, outcome)
        }
    }

    fn fill(
        &mut self,
        predicted: &mut Predicted,
        stage: &Stage,
        candidate: &Candidate,
        card: &Card,
    ) -> Result<(), Failure> {
        let method = self.method(candidate)?;
        if let Some(failure) = method.missing_on(card) {
            return Err(failure);
        }
        let settings = settings(candidate)?;
        let (outline, batches) = self.prepared(stage, &settings)?;
        outline.graph.fits_cards().map_err(|why| Failure::new(Status::Refused, why.to_string()))?;
        let overhead = Overhead::of(card.capability());
        let memory = memory(&outline.graph, method, settings.transfers, &batches, overhead);
        predicted.peak_vram = Some(memory.peak);
        let share = (card.memory().0 as f64 * memory_fraction_of(candidate)) as u64;
        if memory.peak.value > share {
            let (needed, share) = (Bytes(memory.peak.value), Bytes(share));
            let why = format!("predicted: it needs {needed}, but its share of the {} is {share}", card.title);
            return Err(Failure::new(Status::OutOfMemory, why));
        }
        let (pass, between) = throughput::pass(&outline.graph, method, &settings, &batches, card);
        (predicted.pass, predicted.between) = (Some(pass), between);
        Ok(())
    }

    /// The memory that a candidate of candle takes of a card, where it can be said.
    pub fn memory(
        &mut self,
        stage: &Stage,
        candidate: &Candidate,
        capability: Option<(u32, u32)>,
    ) -> Option<Memory> {
        let method = self.method(candidate).ok().filter(|method| method.engine == Engine::Candle)?;
        let settings = settings(candidate).ok()?;
        let (outline, batches) = self.prepared(stage, &settings).ok()?;
        Some(memory(&outline.graph, method, settings.transfers, &batches, Overhead::of(capability)))
    }

    fn method(&self, candidate: &Candidate) -> Result<Method, Failure> {
        let backend = self.suite.backend(&candidate.backend);
        let unknown = || Failure::new(Status::NotAvailable, format!("no backend {:?}", candidate.backend));
        Method::of(backend.ok_or_else(unknown)?, candidate)
    }

    /// The stage's model, and the batches that these settings make of the corpus.
    pub fn prepared(
        &mut self,
        stage: &Stage,
        settings: &Settings,
    ) -> Result<(&Outline, Rc<Batches>), Failure> {
        let (documents, folders) = (self.documents, &self.folders);
        let opened = self.opened.entry(stage.name.clone()).or_insert_with(|| {
            let missing =
                || Failure::new(Status::NotAvailable, format!("no folder of the model {}", stage.model));
            let folder = folders.get(&stage.name).cloned().ok_or_else(missing)??;
            let refused = |why: crate::model::ModelError| Failure::new(Status::Refused, why.to_string());
            let outline = Outline::open(&folder, stage.task, stage.prompt.as_ref()).map_err(refused)?;
            Ok(Opened { outline, seen: HashMap::new(), batches: Vec::new() })
        });
        let opened = opened.as_mut().map_err(|failure| failure.clone())?;
        let batches = opened.batches(documents, settings)?;
        Ok((&opened.outline, batches))
    }
}

impl Opened {
    fn batches(&mut self, documents: &[Item], settings: &Settings) -> Result<Rc<Batches>, Failure> {
        // Neither changes what a batch is.
        let settings = Settings { transfers: Transfers::default(), num_workers: 1, ..settings.clone() };
        if let Some((_, batches)) = self.batches.iter().find(|(known, _)| *known == settings) {
            return Ok(Rc::clone(batches));
        }
        let refused = |why: String| Failure::new(Status::Refused, why);
        let tokeniser = self.outline.tokenizer.cut(settings.max_tokens).map_err(refused)?;
        let seen = self.seen.entry(settings.max_tokens).or_default();
        let batches = Batches::of(documents, &settings, &Remembering::new(&*tokeniser, seen));
        let batches = Rc::new(batches.map_err(|why| Failure::new(Status::Failed, why))?);
        self.batches.push((settings, Rc::clone(&batches)));
        Ok(batches)
    }
}

fn settings(candidate: &Candidate) -> Result<Settings, Failure> {
    Settings::of(candidate).map_err(|error| Failure::new(Status::Refused, error.to_string()))
}
