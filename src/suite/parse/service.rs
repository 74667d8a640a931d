//! The service that the stages make together, and what is promised of it.

use std::path::PathBuf;

use toml::Spanned;

use super::Builder;
use crate::suite::problem::{Problem, unknown};
use crate::suite::service::{Log, Promise, Service};
use crate::suite::wire::{WireLog, WirePromise, WireService};
use crate::suite::{Folder, Stage};
use crate::task::Task;

/// More queries than any log that is worth drawing has.
const MOST_QUERIES: usize = 1_000_000;
/// Finds that are sorted again, and queries that are remembered, at the most.
const MOST_FINDS: usize = 1000;
const MOST_CACHED: usize = 10_000_000;

impl Builder<'_> {
    pub(super) fn service(
        &self,
        wire: Option<&Spanned<WireService>>,
        stages: &[Stage],
        folder: &Folder,
    ) -> Result<Option<Service>, Problem> {
        let Some(wire) = wire else { return Ok(None) };
        let (span, wire) = (wire.span(), wire.get_ref());
        let problem = |why: String| self.text.problem(span.clone(), why);
        let first =
            |task: Task| stages.iter().find(|stage| stage.task == task).map(|stage| stage.name.clone());
        let embed = match self.named(wire.embed.as_ref(), stages)? {
            Some(named) => named,
            None => {
                first(Task::Embed).ok_or_else(|| problem("no stage embeds: a service searches".into()))?
            }
        };
        let rerank = self.named(wire.rerank.as_ref(), stages)?.or_else(|| first(Task::Rerank));
        let within = |what: &str, numbers: &[usize], least: usize, most: usize| match numbers
            .iter()
            .find(|number| !(least..=most).contains(*number))
        {
            Some(number) => Err(problem(format!("`{what}` has {number}, not from {least} to {most}"))),
            None => Ok(numbers.to_vec()),
        };
        let rerank_k = within("rerank_k", &wire.rerank_k, 0, MOST_FINDS)?;
        let final_n = match wire.final_n.as_slice() {
            [] => vec![10],
            numbers => within("final_n", numbers, 1, MOST_FINDS)?,
        };
        if rerank.is_none() && !rerank_k.is_empty() {
            return Err(problem("`rerank_k` needs a stage that reranks".into()));
        }
        let cache = within("cache", &wire.cache, 0, MOST_CACHED)?;
        let log = wire.log.as_ref().map(|log| self.log(log, folder)).transpose()?;
        if log.is_none() && !cache.is_empty() {
            return Err(problem(
                "`cache` needs a `log`: a file of queries, or { queries = 5000, exponent = 1.0 }".into(),
            ));
        }
        Ok(Some(Service { embed, rerank, rerank_k, final_n, cache, log }))
    }

    fn log(&self, wire: &Spanned<WireLog>, folder: &Folder) -> Result<Log, Problem> {
        let problem = |why: String| self.text.problem(wire.span(), why);
        match wire.get_ref() {
            WireLog::File(name) => match folder {
                Folder::Disk(folder) => {
                    let path: PathBuf = folder.join(name);
                    if path.is_file() {
                        Ok(Log::File(path))
                    } else {
                        Err(problem(format!("no file {}", path.display())))
                    }
                }
                Folder::BuiltIn => Err(problem("a built-in suite has no file of queries".into())),
            },
            WireLog::Drawn(drawn) => {
                if !(1..=MOST_QUERIES).contains(&drawn.queries) {
                    return Err(problem(format!("`queries` must be from 1 to {MOST_QUERIES}")));
                }
                if !(0.0..=10.0).contains(&drawn.exponent) {
                    return Err(problem("`exponent` must be from 0, all queries alike, to 10".into()));
                }
                Ok(Log::Zipf { queries: drawn.queries, exponent: drawn.exponent })
            }
        }
    }

    fn named(&self, wire: Option<&Spanned<String>>, stages: &[Stage]) -> Result<Option<String>, Problem> {
        let names = || stages.iter().map(|stage| stage.name.as_str());
        let find = |name: &str| {
            names()
                .find(|known| *known == name)
                .map(str::to_owned)
                .ok_or_else(|| unknown("stage", name, names()))
        };
        wire.map(|name| self.read(name, find)).transpose()
    }

    pub(super) fn promises(
        &self,
        wire: &[Spanned<WirePromise>],
        stages: &[Stage],
    ) -> Result<Vec<Promise>, Problem> {
        let promise = |wire: &Spanned<WirePromise>| {
            let (span, wire) = (wire.span(), wire.get_ref());
            let problem = |why: &str| self.text.problem(span.clone(), why.to_owned());
            let ranges = [wire.times, wire.loses, wire.smaller];
            if ranges.iter().flatten().any(|[low, high]| !(low.is_finite() && low <= high)) {
                return Err(problem("a range has the lower number first: [2.0, 3.0]"));
            }
            if wire.of.is_some() != wire.beside.is_some() {
                return Err(problem("`of` and `beside` go together: which configurations, beside which"));
            }
            if wire.of.is_some() && ranges.iter().all(Option::is_none) {
                return Err(problem("nothing is promised: give `times`, `loses` or `smaller`"));
            }
            let stage = self.named(wire.stage.as_ref(), stages)?;
            Ok(Promise {
                says: wire.says.clone(),
                stage: stage.or_else(|| Some(stages.first()?.name.clone())).unwrap_or_default(),
                device: wire.device.clone(),
                of: wire.of.clone(),
                beside: wire.beside.clone(),
                times: wire.times,
                loses: wire.loses,
                smaller: wire.smaller,
            })
        };
        wire.iter().map(promise).collect()
    }
}
