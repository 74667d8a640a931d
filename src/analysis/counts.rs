//! What a configuration does, in exact counts, and what has changed between two counts of it.
//!
//! A count has no noise, so one more of anything is a finding. What becomes of a change of the mix is decided by the sum: a fusion
//! calls an operator that wasn't called before, and is better all the same. Operators that only move or convert numbers are judged
//! each by itself: products that become fewer don't make up for a copy more.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::knob::Candidate;
use crate::units::{Bytes, print_count};

/// Raised when a count changes its meaning, so that counts of two versions aren't compared blindly.
pub const FORMAT: u32 = 1;

/// The document that `autotune counts --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub format: u32,
    pub suite: String,
    pub corpus_digest: String,
    /// What decides between kernels for products of 8 bits.
    pub processor: String,
    pub entries: Vec<Entry>,
}

/// A stage on one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub stage: String,
    pub task: String,
    pub model: String,
    /// Whether the model's weights and tokenizer are made up.
    pub replica: bool,
    pub configuration: Candidate,
    /// Whether another processor would give other counts.
    #[serde(default)]
    pub by_processor: bool,
    /// Why nothing is counted, with the remedy where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub groups: IndexMap<Group, IndexMap<String, u64>>,
    /// Groups that can't be counted, and why.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub left_out: IndexMap<Group, String>,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Of the model's graph, by kind.
    Operations,
    /// That candle's reader calls for a batch which one thread works on.
    Kernels,
    /// What has no kernel of its own, because another does it in passing.
    InPassing,
    /// Of the graph that ONNX Runtime is given, by operator.
    Nodes,
    NodesOnGpu,
    /// Of candle on an NVIDIA GPU, by operation, as the cost model counts them.
    LaunchesOnGpu,
    /// Bytes by what numbers are, as the engine holds them.
    Weights,
    WeightsOnGpu,
    /// How often memory is asked for, by candle's reader on one thread.
    Allocations,
    /// Bytes of values for the batch of the longest documents.
    Memory,
    /// Bytes of a pass that are only moved or converted: to the engine and back, and by kernels that do nothing else.
    Copied,
    CopiedOnGpu,
    /// Documents, batches and tokens of a pass over the corpus.
    Pass,
}

/// What makes a change of a group better or worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// Each count by itself.
    Each,
    /// The sum: a change of the mix at a smaller sum is none for the worse.
    Sum,
    /// Nothing: it explains what changed elsewhere.
    Never,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Group::Operations => "operations",
            Group::Kernels => "kernels",
            Group::InPassing => "in passing",
            Group::Nodes => "nodes",
            Group::NodesOnGpu => "nodes on a GPU",
            Group::LaunchesOnGpu => "launches on a GPU, predicted",
            Group::Weights => "weights",
            Group::WeightsOnGpu => "weights on a GPU",
            Group::Allocations => "allocations",
            Group::Memory => "memory",
            Group::Copied => "bytes copied",
            Group::CopiedOnGpu => "bytes copied on a GPU",
            Group::Pass => "pass",
        }
    }

    fn is_in_bytes(self) -> bool {
        matches!(
            self,
            Group::Weights | Group::WeightsOnGpu | Group::Memory | Group::Copied | Group::CopiedOnGpu
        )
    }

    /// A count as people read it.
    pub fn print(self, count: u64) -> String {
        if self.is_in_bytes() { Bytes(count).to_string() } else { print_count(count) }
    }

    fn judged(self) -> Judged {
        match self {
            Group::InPassing => Judged::Never,
            // Slots are made once, what kernels ask for again and again.
            Group::Allocations | Group::Memory | Group::Pass => Judged::Each,
            _ => Judged::Sum,
        }
    }

    /// Whether all that this operator does is to move or to convert numbers. Shapes are changed where they lie.
    fn only_copies(self, name: &str) -> bool {
        matches!(self, Group::Nodes | Group::NodesOnGpu)
            && matches!(name, "Cast" | "Concat" | "Gather" | "Identity" | "Slice" | "Split" | "Transpose")
    }

    fn depends_on_corpus(self) -> bool {
        matches!(self, Group::Memory | Group::Copied | Group::CopiedOnGpu | Group::Pass)
    }

    fn depends_on_processor(self) -> bool {
        matches!(self, Group::Kernels | Group::Weights | Group::Allocations | Group::Copied)
    }
}

