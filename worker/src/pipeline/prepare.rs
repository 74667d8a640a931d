//! Tokenises, batches and lays out: what happens to documents before the network sees them.

use std::collections::VecDeque;

use super::batching;
use super::lap::Lap;
use super::settings::Settings;
use super::stretch::Stretch;
use crate::backend::{Batch, Clock};
use crate::item::Item;
use crate::model::{Encoding, Tokenise};

/// A batch that is ready to run, and what it took to make it.
pub struct Prepared {
    /// The documents in it, as indices.
    pub members: Vec<usize>,
    pub encodings: Vec<Encoding>,
    pub batch: Batch,
    pub tokenise_seconds: f64,
    pub pad_seconds: f64,
}

/// Makes one batch after the other.
pub struct Preparer<'a> {
    documents: &'a [Item],
    settings: &'a Settings,
    tokeniser: &'a dyn Tokenise,
    clock: &'a dyn Clock,
    order: VecDeque<usize>,
    /// Tokenised, and not in a batch yet.
    waiting: Vec<Encoding>,
    members: VecDeque<usize>,
}

impl<'a> Preparer<'a> {
    pub fn new(
        documents: &'a [Item],
        settings: &'a Settings,
        tokeniser: &'a dyn Tokenise,
        clock: &'a dyn Clock,
    ) -> Self {
        Preparer {
            documents,
            settings,
            tokeniser,
            clock,
            order: batching::order(documents, settings).into(),
            waiting: Vec::new(),
            members: VecDeque::new(),
        }
    }

    /// Makes those of a stretch alone.
    pub fn only(mut self, stretch: Stretch) -> Self {
        let range = stretch.range(self.order.len(), self.settings.batch_size);
        self.order = self.order.drain(range).collect();
        self
    }

    fn prepare(&mut self) -> Result<Option<Prepared>, String> {
        let mut lap = Lap::start(self.clock);
        // As many as a batch can hold; a budget of tokens may leave some of them for the next one.
        let wanted = self.settings.batch_size.saturating_sub(self.waiting.len()).min(self.order.len());
        let fresh: Vec<usize> = self.order.drain(..wanted).collect();
        self.waiting.extend(self.tokenise(&fresh)?);
        self.members.extend(fresh);
        let tokenise_seconds = lap.next();
        let count = batching::next_batch(&self.waiting, self.settings);
        if count == 0 {
            return Ok(None);
        }
        let encodings: Vec<Encoding> = self.waiting.drain(..count).collect();
        let batch = Batch::new(&encodings, self.settings.packed);
        let members = self.members.drain(..count).collect();
        Ok(Some(Prepared { members, encodings, batch, tokenise_seconds, pad_seconds: lap.next() }))
    }

    /// Tokenises documents, shared out among the workers.
    fn tokenise(&self, members: &[usize]) -> Result<Vec<Encoding>, String> {
        let encode = |&index: &usize| {
            let document: &Item = &self.documents[index];
            self.tokeniser.encode(document.query.as_deref(), batching::text(document, self.settings))
        };
        let share = members.len().div_ceil(self.settings.num_workers.max(1)).max(1);
        if share >= members.len() {
            return members.iter().map(encode).collect();
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = members
                .chunks(share)
                .map(|share| scope.spawn(move || share.iter().map(encode).collect::<Result<Vec<_>, _>>()))
                .collect();
            let mut encodings = Vec::with_capacity(members.len());
            for worker in workers {
                encodings.extend(worker.join().map_err(|_| "a tokenising thread failed".to_owned())??);
            }
            Ok(encodings)
        })
    }
}

impl Iterator for Preparer<'_> {
    type Item = Result<Prepared, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.prepare().transpose()
    }
}
