//! What transformers answers for every fixture, reproduced.
//!
//! Without a library a test says so and returns: the variables that name one are set where it matters.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::device::DeviceSession;
use super::engine::Engine;
use super::lower::{Dialect, quantise};
use super::network::Networks;
use super::*;
use crate::backend::gpu::simulated::{Schedule, Simulated};
use crate::backend::gpu::{Driver, Lanes, Nvidia, Transfers};
use crate::backend::{Batch, Device, LoadRequest, Missing, Session};
use crate::knob::{Candidate, Value};
use crate::model::Encoding;
use crate::task::Task;

/// What is expected of a folder at a task; `outputs` has a table of them where a folder does several.
#[derive(Clone, Deserialize)]
struct Expected {
    task: String,
    texts: Vec<String>,
    #[serde(default)]
    queries: Vec<String>,
    ids: Vec<Vec<u32>>,
    outputs: serde_json::Value,
}

impl Expected {
    fn at(&self) -> Task {
        Task::ALL.into_iter().find(|task| task.name() == self.task).unwrap()
    }

    fn outputs(&self) -> impl Iterator<Item = Vec<f32>> {
        self.outputs.as_array().unwrap().iter().map(flat)
    }
}

/// Every number in it, one behind the other.
fn flat(value: &serde_json::Value) -> Vec<f32> {
    match value {
        serde_json::Value::Array(parts) => parts.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

fn fixtures() -> Vec<PathBuf> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("config.json").exists());
    folders.sort();
    folders
}

/// What is expected of a folder, for each task.
fn expected(folder: &Path) -> Vec<Expected> {
    let file = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&file).unwrap();
    match &expected.outputs {
        serde_json::Value::Object(tables) => {
            let task = |name: &str| match name {
                "dense" => "embed",
                "sparse" => "sparse",
                _ => "multi-vector",
            };
            let one = |(name, outputs): (&String, &serde_json::Value)| Expected {
                task: task(name).to_owned(),
                outputs: outputs.clone(),
                ..expected.clone()
            };
            tables.iter().map(one).collect()
        }
        _ => vec![expected],
    }
}

fn request(folder: &Path, task: Task, knobs: &[(&str, &str)]) -> LoadRequest {
    let knobs =
        knobs.iter().map(|(name, value)| (name.to_string(), Value::Text(value.to_string()))).collect();
    let candidate = Candidate { backend: "ort".into(), knobs };
    let model = folder.to_str().unwrap().to_owned();
    LoadRequest { task, prompt: None, model, candidate, device: Device::Processor, device_bytes: None }
}

/// The backend, if its library is here.
fn backend(variable: &str) -> Option<Ort> {
    if std::env::var_os(variable).is_none() {
        eprintln!("{variable} is not set, so nothing was tested");
        return None;
    }
    Some(Ort::new(serde_json::Value::Null).unwrap())
}

fn encode(session: &mut dyn Session, expected: &Expected) -> Vec<Encoding> {
    let tokeniser = session.tokeniser(None).unwrap();
    let query = |text: usize| expected.queries.get(text).map(String::as_str);
    let encodings: Vec<Encoding> = expected
        .texts
        .iter()
        .enumerate()
        .map(|(at, text)| tokeniser.encode(query(at), text).unwrap())
        .collect();
    let ids: Vec<_> = encodings.iter().map(|encoding| encoding.ids.clone()).collect();
    assert_eq!(ids, expected.ids);
    encodings
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let product = |left: &[f32], right: &[f32]| -> f64 {
        left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
    };
    product(left, right) / (product(left, left) * product(right, right)).sqrt().max(1e-30)
}

