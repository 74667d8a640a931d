//! What ONNX Runtime is given to run, counted without it: nodes and constants of the lowered graph.

use indexmap::IndexMap;

use super::choice::{Choice, Source};
use super::lower::{self, Dialect, Style};
use super::network::dialect;
use crate::backend::{BackendError, Device};
use crate::knob::Candidate;
use crate::model::{Graph, Weights};

/// A lowered graph in figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// By operator.
    pub nodes: IndexMap<&'static str, u64>,
    /// Bytes of constants, by what their numbers are.
    pub constants: IndexMap<&'static str, u64>,
}

/// Counts what a candidate runs on a device. Nothing depends on what the weights are, so zeros stand for them.
pub fn count(
    graph: &Graph,
    candidate: &Candidate,
    device: Device,
    packed: bool,
) -> Result<Counted, BackendError> {
    let choice = Choice::of(candidate, device)?;
    if choice.source == Source::File {
        let why = "`graph` file is another program's graph: only `graph` lowered is counted";
        return Err(BackendError::Refused(why.into()));
    }
    let dialect = dialect(choice.provider);
    // One graph for GPUs serves both layouts.
    let packed = packed || dialect == Dialect::Cuda;
    let style = Style { precision: choice.precision(), dialect, packed };
    let tensors = graph.weights().into_iter().map(|weight| (weight.name.as_str(), weight.shape.as_slice()));
    let weights = Weights::zeros(tensors).map_err(|error| BackendError::OutOfMemory(error.to_string()))?;
    let lowered = lower::lower(graph, &weights, style)?.graph;
    let mut counted = Counted::default();
    for node in &lowered.nodes {
        *counted.nodes.entry(node.kind).or_default() += 1;
    }
    for tensor in &lowered.tensors {
        *counted.constants.entry(tensor.element.name()).or_default() += tensor.bytes.len() as u64;
    }
    counted.nodes.sort_unstable_keys();
    counted.constants.sort_unstable_keys();
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::knob::Value;
    use crate::model::Model;
    use crate::task::Task;

    /// Lowered from the checkpoint it has the same nodes, and constants of the same sizes.
    #[test]
    fn what_is_counted_with_zeros_is_what_a_checkpoint_gives() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models/bert-embed-mean");
        let model = Model::open(&folder, Task::Embed).unwrap();
        for dtype in ["fp32", "fp16", "int8", "int8-weights"] {
            let knobs = IndexMap::from([("dtype".to_owned(), Value::Text(dtype.to_owned()))]);
            let candidate = Candidate { backend: "ort".to_owned(), knobs };
            for (device, packed) in
                [(Device::Processor, false), (Device::Processor, true), (Device::Cuda(0), true)]
            {
                let Ok(choice) = Choice::of(&candidate, device) else { continue };
                let style =
                    Style { precision: choice.precision(), dialect: dialect(choice.provider), packed };
                let lowered = lower::lower(&model.graph, &model.weights, style).unwrap().graph;
                let counted = count(&model.graph, &candidate, device, packed).unwrap();
                assert_eq!(counted.nodes.values().sum::<u64>(), lowered.nodes.len() as u64);
                let bytes: usize = lowered.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
                assert_eq!(counted.constants.values().sum::<u64>(), bytes as u64, "{dtype} {device}");
                assert!(counted.nodes["Identity"] == 1 && counted.nodes["Gather"] > 1, "{counted:?}");
            }
        }
        let knobs = IndexMap::from([("graph".to_owned(), Value::Text("file".to_owned()))]);
        let of_a_file = Candidate { backend: "ort".to_owned(), knobs };
        let error = count(&model.graph, &of_a_file, Device::Processor, false).unwrap_err();
        assert!(error.to_string().contains("another program's graph"), "{error}");
    }
}
