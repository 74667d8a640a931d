//! What ONNX Runtime is given to run, counted without it: nodes and constants of the lowered graph, and what each batch takes
//! there and back.

use indexmap::IndexMap;

use super::choice::{Choice, Source};
use super::feed::Feed;
use super::flat::Flat;
use super::lower::{self, Dialect, Lowered, Style};
use super::network::dialect;
use super::reading::Reading;
use crate::backend::{BackendError, Batch, Device};
use crate::knob::Candidate;
use crate::model::{Graph, Weights};

/// A lowered graph in figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// By operator.
    pub nodes: IndexMap<&'static str, u64>,
    /// Bytes of constants, by what their numbers are.
    pub constants: IndexMap<&'static str, u64>,
    /// Bytes of the batches' inputs as they are laid out, and of their output.
    pub copied: IndexMap<&'static str, u64>,
}

/// Counts what a candidate runs on a device. Nothing depends on what weights and words are, so zeros stand for them.
pub fn count(
    graph: &Graph,
    candidate: &Candidate,
    device: Device,
    packed: bool,
    batches: impl Iterator<Item = Batch>,
) -> Result<Counted, BackendError> {
    let choice = Choice::of(candidate, device)?;
    if choice.source == Source::File {
        let why = "`graph` file is another program's graph: only `graph` lowered is counted";
        return Err(BackendError::Refused(why.into()));
    }
    let dialect = dialect(choice.provider);
    let on_gpu = dialect == Dialect::Cuda;
    // One graph for GPUs serves both layouts.
    let style = Style { precision: choice.precision(), dialect, packed: packed || on_gpu };
    let tensors = graph.weights().into_iter().map(|weight| (weight.name.as_str(), weight.shape.as_slice()));
    let weights = Weights::zeros(tensors).map_err(|error| BackendError::OutOfMemory(error.to_string()))?;
    let Lowered { graph: lowered, inputs } = lower::lower(graph, &weights, style)?;
    let mut counted = Counted::default();
    let reading = Reading::lowered(graph);
    let (mut feed, mut flat, mut laid_out) = (Feed::default(), Flat::default(), Vec::new());
    for batch in batches {
        let (to, sizes) = if on_gpu {
            flat.fill(&batch, 0);
            flat.lay_out(&inputs, &mut laid_out);
            (laid_out.len(), flat.sizes)
        } else {
            feed.fill(&batch, 0);
            (inputs.iter().map(|input| feed.given(*input).numbers.bytes().len()).sum(), feed.sizes())
        };
        let from = reading.shape(sizes).iter().product::<usize>() * size_of::<f32>();
        for (way, bytes) in [("to the engine", to), ("from the engine", from)] {
            *counted.copied.entry(way).or_default() += bytes as u64;
        }
    }
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
    use crate::model::{Encoding, Model};
    use crate::task::Task;

    /// Lowered from the checkpoint it has the same nodes, and constants of the same sizes.
    #[test]
    fn what_is_counted_with_zeros_is_what_a_checkpoint_gives() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models/bert-embed-mean");
        let model = Model::open(&folder, Task::Embed, None).unwrap();
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
                let counted = count(&model.graph, &candidate, device, packed, std::iter::empty()).unwrap();
                assert!(counted.copied.is_empty(), "no batch, nothing copied");
                assert_eq!(counted.nodes.values().sum::<u64>(), lowered.nodes.len() as u64);
                let bytes: usize = lowered.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
                assert_eq!(counted.constants.values().sum::<u64>(), bytes as u64, "{dtype} {device}");
                assert!(counted.nodes["Identity"] == 1 && counted.nodes["Gather"] > 1, "{counted:?}");
            }
        }
        let knobs = IndexMap::from([("graph".to_owned(), Value::Text("file".to_owned()))]);
        let of_a_file = Candidate { backend: "ort".to_owned(), knobs };
        let error =
            count(&model.graph, &of_a_file, Device::Processor, false, std::iter::empty()).unwrap_err();
        assert!(error.to_string().contains("another program's graph"), "{error}");
    }

    #[test]
    fn batches_take_their_inputs_there_and_their_output_back() {
        let copied = |folder: &str, task: Task, device: Device, packed: bool| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(folder);
            let graph = Model::open(&folder, task, None).unwrap().graph;
            let text = |tokens: usize| Encoding {
                ids: vec![1; tokens],
                types: vec![0; tokens],
                ..Encoding::default()
            };
            let batches = [Batch::new(&[text(5), text(2)], packed), Batch::new(&[text(3)], packed)];
            let candidate = Candidate { backend: "ort".to_owned(), knobs: IndexMap::default() };
            let width = graph.columns(graph.output()) as u64;
            let counted = count(&graph, &candidate, device, packed, batches.into_iter()).unwrap();
            (counted.copied["to the engine"], counted.copied["from the engine"] / width)
        };
        let embed = |device, packed| copied("bert-embed-mean", Task::Embed, device, packed);
        // Ids, mask and types of 10 and 3 places, 8 bytes each; a row of floats for each of three texts.
        assert_eq!(embed(Device::Processor, false), (8 * 3 * 13, 4 * 3));
        // Ids, types, places in the text and in the grid of ten tokens; the mask and the rows of thirteen places.
        assert_eq!(embed(Device::Processor, true), (8 * (4 * 10 + 2 * 13), 4 * 3));
        // In one piece, of which each part but the last is filled up to 256 bytes.
        let (to, from) = embed(Device::Cuda(0), true);
        assert!(to > 2 * 6 * 256 && from == 4 * 3, "{to} {from}");
        // Answers for tokens come with those of the padding.
        let entities = copied("bert-tokens", Task::Entities, Device::Processor, false);
        assert_eq!(entities.1, 4 * 13);
    }
}