fn furthest(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

/// A row as the expectation has it: BGE-M3's leave out what stands for no text, and pair weights with their tokens.
fn told(row: &[f32], encoding: &Encoding, task: Task, session: &dyn Session) -> Vec<f32> {
    match task {
        Task::MultiVector => row[row.len() / encoding.ids.len()..].to_vec(),
        Task::Sparse => {
            let special = session.legend().special;
            let mut weights = std::collections::BTreeMap::new();
            for (id, weight) in encoding.ids.iter().zip(row).filter(|(id, _)| !special.contains(id)) {
                let highest = weights.entry(*id).or_insert(0.0_f32);
                *highest = highest.max(*weight);
            }
            weights.retain(|_, weight| *weight > 0.0);
            weights.into_iter().flat_map(|(id, weight)| [id as f32, weight]).collect()
        }
        _ => row.to_vec(),
    }
}

/// Holds each fixture's answers, padded and packed, against what is expected.
fn check(backend: &Ort, knobs: &[(&str, &str)], judge: impl Fn(&str, &[f32], &[f32])) {
    for folder in fixtures() {
        for expected in expected(&folder) {
            let mut session = match backend.load(&request(&folder, expected.at(), knobs)) {
                Ok(session) => session,
                Err(error) => panic!("{}: {error}", folder.display()),
            };
            let encodings = encode(&mut *session, &expected);
            for packed in [false, true] {
                let what = format!("{} {} packed={packed}", folder.display(), expected.task);
                let together = session.run(&Batch::new(&encodings, packed)).unwrap().rows;
                assert_eq!(together.len(), encodings.len(), "{what}");
                for ((row, encoding), output) in together.iter().zip(&encodings).zip(expected.outputs()) {
                    judge(&what, &told(row, encoding, expected.at(), &*session), &output);
                    let alone =
                        session.run(&Batch::new(std::slice::from_ref(encoding), packed)).unwrap().rows;
                    judge(&what, &told(&alone[0], encoding, expected.at(), &*session), &output);
                }
            }
        }
    }
}

#[test]
fn every_fixture_answers_as_it_should() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    check(&backend, &[], |what, row, wanted| {
        let furthest = furthest(row, wanted);
        assert!(furthest < 1e-4, "{what}: {furthest}\n{row:?}\n{wanted:?}");
    });
}

/// A session on the host's memory as a device, as one on a GPU would be, with the graph that a GPU gets.
fn on_host(folder: &Path, task: Task, dtype: &str) -> DeviceSession<Simulated> {
    let request = request(folder, task, &[("dtype", dtype)]);
    let choice = Choice::of(&request.candidate, Device::Processor).unwrap();
    let libraries = Libraries::read(serde_json::Value::Null).unwrap();
    let environment = libraries.load(choice.provider).unwrap();
    let model = Model::open(folder, task, None).unwrap();
    let networks = Networks::open(folder, model, environment, choice, Dialect::Cuda, None)
        .unwrap_or_else(|error| panic!("{} {dtype}: {error}", folder.display()));
    let device = Simulated::new(Schedule::Hosted, usize::MAX);
    let (queue, mut lanes) =
        (device.queue().unwrap(), Lanes::new(device.clone(), Transfers::Blocking).unwrap());
    lanes.poisons = true;
    DeviceSession::on_host(device, queue, lanes, networks, &choice).unwrap()
}

