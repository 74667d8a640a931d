//! Both engines against what Hugging Face's transformers say of the same small models, in every precision, and the
//! properties that batching must have. How the models were made: tests/fixtures/README.md.

use std::path::{Path, PathBuf};

use autotune::answer::Answer;
use autotune::backend::{Batch, LoadRequest, Session};
use autotune::item::Item;
use autotune::knob::{Candidate, Value};
use autotune::model::Encoding;
use autotune::task::Task;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::Value as Json;

use crate::support::engines;

/// A model and what is expected of it.
struct Fixture {
    name: String,
    folder: PathBuf,
    task: Task,
    documents: Vec<Item>,
    ids: Vec<Vec<u32>>,
    /// A row for each text; for tasks that answer for each token those of its tokens.
    outputs: Vec<Vec<f32>>,
    expected: Json,
}

fn fixtures() -> Vec<Fixture> {
    let root = engines::fixtures_folder().join("models");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.collect();
    folders.sort();
    assert!(folders.len() >= 20, "fixtures are missing");
    folders.iter().flat_map(|folder| fixtures_of(folder)).collect()
}

fn fixtures_of(folder: &Path) -> Vec<Fixture> {
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Json = serde_json::from_str(&text).unwrap();
    let outputs = &expected["outputs"];
    let task = expected["task"].as_str().unwrap();
    let tasks = match task {
        // One model with three heads.
        "bge-m3" => vec![(Task::Embed, &outputs["dense"]), (Task::MultiVector, &outputs["multi_vector"])],
        name => vec![(*Task::ALL.iter().find(|task| task.name() == name).unwrap(), outputs)],
    };
    tasks.into_iter().map(|(task, outputs)| fixture(folder, task, outputs, &expected)).collect()
}

fn fixture(folder: &Path, task: Task, outputs: &Json, expected: &Json) -> Fixture {
    let texts = expected["texts"].as_array().unwrap();
    let query = |place: usize| expected["queries"][place].as_str().map(str::to_owned);
    Fixture {
        name: format!("{} {}", folder.file_name().unwrap().to_string_lossy(), task.name()),
        folder: folder.to_owned(),
        task,
        documents: texts
            .iter()
            .enumerate()
            .map(|(place, text)| Item { text: text.as_str().unwrap().to_owned(), query: query(place) })
            .collect(),
        ids: serde_json::from_value(expected["ids"].clone()).unwrap(),
        outputs: outputs.as_array().unwrap().iter().map(numbers).collect(),
        expected: expected.clone(),
    }
}

/// All of a fixture's texts; of those that take a simulated card seconds each, every third.
fn affordable(mut fixture: Fixture) -> Fixture {
    fn thin<T>(list: &mut Vec<T>, every: usize) {
        let mut place = 0..;
        list.retain(|_| place.next().is_some_and(|place| place % every == 0));
    }
    let every = if std::env::var_os("SIMULATED_CUDA_STATE").is_some() { 3 } else { 1 };
    thin(&mut fixture.documents, every);
    thin(&mut fixture.ids, every);
    thin(&mut fixture.outputs, every);
    fixture
}