impl Entry {
    /// The stage, the engine and its precision.
    pub fn title(&self) -> String {
        let Candidate { backend, .. } = &self.configuration;
        format!("{} · {backend} {}", self.stage, self.configuration.word("dtype")).trim_end().to_owned()
    }
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Neither for the better nor for the worse: it explains other changes.
    Aside,
    Fewer,
    NotComparable,
    More,
}

/// One difference between two counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    pub finding: Finding,
    /// The stage, the engine and its precision; nothing where it's about all of them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Count { group: Group, name: String, was: u64, now: u64 },
    Knob { name: String, was: String, now: String },
    Reason(String),
}

impl Change {
    fn new(finding: Finding, place: &str, what: What) -> Change {
        Change { finding, place: place.to_owned(), what }
    }

    fn reason(finding: Finding, place: &str, why: String) -> Change {
        Change::new(finding, place, What::Reason(why))
    }

    /// What has changed, without its place.
    pub fn in_words(&self) -> String {
        let word = |word: &String| if word.is_empty() { "not set".to_owned() } else { word.clone() };
        match &self.what {
            What::Count { group, name, was, now } => {
                let (from, to) = printed(*group, *was, *now);
                // Operators of ONNX and what a pass consists of are known by their names alone.
                let name = match group {
                    Group::Operations => format!("operation {name}"),
                    Group::Kernels => format!("kernel {name}"),
                    Group::Weights
                    | Group::WeightsOnGpu
                    | Group::Allocations
                    | Group::Copied
                    | Group::CopiedOnGpu => format!("{} {name}", group.name()),
                    Group::NodesOnGpu | Group::LaunchesOnGpu | Group::InPassing => {
                        format!("{name} ({})", group.name())
                    }
                    Group::Nodes | Group::Memory | Group::Pass => name.clone(),
                };
                match (was, now) {
                    (0, _) => format!("{name} {to}, was none"),
                    (_, 0) => format!("{name} none, was {from}"),
                    _ => format!("{name} {to}, was {from} ({})", growth(*group, *was, *now)),
                }
            }
            What::Knob { name, was, now } => format!("{name} is {}, was {}", word(now), word(was)),
            What::Reason(why) => why.clone(),
        }
    }
}

/// Both counts, to the byte where they would look alike.
fn printed(group: Group, was: u64, now: u64) -> (String, String) {
    let (from, to) = (group.print(was), group.print(now));
    if from != to {
        return (from, to);
    }
    (print_count(was) + " B", print_count(now) + " B")
}

fn growth(group: Group, was: u64, now: u64) -> String {
    let times = now as f64 / was as f64;
    if times >= 2.0 {
        return format!("{times:.1} times");
    }
    let sign = if now > was { '+' } else { '-' };
    let difference = now.abs_diff(was);
    format!("{sign}{}", group.print(difference))
}

