//! A model's own ONNX file, as stock exports write it: its tokens are pooled here, as the graph of the model says.
//!
//! Knows no graph of ours but its end.

use std::path::Path;

use ort::environment::Environment;

use super::choice::{Choice, Dtype};
use super::cuda::Card;
use super::engine::Engine;
use super::lower::{Input, Precision};
use super::reading::{FileReading, Holds, Network, Reading};
use crate::backend::BackendError;
use crate::model::graph::{Graph, Operation, Rows};
use crate::task::Task;

/// Where exporters put their files; the first that's there is taken.
const FLOAT32: [&str; 2] = ["onnx/model.onnx", "model.onnx"];
const FLOAT16: [&str; 2] = ["onnx/model_fp16.onnx", "model_fp16.onnx"];
const INT8: [&str; 4] =
    ["onnx/model_quantized.onnx", "onnx/model_int8.onnx", "model_quantized.onnx", "model_int8.onnx"];

const OUTPUTS: [(&str, Holds); 4] = [
    ("logits", Holds::Answers),
    ("sentence_embedding", Holds::Vectors),
    ("token_embeddings", Holds::Tokens),
    ("last_hidden_state", Holds::Tokens),
];

/// Opens the file of the model in `folder` that has the precision of `choice`.
pub fn open(
    folder: &Path,
    graph: &Graph,
    environment: &Environment,
    choice: &Choice,
    card: Option<&Card>,
) -> Result<Network, BackendError> {
    let names: &[&str] = match choice.dtype {
        Dtype::Of(Precision::Float16) => &FLOAT16,
        Dtype::Of(Precision::Int8) => &INT8,
        _ => &FLOAT32,
    };
    let path = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let path = path.ok_or_else(|| {
        let (folder, names) = (folder.display(), names.join(", "));
        BackendError::NotAvailable(format!("{folder}: no ONNX file; looked for {names}"))
    })?;
    let engine = Engine::file(environment, choice, card, &path)?;
    let refused = |why: String| BackendError::Refused(format!("{}: {why}", path.display()));
    let known = [Input::Ids, Input::Mask, Input::Types];
    let inputs = engine.inputs().into_iter().map(|name| {
        known.into_iter().find(|input| input.name() == name).ok_or_else(|| {
            let known = known.map(Input::name).join(", ");
            refused(format!("it requires the input {name:?}; supported: {known}"))
        })
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let wanted: &[Holds] = match graph.task {
        Task::Embed => &[Holds::Vectors, Holds::Tokens],
        Task::Classify | Task::Rerank | Task::Entities => &[Holds::Answers],
        Task::Sparse | Task::MultiVector => {
            let task = graph.task.name();
            return Err(refused(format!("no stock export has the head of {task}; use `graph` lowered")));
        }
    };
    let given = engine.outputs();
    let has =
        |(name, holds): &&(&str, Holds)| wanted.contains(holds) && given.iter().any(|given| given == name);
    let (output, holds) = OUTPUTS.iter().find(has).copied().ok_or_else(|| {
        refused(format!("none of its outputs ({}) is supported for {}", given.join(", "), graph.task.name()))
    })?;
    let pooling = graph.operations.iter().find_map(|operation| match operation {
        Operation::Pool { pooling, .. } => Some(*pooling),
        _ => None,
    });
    let normalise = matches!(graph.operations.last(), Some(Operation::Normalise { .. }));
    let by_token = graph.rows(graph.output()) == Rows::Tokens;
    let width = graph.columns(graph.output());
    let reading = Reading::File(FileReading { holds, pooling, normalise, by_token, width });
    Ok(Network { engine, inputs, output: output.to_owned(), reading })
}