/// All that a GPU's run consists of but the GPU: each network as it's lowered for CUDA, batches of changing sizes laid out,
/// sent through lanes whose copies are as late as they may be, bound by their addresses, and their answers read where they
/// were to arrive.
#[test]
fn what_is_sent_to_a_device_comes_back_as_it_should() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    for folder in fixtures() {
        for expected in expected(&folder) {
            let mut plain = backend.load(&request(&folder, expected.at(), &[])).unwrap();
            let encodings = encode(&mut *plain, &expected);
            for (dtype, far, least) in
                [("fp32", 1e-4, 0.999_999), ("fp16", 0.1, 0.999), ("int8-weights", 2.0, 0.94)]
            {
                let mut session = on_host(&folder, expected.at(), dtype);
                for (name, _) in Transfers::NAMES {
                    let knobs =
                        [("transfers".to_owned(), Value::Text(name.to_owned()))].into_iter().collect();
                    session.configure(&Candidate { backend: "ort".into(), knobs }, 0).unwrap();
                    for packed in [false, true] {
                        let sizes = [1, 3, 2, 4, 1, 2];
                        let batches: Vec<Batch> = (0..12)
                            .map(|number| {
                                let texts = (0..sizes[number % sizes.len()])
                                    .map(|text| encodings[(number * 5 + text) % encodings.len()].clone());
                                Batch::new(&texts.collect::<Vec<_>>(), packed)
                            })
                            .collect();
                        for (batch, rows) in batches.iter().zip(through_lanes(&mut session, &batches)) {
                            let wanted = plain.run(batch).unwrap().rows;
                            let what = format!("{} {dtype} {name} packed={packed}", folder.display());
                            assert_eq!(rows.len(), wanted.len(), "{what}");
                            for (row, wanted) in rows.iter().zip(&wanted) {
                                let off = furthest(row, wanted);
                                assert!(off < far, "{what}: {off}\n{row:?}\n{wanted:?}");
                                let alike = if row.len() > 1 { cosine(row, wanted) } else { 1.0 };
                                assert!(alike > least, "{what}: {alike}\n{row:?}\n{wanted:?}");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Answers of batches, as many under way as there is room for.
fn through_lanes(session: &mut DeviceSession<Simulated>, batches: &[Batch]) -> Vec<Vec<Vec<f32>>> {
    let engine = session.overlapped().unwrap();
    let mut answers = Vec::new();
    for batch in batches {
        if engine.is_full() {
            answers.push(engine.collect().unwrap().rows);
        }
        engine.submit(batch).unwrap();
    }
    while answers.len() < batches.len() {
        answers.push(engine.collect().unwrap().rows);
    }
    answers
}

#[test]
fn texts_without_tokens_harm_nobody_on_a_device() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    for folder in fixtures() {
        for expected in expected(&folder) {
            let mut plain = backend.load(&request(&folder, expected.at(), &[])).unwrap();
            let whole = encode(&mut *plain, &expected).swap_remove(2);
            let mut session = on_host(&folder, expected.at(), "fp32");
            let empty = Encoding::default();
            for packed in [false, true] {
                let among = Batch::new(&[empty.clone(), whole.clone(), empty.clone()], packed);
                let (rows, wanted) = (session.run(&among).unwrap().rows, plain.run(&among).unwrap().rows);
                assert!(
                    rows.iter().zip(&wanted).all(|(row, wanted)| furthest(row, wanted) < 1e-4),
                    "{rows:?}"
                );
                let none = session.run(&Batch::new(&[empty.clone(), empty.clone()], packed)).unwrap().rows;
                assert!(none.iter().flatten().all(|number| number.is_finite()), "{none:?}");
                assert_eq!(none[0], rows[0]);
                assert!(session.run(&Batch::new(&[], packed)).unwrap().rows.is_empty());
            }
        }
    }
}

#[test]
fn fewer_bits_answer_much_alike() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    for (dtype, least) in [("fp16", 0.999), ("int8-weights", 0.995), ("int8", 0.97)] {
        check(&backend, &[("dtype", dtype)], |what, row, wanted| {
            // A single number has no direction, and is held against what scores differ by.
            let far = || {
                f64::from(furthest(row, wanted))
                    / f64::from(1.0 + wanted.first().map_or(0.0, |score| score.abs()))
            };
            let alike = if row.len() > 1 { cosine(row, wanted) } else { 1.0 - far() };
            // Networks this small feel each bit; what counts is that nothing is wrong, and the vectors.
            let least = if what.contains("embed") || dtype == "fp16" { least } else { 0.94 };
            // A processor without VNNI has weights of half the steps, whose error is four times as large when squared.
            let coarser = if dtype == "int8" { (127.0 / f64::from(quantise::widest())).powi(2) } else { 1.0 };
            let least = 1.0 - (1.0 - least) * coarser;
            assert!(alike > least, "{what} {dtype}: {alike}\n{row:?}\n{wanted:?}");
        });
    }
}

#[test]
fn texts_without_tokens_harm_nobody() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    for folder in fixtures() {
        for expected in expected(&folder) {
            let mut session = backend.load(&request(&folder, expected.at(), &[])).unwrap();
            let whole = encode(&mut *session, &expected).swap_remove(2);
            let empty = Encoding::default();
            for packed in [false, true] {
                let alone = session.run(&Batch::new(std::slice::from_ref(&whole), packed)).unwrap().rows;
                let among = [empty.clone(), whole.clone(), empty.clone()];
                let among = session.run(&Batch::new(&among, packed)).unwrap().rows;
                assert!(furthest(&alone[0], &among[1]) < 1e-5);
                let none = session.run(&Batch::new(&[empty.clone(), empty.clone()], packed)).unwrap().rows;
                assert_eq!(none.len(), 2);
                assert!(none.iter().chain(&among).flatten().all(|number| number.is_finite()), "{none:?}");
                assert_eq!(none[0], among[0]);
                assert!(session.run(&Batch::new(&[], packed)).unwrap().rows.is_empty());
            }
        }
    }
}

#[test]
fn what_it_does_not_do_it_refuses_by_name() {
    let backend = |libraries| Ort::new(json!({ "libraries": libraries })).unwrap();
    let nowhere = json!({
        "cpu": { "path": "/nowhere/libonnxruntime.so" },
        "openvino": { "missing": { "why": "no OpenVINO", "remedy": "ask pip" } },
        "cuda": { "missing": { "why": "no GPU", "remedy": "buy one" } },
    });
    let folder = fixtures().swap_remove(0);
    let load = |knobs: &[(&str, &str)]| match backend(nowhere.clone()).load(&request(
        &folder,
        Task::Classify,
        knobs,
    )) {
        Err(error) => error,
        Ok(_) => panic!("loaded"),
    };
    let missing = Missing { why: "no OpenVINO".into(), remedy: "ask pip".into() };
    assert_eq!(load(&[("provider", "openvino")]), BackendError::Missing(missing));
    for (knobs, words) in [
        (vec![("dtype", "bf16")], "bf16 needs `provider` openvino"),
        (vec![("provider", "cuda")], "needs an NVIDIA GPU"),
        (vec![("dtype", "int8"), ("provider", "openvino")], "fp32 and bf16, not in int8"),
        (vec![("dtype", "int8-weights"), ("graph", "file")], "no stock export"),
    ] {
        assert!(matches!(load(&knobs), BackendError::Refused(why) if why.contains(words)), "{words}");
    }
    assert!(
        matches!(load(&[]), BackendError::NotAvailable(why) if why.contains("/nowhere/libonnxruntime.so"))
    );
    assert!(Ort::new(json!({ "libraries": {} })).is_err());
}

/// On a machine with an NVIDIA GPU, where the variables name the libraries: all that `what_is_sent_to_a_device…` checks, with
/// the card. Every precision loads, so no node of it is on the processor.
#[test]
fn a_gpu_answers_as_it_should() {
    const VARIABLE: &str = "AUTOTUNE_CUDA_DYLIB_PATH";
    let Some(backend) = backend(VARIABLE) else { return };
    if !is_alone("a_gpu_answers_as_it_should") {
        return;
    }
    let on_gpu = |knobs: &[(&str, &str)], least: f64| {
        for folder in fixtures() {
            for expected in expected(&folder) {
                let mut request = request(&folder, expected.at(), knobs);
                request.device = Device::Cuda(0);
                let mut session = match backend.load(&request) {
                    Ok(session) => session,
                    Err(error) => panic!("{} {knobs:?}: {error}", folder.display()),
                };
                let encodings = encode(&mut *session, &expected);
                for packed in [false, true] {
                    let rows = session.run(&Batch::new(&encodings, packed)).unwrap().rows;
                    for ((row, encoding), output) in rows.iter().zip(&encodings).zip(expected.outputs()) {
                        let row = told(row, encoding, expected.at(), &*session);
                        let alike = if row.len() > 1 { cosine(&row, &output) } else { 1.0 };
                        let what = format!("{} {knobs:?} packed={packed}", folder.display());
                        assert!(alike > least, "{what}: {alike}\n{row:?}\n{output:?}");
                    }
                }
            }
        }
    };
    on_gpu(&[], 0.999_99);
    on_gpu(&[("arena", "same_as_requested")], 0.999_99);
    on_gpu(&[("dtype", "fp16")], 0.999);
    on_gpu(&[("dtype", "int8-weights")], 0.94);
}

/// The same without looking at the numbers, so that a driver which computes nothing will do: every network loads in every
/// precision with all of its nodes on the card, runs in both layouts however batches travel, and tells its memory.
#[test]
fn a_gpu_takes_every_network_as_a_whole() {
    let Some(backend) = backend("AUTOTUNE_CUDA_DYLIB_PATH") else { return };
    if !is_alone("a_gpu_takes_every_network_as_a_whole") {
        return;
    }
    let text = |value: &str| Value::Text(value.to_owned());
    let load = |folder: &Path, task, knobs: &[(&str, Value)]| {
        let mut request = request(folder, task, &[]);
        request.device = Device::Cuda(0);
        request.candidate.knobs =
            knobs.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        (backend.load(&request), request.candidate)
    };
    for folder in fixtures() {
        for expected in expected(&folder) {
            for dtype in ["fp32", "fp16", "int8-weights"] {
                for cuda_graph in [false, true] {
                    let knobs = [("dtype", text(dtype)), ("cuda_graph", Value::Switch(cuda_graph))];
                    let (session, mut candidate) = load(&folder, expected.at(), &knobs);
                    let mut session = session.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
                    assert_eq!(session.device(), "cuda:0");
                    let encodings = encode(&mut *session, &expected);
                    for (transfers, _) in Transfers::NAMES {
                        candidate.knobs.insert("transfers".into(), text(transfers));
                        session.configure(&candidate, 0).unwrap();
                        for packed in [false, true, false] {
                            let batch = Batch::new(&encodings, packed);
                            assert_eq!(session.run(&batch).unwrap().rows.len(), encodings.len());
                            let engine = session.overlapped().unwrap();
                            for _ in 0..3 {
                                engine.submit(&batch).unwrap();
                                engine.submit(&batch).unwrap();
                                assert!(engine.is_full());
                                assert_eq!(engine.collect().unwrap().rows.len(), encodings.len());
                                assert_eq!(engine.collect().unwrap().rows.len(), encodings.len());
                            }
                        }
                    }
                    let memory = session.device_memory().unwrap();
                    assert!(memory.reserved_peak_bytes > 0, "{memory:?}");
                    assert!(memory.used_peak_bytes.unwrap() <= memory.reserved_peak_bytes, "{memory:?}");
                }
            }
        }
    }
    let folder = &fixtures()[0];
    let half = [("memory_fraction", Value::Number(0.5))];
    let memory = load(folder, Task::Classify, &half).0.unwrap().device_memory().unwrap();
    assert_eq!(memory.cap_bytes, Some(memory.total_bytes / 2));
    // A card of 8 MiB beside what the driver takes: it's enough for one text and not for a thousand.
    let mut small = request(folder, Task::Classify, &[("arena", "same_as_requested")]);
    // A fiftieth of it is kept for kernels.
    let bytes = (memory.overhead_bytes + (8 << 20)) * 50 / 49;
    (small.device, small.device_bytes) = (Device::Cuda(0), Some(bytes));
    let mut session = backend.load(&small).unwrap();
    let encodings = encode(&mut *session, &expected(folder)[0]);
    let many: Vec<Encoding> = encodings.iter().cycle().take(4096).cloned().collect();
    let error = session.run(&Batch::new(&many, true)).unwrap_err();
    assert!(matches!(error, BackendError::OutOfMemory(_)), "{error}");
    assert!(session.run(&Batch::new(&encodings[..1], true)).is_ok());
    let taken = session.device_memory().unwrap();
    assert!(taken.peak_bytes() <= taken.cap_bytes.unwrap(), "{taken:?}");
    let little = [("memory_fraction", Value::Number(1e-6))];
    assert!(matches!(load(folder, Task::Classify, &little).0, Err(BackendError::OutOfMemory(_))));
}

#[test]
fn a_node_that_a_gpu_has_no_code_for_is_named() {
    if backend("AUTOTUNE_CUDA_DYLIB_PATH").is_none()
        || !is_alone("a_node_that_a_gpu_has_no_code_for_is_named")
    {
        return;
    }
    let device = Device::Cuda(0);
    let choice = Choice::of(&Candidate { backend: "ort".into(), knobs: Default::default() }, device).unwrap();
    let environment = Libraries::read(serde_json::Value::Null).unwrap().load(choice.provider).unwrap();
    let card = Nvidia::open(0).unwrap();
    let queue = card.queue().unwrap();
    let card = cuda::Card { number: 0, stream: queue.handle(), limit_bytes: None };
    let mut graph = onnx::Graph::product();
    assert!(Engine::plain(&environment, &choice, Some(&card), &graph).is_ok());
    graph.nodes[0].kind = "Hardmax";
    graph.nodes[0].domain = "";
    graph.nodes[0].inputs.truncate(1);
    let error = Engine::plain(&environment, &choice, Some(&card), &graph).err().unwrap();
    assert_eq!(error, BackendError::Refused("node output (Hardmax) runs on the CPU in a GPU run".into()));
}

/// Whether this is a process for one test. A process loads one library only, so the test runs itself in another one.
fn is_alone(name: &str) -> bool {
    const CHILD: &str = "AUTOTUNE_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let itself = std::env::current_exe().unwrap();
    let name = format!("backend::ort::tests::{name}");
    let child = std::process::Command::new(itself).args(["--exact", &name]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    false
}

#[test]
fn openvino_answers_as_it_should() {
    const VARIABLE: &str = "AUTOTUNE_OPENVINO_DYLIB_PATH";
    let Some(backend) = backend(VARIABLE) else { return };
    if !is_alone("openvino_answers_as_it_should") {
        return;
    }
    check(&backend, &[("provider", "openvino")], |what, row, wanted| {
        let furthest = furthest(row, wanted);
        assert!(furthest < 1e-4, "{what}: {furthest}\n{row:?}\n{wanted:?}");
    });
    check(&backend, &[("provider", "openvino"), ("dtype", "bf16")], |what, row, wanted| {
        if what.contains("embed") {
            assert!(cosine(row, wanted) > 0.99, "{what}\n{row:?}\n{wanted:?}");
        }
    });
    // The other library can't be had any more.
    let other = backend.load(&request(&fixtures()[0], Task::Classify, &[])).err().unwrap();
    assert!(matches!(other, BackendError::NotAvailable(why) if why.contains("can load one only")));
}

/// A copy of a fixture's folder, with its graph exported to where stock exports have it.
fn with_file(folder: &Path, task: Task, dtype: &str, name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    std::fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    let _ = std::fs::copy(folder.join("1_Pooling/config.json"), copy.path().join("1_Pooling/config.json"));
    let exported = export(&Model::open(folder, task, None).unwrap(), dtype, copy.path()).unwrap();
    std::fs::create_dir(copy.path().join("onnx")).unwrap();
    std::fs::rename(exported, copy.path().join("onnx").join(name)).unwrap();
    copy
}

#[test]
fn a_models_own_file_answers_as_the_lowered_graph_does() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    for folder in fixtures() {
        let expected = expected(&folder).swap_remove(0);
        let task = expected.at();
        for (dtype, name, far) in [("fp32", "model.onnx", 1e-4), ("int8", "model_quantized.onnx", 2.0)] {
            let copy = with_file(&folder, task, dtype, name);
            let knobs = [("graph", "file"), ("dtype", dtype)];
            let mut session = backend.load(&request(copy.path(), task, &knobs)).unwrap();
            let encodings = encode(&mut *session, &expected);
            let rows = session.run(&Batch::new(&encodings, false)).unwrap().rows;
            for (row, output) in rows.iter().zip(expected.outputs()) {
                assert!(furthest(row, &output) < far, "{} {dtype}", folder.display());
            }
            assert!(matches!(session.run(&Batch::new(&encodings, true)), Err(BackendError::Refused(_))));
        }
        let none = backend.load(&request(&folder, task, &[("graph", "file")])).err();
        assert!(matches!(none, Some(BackendError::NotAvailable(why)) if why.contains("onnx/model.onnx")));
    }
}

/// all-MiniLM-L6-v2 at every precision, where its folder is given: networks of any use keep what small ones lose.
#[test]
fn a_real_model_keeps_its_quality() {
    let Some(backend) = backend("ORT_DYLIB_PATH") else { return };
    let Some(folder) = std::env::var_os("AUTOTUNE_MINILM") else {
        eprintln!("AUTOTUNE_MINILM is not set, so nothing was tested");
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/minilm.json");
    let expected: Expected = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let check = |session: &mut dyn Session, what: &str, least: f64| {
        let encodings = encode(session, &expected);
        for packed in [false, true] {
            let rows = session.run(&Batch::new(&encodings, packed)).unwrap().rows;
            let alike = rows.iter().zip(expected.outputs()).map(|(row, wanted)| cosine(row, &wanted));
            let worst = alike.fold(1.0, f64::min);
            eprintln!("{what} packed={packed}: worst cosine {worst:.6}");
            assert!(worst > least, "{what} packed={packed}: {worst}");
        }
    };
    for (dtype, least) in [("fp32", 0.999_999), ("fp16", 0.999), ("int8-weights", 0.995), ("int8", 0.97)] {
        let request = request(Path::new(&folder), Task::Embed, &[("dtype", dtype)]);
        check(&mut *backend.load(&request).unwrap(), dtype, least);
    }
    // With the graph that a GPU gets.
    for (dtype, least) in [("fp32", 0.999_999), ("fp16", 0.999), ("int8-weights", 0.995)] {
        check(&mut on_host(Path::new(&folder), Task::Embed, dtype), &format!("{dtype} for CUDA"), least);
    }
}