/// Compares two counts, entry by entry: what there is more of comes first, and what only explains it last.
pub fn changes(base: &Counts, new: &Counts) -> Vec<Change> {
    let not_comparable = |why: String| Change::reason(Finding::NotComparable, "", why);
    if base.suite != new.suite {
        return vec![not_comparable(format!("suite {}, was {}: nothing is compared", new.suite, base.suite))];
    }
    let mut changes = Vec::new();
    let same_corpus = base.corpus_digest == new.corpus_digest;
    if !same_corpus {
        let why =
            "the corpus is another one: neither passes, memory for a batch nor bytes copied are compared"
                .to_owned();
        changes.push(not_comparable(why));
    }
    let same_processor = base.processor == new.processor;
    for was in &base.entries {
        let is_same =
            |now: &&Entry| now.stage == was.stage && now.configuration.backend == was.configuration.backend;
        let Some(now) = new.entries.iter().find(is_same) else {
            let why = "counted before, and no more".to_owned();
            changes.push(Change::reason(Finding::NotComparable, &was.title(), why));
            continue;
        };
        let by_processor = !same_processor && (was.by_processor || now.by_processor);
        if by_processor {
            let why = format!(
                "the processor has {}, that of the base {}: kernels, weights, allocations and bytes copied aren't compared",
                new.processor, base.processor
            );
            changes.push(Change::reason(Finding::NotComparable, &now.title(), why));
        }
        let compared = |group: Group| {
            (same_corpus || !group.depends_on_corpus()) && (!by_processor || !group.depends_on_processor())
        };
        changes.extend(of_entries(was, now, compared));
    }
    for now in &new.entries {
        let was_there =
            |was: &Entry| now.stage == was.stage && now.configuration.backend == was.configuration.backend;
        if !base.entries.iter().any(was_there) {
            changes.push(Change::reason(Finding::Aside, &now.title(), "counted for the first time".into()));
        }
    }
    changes.sort_by_key(|change| std::cmp::Reverse(change.finding));
    changes
}

/// The worst of all changes; nothing where there are none.
pub fn worst(changes: &[Change]) -> Option<Finding> {
    changes.iter().map(|change| change.finding).max()
}

fn of_entries(was: &Entry, now: &Entry, compared: impl Fn(Group) -> bool) -> Vec<Change> {
    let place = now.title();
    let reason = |finding, why: String| Change::reason(finding, &place, why);
    if (&was.task, &was.model, was.replica) != (&now.task, &now.model, now.replica) {
        let named = |entry: &Entry| {
            let replica = if entry.replica { ", a replica" } else { "" };
            format!("{} for {}{replica}", entry.model, entry.task)
        };
        return vec![reason(Finding::NotComparable, format!("{}, was {}", named(now), named(was)))];
    }
    match (&was.missing, &now.missing) {
        (_, Some(why)) => return vec![reason(Finding::NotComparable, format!("not counted: {why}"))],
        (Some(_), None) => return vec![reason(Finding::Aside, "counted for the first time".into())],
        (None, None) => {}
    }
    let mut changes = of_knobs(was, now, &place);
    for (&group, counts) in was.groups.iter().filter(|(group, _)| compared(**group)) {
        match now.groups.get(&group) {
            Some(new) => changes.extend(of_counts(group, counts, new, &place)),
            None => {
                let why = now.left_out.get(&group).map_or("", String::as_str);
                let why = format!("{} are not counted any more: {why}", group.name());
                changes.push(reason(Finding::NotComparable, why.trim_end_matches([':', ' ']).to_owned()));
            }
        }
    }
    let first = now.groups.keys().filter(|group| !was.groups.contains_key(*group) && compared(**group));
    changes.extend(
        first.map(|group| reason(Finding::Aside, format!("{}: counted for the first time", group.name()))),
    );
    changes
}

fn of_knobs(was: &Entry, now: &Entry, place: &str) -> Vec<Change> {
    let (old, new) = (&was.configuration, &now.configuration);
    let mut names: Vec<&String> = old.knobs.keys().collect();
    names.extend(new.knobs.keys().filter(|name| !old.knobs.contains_key(*name)));
    let change = |name: &&String| {
        let (was, now) = (old.word(name), new.word(name));
        let what = What::Knob { name: (*name).clone(), was, now };
        Change::new(Finding::Aside, place, what)
    };
    names.iter().filter(|name| old.word(name) != new.word(name)).map(change).collect()
}

