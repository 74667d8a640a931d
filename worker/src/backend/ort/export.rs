//! A model as an ONNX file that anybody's ONNX Runtime reads: the same graph that is run here.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::choice;
use super::lower::{self, Dialect, Style};
use super::onnx::{Place, Tensor};
use crate::backend::BackendError;
use crate::model::Model;

const FILE: &str = "model.onnx";
const DATA: &str = "model.onnx.data";

/// A message of protocol buffers ends at 2 GiB; weights beyond an eighth of that go to a file of their own, so that
/// nobody has to hold them in one piece.
const MOST_INLINE: usize = 256 << 20;

/// Tensors in the file of their own begin on a page, so that they can be mapped; smaller ones stay in the graph.
const PAGE: usize = 4096;

/// Writes the model's graph at a precision into `folder`; gives the path of the graph.
pub fn export(model: &Model, dtype: &str, folder: &Path) -> Result<PathBuf, BackendError> {
    let precision = choice::dtype(dtype).ok_or_else(|| {
        BackendError::Refused(format!("can't export {dtype:?}; supported: fp32, fp16, int8, int8-weights"))
    })?;
    let style = Style { precision, dialect: Dialect::Fused, packed: false };
    let graph = lower::lower(&model.graph, &model.weights, style)?.graph;
    let path = folder.join(FILE);
    let failed =
        |path: &Path, error: std::io::Error| BackendError::Failed(format!("{}: {error}", path.display()));
    let total: usize = graph.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    let is_apart = |tensor: &Tensor| total > MOST_INLINE && tensor.bytes.len() >= PAGE;
    let mut offsets = std::collections::HashMap::new();
    let mut end = 0;
    for tensor in graph.tensors.iter().filter(|tensor| is_apart(tensor)) {
        offsets.insert(tensor.name.clone(), end);
        end = (end + tensor.bytes.len()).next_multiple_of(PAGE);
    }
    let bytes = graph.encode(|tensor| match offsets.get(&tensor.name) {
        Some(offset) => Place::File(Path::new(DATA), *offset),
        None => Place::Inline,
    });
    std::fs::write(&path, bytes).map_err(|error| failed(&path, error))?;
    if !offsets.is_empty() {
        let data = folder.join(DATA);
        let tensors = graph.tensors.iter().filter(|tensor| is_apart(tensor));
        write(&data, tensors).map_err(|error| failed(&data, error))?;
    }
    Ok(path)
}

fn write<'a>(path: &Path, tensors: impl Iterator<Item = &'a Tensor<'a>>) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for tensor in tensors {
        file.write_all(&tensor.bytes)?;
        let length = tensor.bytes.len();
        file.write_all(&vec![0; length.next_multiple_of(PAGE) - length])?;
    }
    file.flush()
}