/// All numbers of nested lists, or of one number.
fn numbers(json: &Json) -> Vec<f32> {
    match json {
        Json::Array(list) => list.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

/// An engine with a fixture in it.
fn session(engine: &engines::Engine, fixture: &Fixture, knobs: &[(&str, &str)]) -> Box<dyn Session> {
    let value = |text: &str| Value::Text(text.to_owned());
    let knobs = knobs.iter().map(|(knob, text)| (knob.to_string(), value(text))).collect();
    let request = LoadRequest {
        task: fixture.task,
        prompt: None,
        model: fixture.folder.display().to_string(),
        candidate: Candidate { backend: engine.name.to_owned(), knobs },
        device: engine.device,
        device_bytes: None,
    };
    engine.open().load(&request).unwrap_or_else(|error| panic!("{} {}: {error}", engine.name, fixture.name))
}

fn encode(session: &mut dyn Session, documents: &[Item]) -> Vec<Encoding> {
    let tokeniser = session.tokeniser(None).unwrap();
    let encode = |document: &Item| tokeniser.encode(document.query.as_deref(), &document.text).unwrap();
    documents.iter().map(encode).collect()
}

fn run(session: &mut dyn Session, encodings: &[Encoding], packed: bool) -> Vec<Vec<f32>> {
    session.run(&Batch::new(encodings, packed)).unwrap().rows
}

/// The greatest difference of two lists of numbers.
fn difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

#[test]
fn fp32_is_what_transformers_say_on_every_architecture_and_head() {
    for engine in engines::all() {
        for fixture in fixtures() {
            let mut session = session(&engine, &fixture, &[]);
            let encodings = encode(&mut *session, &fixture.documents);
            let ids: Vec<_> = encodings.iter().map(|encoding| encoding.ids.clone()).collect();
            assert_eq!(ids, fixture.ids, "{}", fixture.name);
            for packed in [false, true] {
                let rows = run(&mut *session, &encodings, packed);
                for (place, (given, wanted)) in rows.iter().zip(&fixture.outputs).enumerate() {
                    // Of late interaction the first token's vector is no part of the answer.
                    let skip = if fixture.task == Task::MultiVector { given.len() - wanted.len() } else { 0 };
                    let off = difference(&given[skip..], wanted);
                    assert!(
                        off < 1e-4,
                        "{} {} text {place}, packed {packed}: {off}",
                        engine.name,
                        fixture.name
                    );
                }
            }
        }
    }
}

#[test]
fn labels_spans_and_sparse_weights_are_those_of_their_libraries() {
    for engine in engines::all() {
        for fixture in fixtures() {
            match fixture.task {
                Task::Classify => check_labels(&engine, &fixture),
                Task::Entities => check_spans(&engine, &fixture),
                Task::MultiVector => check_sparse(&engine, fixture),
                _ => {}
            }
        }
    }
}

fn answers(engine: &engines::Engine, fixture: &Fixture) -> Vec<Answer> {
    engines::pass(&mut *session(engine, fixture, &[]), fixture.task, &fixture.documents, &[])
}

fn check_labels(engine: &engines::Engine, fixture: &Fixture) {
    let labels: Vec<String> = serde_json::from_value(fixture.expected["labels"].clone()).unwrap();
    for (answer, logits) in answers(engine, fixture).into_iter().zip(&fixture.outputs) {
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(answer, Answer::Label(labels[best].clone()), "{}", fixture.name);
    }
}

fn check_spans(engine: &engines::Engine, fixture: &Fixture) {
    let wanted: Vec<Vec<(usize, usize, String)>> =
        serde_json::from_value(fixture.expected["entities"].clone()).unwrap();
    for (answer, wanted) in answers(engine, fixture).into_iter().zip(wanted) {
        let Answer::Spans(spans) = answer else { panic!("{answer:?}") };
        let spans: Vec<_> = spans.into_iter().map(|span| (span.start, span.end, span.label)).collect();
        assert_eq!(spans, wanted, "{}", fixture.name);
    }
}

fn check_sparse(engine: &engines::Engine, fixture: Fixture) {
    let wanted: Vec<Vec<(u32, f32)>> =
        serde_json::from_value(fixture.expected["outputs"]["sparse"].clone()).unwrap();
    let fixture = Fixture { task: Task::Sparse, ..fixture };
    for (answer, wanted) in answers(engine, &fixture).into_iter().zip(wanted) {
        let Answer::Sparse(weights) = answer else { panic!("{answer:?}") };
        let ids = |weights: &[(u32, f32)]| weights.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let values = |weights: &[(u32, f32)]| weights.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
        assert_eq!(ids(&weights), ids(&wanted));
        assert!(difference(&values(&weights), &values(&wanted)) < 1e-4);
    }
}

#[test]
fn lower_precisions_are_as_near_as_promised() {
    for engine in engines::all() {
        for (dtype, least) in engine.precisions() {
            let fixtures = fixtures().into_iter().filter(|fixture| fixture.task == Task::Embed);
            for fixture in fixtures.map(affordable) {
                let mut session = session(&engine, &fixture, &[("dtype", dtype)]);
                let encodings = encode(&mut *session, &fixture.documents);
                for (given, wanted) in run(&mut *session, &encodings, false).iter().zip(&fixture.outputs) {
                    let cosine = cosine(given, wanted);
                    assert!(cosine > least, "{} {dtype} {}: {cosine}", engine.name, fixture.name);
                }
            }
        }
    }
}

/// all-MiniLM-L6-v2 with its real weights, and twenty embeddings of it by sentence-transformers.
#[test]
fn the_real_minilm_is_as_near_as_promised_in_every_precision() {
    let Some(folder) = engines::minilm() else { return };
    let text = std::fs::read_to_string(engines::fixtures_folder().join("minilm.json")).unwrap();
    let expected: Json = serde_json::from_str(&text).unwrap();
    let fixture = fixture(&folder, Task::Embed, &expected["outputs"], &expected);
    assert_eq!(fixture.outputs.len(), 20);
    let fixture = affordable(fixture);
    for engine in engines::all() {
        for (dtype, least) in std::iter::once(("fp32", 1.0 - 1e-5)).chain(engine.precisions()) {
            let mut session = session(&engine, &fixture, &[("dtype", dtype)]);
            let encodings = encode(&mut *session, &fixture.documents);
            let ids: Vec<_> = encodings.iter().map(|encoding| encoding.ids.clone()).collect();
            assert_eq!(ids, fixture.ids);
            for (given, wanted) in run(&mut *session, &encodings, false).iter().zip(&fixture.outputs) {
                let cosine = cosine(given, wanted);
                assert!(cosine > least, "{} {dtype}: {cosine}", engine.name);
                assert!(dtype != "fp32" || difference(given, wanted) < 1e-4, "{} {dtype}", engine.name);
            }
        }
    }
}

/// Padding, packing, the company in a batch and its order change nothing but the last digits, for any task.
#[test]
fn company_in_a_batch_changes_no_answer() {
    let mut random = Pcg64::seed_from_u64(5);
    for engine in engines::all() {
        for fixture in fixtures() {
            let mut session = session(&engine, &fixture, &[]);
            let mut pass = |knobs: &[(&str, Value)]| {
                engines::pass(&mut *session, fixture.task, &fixture.documents, knobs)
            };
            let plain = pass(&[("batch_size", Value::Integer(1))]);
            for _ in 0..6 {
                let word = |words: &[&str], random: &mut Pcg64| {
                    Value::Text(words[random.random_range(0..words.len())].into())
                };
                let knobs = [
                    ("batch_size", Value::Integer(random.random_range(1..9))),
                    ("batch_tokens", Value::Integer(random.random_range(10..200))),
                    ("order", word(&["arrival", "buckets", "length"], &mut random)),
                    ("padding", word(&["padded", "packed"], &mut random)),
                    ("transfers", word(engine.transfers(), &mut random)),
                    ("num_workers", Value::Integer(random.random_range(1..4))),
                ];
                for (left, right) in plain.iter().zip(pass(&knobs)) {
                    let off = apart(left, &right);
                    assert!(off < 5e-5, "{} {} {knobs:?}: {off}", engine.name, fixture.name);
                }
            }
        }
    }
}

/// What a session says of its rows holds: in every precision that calls them independent, a text's vector is the same in any
/// batch, up to a small part of what the precision itself costs.
#[test]
fn independent_rows_are_independent_in_every_precision() {
    let mut random = Pcg64::seed_from_u64(9);
    let mut depending = Vec::new();
    for engine in engines::all() {
        for (dtype, least) in engine.precisions() {
            for fixture in fixtures().iter().filter(|fixture| fixture.task == Task::Embed) {
                let mut session = session(&engine, fixture, &[("dtype", dtype)]);
                if !session.has_independent_rows() {
                    depending.push(format!("{} {dtype}", engine.name));
                    continue;
                }
                let mut pass = |knobs: &[(&str, Value)]| {
                    engines::pass(&mut *session, fixture.task, &fixture.documents, knobs)
                };
                let plain = pass(&[("batch_size", Value::Integer(1))]);
                for padding in ["padded", "packed", "padded", "packed"] {
                    let size = random.random_range(2..9);
                    let knobs =
                        [("batch_size", Value::Integer(size)), ("padding", Value::Text(padding.into()))];
                    for (left, right) in plain.iter().zip(pass(&knobs)) {
                        let (Answer::Vector(left), Answer::Vector(right)) = (left, &right) else { panic!() };
                        let off = 1.0 - cosine(left, right);
                        assert!(
                            off <= (1.0 - least) / 10.0,
                            "{} {dtype} {}: {off}",
                            engine.name,
                            fixture.name
                        );
                    }
                }
            }
        }
    }
    depending.dedup();
    // Dynamic int8 has one scale over a whole batch. Nothing else may hide behind it.
    assert!(depending.iter().all(|name| name == "ort int8"), "{depending:?}");
}

/// How far two answers are apart: the greatest difference of their numbers, and infinitely if they say different things.
fn apart(left: &Answer, right: &Answer) -> f32 {
    match (left, right) {
        (Answer::Vector(left), Answer::Vector(right)) => difference(left, right),
        (Answer::Score(left), Answer::Score(right)) => (left - right).abs(),
        (Answer::Vectors(left), Answer::Vectors(right)) => difference(&left.concat(), &right.concat()),
        (left, right) if left == right => 0.0,
        _ => f32::INFINITY,
    }
}

/// Rows without a token, which a tokenizer that adds none gives for an empty text, leave their neighbours alone.
#[test]
fn empty_rows_leave_their_neighbours_alone() {
    for engine in engines::all() {
        for fixture in fixtures().iter().filter(|fixture| fixture.name.starts_with("bert-embed")) {
            let mut session = session(&engine, fixture, &[]);
            let encodings = encode(&mut *session, &fixture.documents[2..4]);
            let with_empty =
                [Encoding::default(), encodings[0].clone(), Encoding::default(), encodings[1].clone()];
            for packed in [false, true] {
                let plain = run(&mut *session, &encodings, packed);
                let rows = run(&mut *session, &with_empty, packed);
                assert_eq!(rows.len(), 4, "{} {}", engine.name, fixture.name);
                assert!(difference(&rows[1], &plain[0]) < 2e-5 && difference(&rows[3], &plain[1]) < 2e-5);
                let nothing = run(&mut *session, &[Encoding::default(), Encoding::default()], packed);
                assert!(
                    nothing.iter().flatten().all(|number| *number == 0.0),
                    "{} {}",
                    engine.name,
                    fixture.name
                );
            }
        }
    }
}

#[test]
fn a_text_is_cut_between_the_tokens_around_it() {
    for engine in engines::all() {
        for fixture in fixtures().iter().filter(|fixture| fixture.name.starts_with("bert-rerank")) {
            let mut session = session(&engine, fixture, &[]);
            let full = encode(&mut *session, &fixture.documents);
            let tokeniser = session.tokeniser(Some(7)).unwrap();
            let document = &fixture.documents[7];
            let cut = tokeniser.encode(document.query.as_deref(), &document.text).unwrap();
            assert_eq!((cut.ids.len(), cut.ids.last()), (7, full[7].ids.last()));
            let said = session.tokeniser(Some(2)).err().unwrap().to_string();
            assert!(said.contains("2 tokens are too few"), "{said}");
        }
    }
}