fn of_counts(
    group: Group,
    old: &IndexMap<String, u64>,
    new: &IndexMap<String, u64>,
    place: &str,
) -> Vec<Change> {
    let sum = |counts: &IndexMap<String, u64>| counts.values().sum::<u64>();
    let (before, after) = (sum(old), sum(new));
    let mut names: Vec<&String> = old.keys().collect();
    names.extend(new.keys().filter(|name| !old.contains_key(*name)));
    let mut changes = Vec::new();
    for name in names {
        let count = |counts: &IndexMap<String, u64>| counts.get(name).copied().unwrap_or(0);
        let (was, now) = (count(old), count(new));
        if was == now {
            continue;
        }
        let of_itself = if now > was { Finding::More } else { Finding::Fewer };
        let against_sum = if now > was { after < before } else { after > before };
        let finding = match group.judged() {
            Judged::Never => Finding::Aside,
            Judged::Sum if against_sum && !group.only_copies(name) => Finding::Aside,
            Judged::Sum | Judged::Each => of_itself,
        };
        changes.push(Change::new(finding, place, What::Count { group, name: name.clone(), was, now }));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knob::Value;

    fn group<const N: usize>(counts: [(&str, u64); N]) -> IndexMap<String, u64> {
        counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    fn counts() -> Counts {
        let knobs = [("dtype", Value::Text("fp32".into())), ("batch_size", Value::Integer(32))];
        let entry = Entry {
            stage: "embed".into(),
            task: "embed".into(),
            model: "m".into(),
            replica: false,
            configuration: Candidate {
                backend: "ort".into(),
                knobs: knobs.map(|(name, value)| (name.to_owned(), value)).into(),
            },
            by_processor: false,
            missing: None,
            groups: IndexMap::from([
                (Group::Operations, group([("Linear", 24), ("Add", 49)])),
                (Group::Kernels, group([("product fp32", 24)])),
                (Group::InPassing, group([("residual added", 12)])),
                (Group::Nodes, group([("Gemm", 36), ("Add", 49), ("SkipLayerNormalization", 24)])),
                (Group::Weights, group([("fp32", 4 << 20)])),
                (Group::Memory, group([("live values", 1 << 20)])),
                (Group::Pass, group([("batches", 8), ("tokens", 4096), ("padded tokens", 2048)])),
            ]),
            left_out: IndexMap::new(),
        };
        Counts {
            format: FORMAT,
            suite: "s".into(),
            corpus_digest: "c".into(),
            processor: "AVX2".into(),
            entries: vec![entry],
        }
    }

    /// What is found when an entry is changed so.
    fn found(change: impl Fn(&mut Entry)) -> Vec<(Finding, String)> {
        let mut new = counts();
        change(&mut new.entries[0]);
        let words = |change: &Change| (change.finding, format!("{}: {}", change.place, change.in_words()));
        changes(&counts(), &new).iter().map(words).collect()
    }

    fn set(entry: &mut Entry, group: Group, name: &str, count: u64) {
        entry.groups.entry(group).or_default().insert(name.to_owned(), count);
    }

    #[test]
    fn equal_counts_have_no_changes() {
        assert_eq!((changes(&counts(), &counts()), worst(&[])), (vec![], None));
    }

    #[test]
    fn an_operation_that_is_added_is_named() {
        let found = found(|entry| set(entry, Group::Nodes, "Add", 73));
        assert_eq!(found, [(Finding::More, "embed · ort fp32: Add 73, was 49 (+24)".to_owned())]);
        let fewer = self::found(|entry| set(entry, Group::Operations, "Add", 48));
        assert_eq!(fewer, [(Finding::Fewer, "embed · ort fp32: operation Add 48, was 49 (-1)".to_owned())]);
    }

    #[test]
    fn a_lost_fusion_is_worse_and_one_that_is_found_is_better() {
        let lost = |entry: &mut Entry| {
            set(entry, Group::Nodes, "SkipLayerNormalization", 0);
            set(entry, Group::Nodes, "Add", 73);
            set(entry, Group::Nodes, "LayerNormalization", 24);
        };
        let found = self::found(lost);
        let words: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(
            words,
            [
                "embed · ort fp32: Add 73, was 49 (+24)",
                "embed · ort fp32: LayerNormalization 24, was none",
                "embed · ort fp32: SkipLayerNormalization none, was 24",
            ]
        );
        assert_eq!(found.iter().map(|(finding, _)| *finding).max(), Some(Finding::More));
        // The other way round the operator that is new is no reason to fail.
        let mut unfused = counts();
        lost(&mut unfused.entries[0]);
        let back = changes(&unfused, &counts());
        assert_eq!((back.len(), worst(&back)), (3, Some(Finding::Fewer)));
    }

    #[test]
    fn fewer_products_do_not_make_up_for_a_copy_more() {
        let found = found(|entry| {
            set(entry, Group::Nodes, "Gemm", 24);
            set(entry, Group::Nodes, "Split", 6);
        });
        assert_eq!(
            found,
            [
                (Finding::More, "embed · ort fp32: Split 6, was none".to_owned()),
                (Finding::Fewer, "embed · ort fp32: Gemm 24, was 36 (-12)".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_done_in_passing_explains_and_decides_nothing() {
        let found = found(|entry| set(entry, Group::InPassing, "residual added", 6));
        assert_eq!(
            found,
            [(Finding::Aside, "embed · ort fp32: residual added (in passing) 6, was 12 (-6)".to_owned())]
        );
    }

    #[test]
    fn padding_a_larger_batch_and_wider_weights_are_told_with_the_knob() {
        let found = found(|entry| {
            entry.configuration.knobs.insert("batch_size".into(), Value::Integer(64));
            set(entry, Group::Pass, "batches", 4);
            set(entry, Group::Pass, "padded tokens", 5120);
            set(entry, Group::Memory, "live values", 3 << 20);
            set(entry, Group::Weights, "fp32", (4 << 20) + 512);
        });
        let wanted = [
            (Finding::More, "embed · ort fp32: weights fp32 4,194,816 B, was 4,194,304 B (+512 B)"),
            (Finding::More, "embed · ort fp32: live values 3.00 MiB, was 1.00 MiB (3.0 times)"),
            (Finding::More, "embed · ort fp32: padded tokens 5,120, was 2,048 (2.5 times)"),
            (Finding::Fewer, "embed · ort fp32: batches 4, was 8 (-4)"),
            (Finding::Aside, "embed · ort fp32: batch_size is 64, was 32"),
        ];
        assert_eq!(found, wanted.map(|(finding, words)| (finding, words.to_owned())));
    }

    #[test]
    fn a_slot_more_is_told_and_a_copy_that_moves_is_judged_by_the_sum() {
        let mut base = counts();
        set(&mut base.entries[0], Group::Allocations, "for slots of a thread", 4);
        set(&mut base.entries[0], Group::Allocations, "in kernels", 8);
        set(&mut base.entries[0], Group::Copied, "to the engine", 8 << 10);
        let found = |change: &dyn Fn(&mut Entry)| {
            let mut new = base.clone();
            change(&mut new.entries[0]);
            let changes = changes(&base, &new);
            changes.iter().map(|change| (change.finding, change.in_words())).collect::<Vec<_>>()
        };
        let slots = found(&|entry| {
            set(entry, Group::Allocations, "for slots of a thread", 5);
            set(entry, Group::Allocations, "in kernels", 0);
        });
        assert_eq!(
            slots,
            [
                (Finding::More, "allocations for slots of a thread 5, was 4 (+1)".to_owned()),
                (Finding::Fewer, "allocations in kernels none, was 8".to_owned()),
            ]
        );
        let wider = found(&|entry| set(entry, Group::Copied, "to the engine", (8 << 10) + 64));
        assert_eq!(
            wider,
            [(Finding::More, "bytes copied to the engine 8.06 KiB, was 8.00 KiB (+64.0 B)".to_owned())]
        );
        let moved = found(&|entry| {
            set(entry, Group::Copied, "to the engine", 0);
            set(entry, Group::Copied, "by conversion to fp16", 4 << 10);
        });
        assert_eq!(
            moved.iter().map(|(finding, _)| *finding).collect::<Vec<_>>(),
            [Finding::Fewer, Finding::Aside]
        );
    }

    #[test]
    fn weights_of_another_type_are_judged_by_their_sum() {
        let found = found(|entry| {
            set(entry, Group::Weights, "fp32", 1 << 20);
            set(entry, Group::Weights, "int8", 1 << 20);
        });
        let findings: Vec<Finding> = found.iter().map(|(finding, _)| *finding).collect();
        assert_eq!(findings, [Finding::Fewer, Finding::Aside], "{found:?}");
        let found = self::found(|entry| set(entry, Group::Weights, "fp16", 1));
        assert_eq!(found, [(Finding::More, "embed · ort fp32: weights fp16 1.00 B, was none".to_owned())]);
    }

    #[test]
    fn what_cannot_be_compared_is_said_and_the_rest_is() {
        let finding = |change: &dyn Fn(&mut Counts)| {
            let mut new = counts();
            set(&mut new.entries[0], Group::Kernels, "product fp32", 25);
            set(&mut new.entries[0], Group::Pass, "batches", 9);
            change(&mut new);
            let changes = changes(&counts(), &new);
            let words: Vec<String> = changes.iter().map(Change::in_words).collect();
            (worst(&changes).unwrap(), words.join("\n"))
        };
        let (suite, words) = finding(&|new| new.suite = "other".into());
        assert_eq!(
            (suite, words.as_str()),
            (Finding::NotComparable, "suite other, was s: nothing is compared")
        );

        let (corpus, words) = finding(&|new| new.corpus_digest = "other".into());
        assert_eq!(corpus, Finding::More, "kernels have no corpus");
        assert!(
            words.contains("product fp32 25, was 24 (+1)") && words.contains("the corpus is another one")
        );
        assert!(!words.contains("batches"), "{words}");

        // Where the processor decides nothing it may be another one.
        assert_eq!(finding(&|new| new.processor = "VNNI".into()).1.lines().count(), 2);
        let (_, words) = finding(&|new| {
            new.processor = "VNNI".into();
            new.entries[0].by_processor = true;
        });
        assert!(words.contains("the processor has VNNI, that of the base AVX2"), "{words}");
        assert!(words.contains("batches 9") && !words.contains("product"), "{words}");

        let (model, words) = finding(&|new| new.entries[0].replica = true);
        assert_eq!(
            (model, words.as_str()),
            (Finding::NotComparable, "m for embed, a replica, was m for embed")
        );
        let (gone, words) = finding(&|new| new.entries.clear());
        assert_eq!((gone, words.as_str()), (Finding::NotComparable, "counted before, and no more"));
        let (missing, words) = finding(&|new| new.entries[0].missing = Some("no model".into()));
        assert_eq!((missing, words.as_str()), (Finding::NotComparable, "not counted: no model"));
        let (left_out, words) = finding(&|new| {
            let entry = &mut new.entries[0];
            entry.groups.shift_remove(&Group::Nodes);
            entry.left_out.insert(Group::Nodes, "refused".into());
        });
        assert_eq!(left_out, Finding::More);
        assert!(words.contains("nodes are not counted any more: refused"), "{words}");
    }

    #[test]
    fn what_is_counted_for_the_first_time_fails_nothing() {
        let mut base = counts();
        base.entries[0].groups.shift_remove(&Group::Pass);
        let one = changes(&base, &counts());
        assert_eq!((one.len(), one[0].in_words().as_str()), (1, "pass: counted for the first time"));
        base.entries.clear();
        let all = changes(&base, &counts());
        assert_eq!((all.len(), worst(&all)), (1, Some(Finding::Aside)));
    }

    #[test]
    fn the_document_is_read_as_it_was_written() {
        let text = serde_json::to_string_pretty(&counts()).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&text).unwrap(), counts());
        assert!(text.contains("\"in-passing\""), "{text}");
        assert!(serde_json::from_str::<Counts>(&text[..text.len() / 2]).is_err());
        assert!(serde_json::from_str::<Counts>("{}").is_err());
    }
}
