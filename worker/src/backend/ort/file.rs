//! A model's own ONNX file, as stock exports write it: its tokens are pooled here, as the graph of the model says.
//!
//! Knows no graph of ours but its end.

use std::path::Path;

use ort::environment::Environment;

use super::choice::{Choice, Dtype};
use super::cuda::Card;
use super::engine::Engine;
use super::lower::{Input, Precision};
use super::network::{Network, Reading, Sizes};
use crate::backend::BackendError;
use crate::model::graph::{Graph, Operation, Pooling, Rows};
use crate::task::Task;

/// Where exporters put their files; the first that's there is taken.
const FLOAT32: [&str; 2] = ["onnx/model.onnx", "model.onnx"];
const FLOAT16: [&str; 2] = ["onnx/model_fp16.onnx", "model_fp16.onnx"];
const INT8: [&str; 4] =
    ["onnx/model_quantized.onnx", "onnx/model_int8.onnx", "model_quantized.onnx", "model_int8.onnx"];

/// What an output of a known name holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Answers,
    Vectors,
    Tokens,
}

const OUTPUTS: [(&str, Holds); 4] = [
    ("logits", Holds::Answers),
    ("sentence_embedding", Holds::Vectors),
    ("token_embeddings", Holds::Tokens),
    ("last_hidden_state", Holds::Tokens),
];

/// How the output of a file is read.
pub struct FileReading {
    holds: Holds,
    pooling: Option<Pooling>,
    normalise: bool,
    by_token: bool,
    /// Columns of an answer: of another width the file is another model's.
    width: usize,
}

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
            refused(format!("it wants an input {name:?}; there are {known}"))
        })
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let wanted: &[Holds] = match graph.task {
        Task::Embed => &[Holds::Vectors, Holds::Tokens],
        Task::Classify | Task::Rerank | Task::Entities => &[Holds::Answers],
        Task::Sparse | Task::MultiVector => {
            let task = graph.task.name();
            return Err(refused(format!("no stock export has the head of {task}; `graph` lowered does")));
        }
    };
    let given = engine.outputs();
    let has =
        |(name, holds): &&(&str, Holds)| wanted.contains(holds) && given.iter().any(|given| given == name);
    let (output, holds) = OUTPUTS.iter().find(has).copied().ok_or_else(|| {
        refused(format!("of its outputs ({}) none is known for {}", given.join(", "), graph.task.name()))
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

impl FileReading {
    pub fn shape(&self, sizes: Sizes) -> Vec<usize> {
        match self.holds {
            Holds::Answers | Holds::Vectors if !self.by_token => vec![sizes.texts, self.width],
            _ => vec![sizes.texts, sizes.longest, self.width],
        }
    }

    /// Answers of a batch that was laid out with padding, out of as many floats as the shape says.
    pub fn rows(&self, floats: &[f32], lengths: &[usize], sizes: Sizes) -> Vec<Vec<f32>> {
        let columns = self.width;
        let texts = floats.chunks_exact(floats.len() / sizes.texts).zip(lengths);
        let row = |(text, &length): (&[f32], &usize)| {
            let mut row = match self.holds {
                Holds::Tokens => pool(&text[..length * columns], columns, self.pooling),
                _ if self.by_token => text[..length * columns].to_vec(),
                _ => text.to_vec(),
            };
            if self.holds != Holds::Answers && self.normalise {
                scale_to_one(&mut row);
            }
            row
        };
        texts.map(row).collect()
    }
}

/// One vector of the tokens of a text; zeros if it has none.
fn pool(tokens: &[f32], columns: usize, pooling: Option<Pooling>) -> Vec<f32> {
    let mut rows = tokens.chunks_exact(columns);
    let count = rows.len().max(1) as f32;
    let one = match pooling {
        Some(Pooling::First) => rows.next(),
        Some(Pooling::Last) => rows.next_back(),
        Some(Pooling::Mean) | None => {
            let mut mean = vec![0.0; columns];
            for row in rows {
                mean.iter_mut().zip(row).for_each(|(sum, number)| *sum += number / count);
            }
            return mean;
        }
    };
    one.map_or_else(|| vec![0.0; columns], <[f32]>::to_vec)
}

fn scale_to_one(row: &mut [f32]) {
    let length = row.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-12);
    row.iter_mut().for_each(|number| *number /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_pooled_as_the_model_says() {
        let tokens = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(pool(&tokens, 2, Some(Pooling::Mean)), [2.0, 4.0]);
        assert_eq!(pool(&tokens, 2, Some(Pooling::First)), [1.0, 2.0]);
        assert_eq!(pool(&tokens, 2, Some(Pooling::Last)), [3.0, 6.0]);
        assert_eq!(pool(&[], 2, Some(Pooling::Last)), [0.0, 0.0]);
        let mut row = [3.0, 4.0];
        scale_to_one(&mut row);
        assert_eq!(row, [0.6, 0.8]);
    }
}
