//! What ONNX Runtime's CUDA provider has code for, and that a lowered network asks for nothing else.

use std::collections::HashMap;
use std::path::Path;

use super::lowering::lower;
use super::style::{Dialect, Precision, Style};
use crate::backend::ort::onnx::{self, Element};
use crate::model::Model;
use crate::task::Task;

use Element::{Float16, Float32, Int32, Int64};

/// Operators and the numbers that they're used with here, of docs/OperatorKernels.md of ONNX Runtime 1.31; the provider of
/// onnxruntime-gpu 1.31.1 has placed each of them on the card, but for those of disentangled attention (`Slice`, `Gather` of integers,
/// `MatMul` in fp16), which no card has been asked for. Not here although they have code: what needs cuDNN, which
/// isn't provided (`MultiHeadAttention`, `ReduceSum`, `ReduceL2`).
const KERNELS: [(&str, &[Element]); 26] = [
    ("Abs", &[Int64]),
    ("Add", &[Float32, Float16, Int64]),
    ("BiasGelu", &[Float32, Float16]),
    ("Cast", &[Float32, Float16]),
    ("FastGelu", &[Float32, Float16]),
    ("FusedMatMul", &[Float32, Float16]),
    ("Gather", &[Float32, Float16, Int64]),
    ("Gelu", &[Float32, Float16]),
    ("Greater", &[Int64]),
    ("Identity", &[Float32]),
    ("LayerNormalization", &[Float32, Float16]),
    ("MatMul", &[Float32, Float16]),
    ("MatMulNBits", &[Float16]),
    ("Mul", &[Float32, Float16]),
    ("PackedMultiHeadAttention", &[Float32, Float16]),
    ("QuickGelu", &[Float32, Float16]),
    ("Relu", &[Float32, Float16]),
    ("Reshape", &[Float32, Float16]),
    ("RotaryEmbedding", &[Float32, Float16]),
    ("SimplifiedLayerNormalization", &[Float32]),
    ("SkipLayerNormalization", &[Float32, Float16]),
    ("Slice", &[Float32, Float16]),
    ("Sub", &[Int64]),
    ("Tanh", &[Float32, Float16]),
    ("Transpose", &[Float32, Float16, Int64]),
    ("Unsqueeze", &[Float32, Float16]),
];

/// Reads a truth value first.
const WHERE: [Element; 2] = [Float32, Float16];

/// What the numbers of every node's first input are. An output is what the first input is, but for `Cast`, and for `Where`,
/// whose first is a truth value.
fn elements(graph: &onnx::Graph) -> Vec<(&'static str, Element)> {
    let mut known: HashMap<&str, Element> = HashMap::new();
    known.extend(graph.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.element)));
    known.extend(graph.inputs.iter().map(|port| (port.name, port.element)));
    let mut used = Vec::new();
    for node in &graph.nodes {
        let deciding = usize::from(node.kind == "Where");
        let element = known[node.inputs[deciding].as_str()];
        used.push((node.kind, element));
        let to = node.attributes.iter().find_map(|(name, value)| match value {
            onnx::Attribute::Integer(to) if node.kind == "Cast" && *name == "to" => Some(*to),
            _ => None,
        });
        let output = match to {
            Some(to) => {
                [Float32, Float16, Int32, Int64].into_iter().find(|element| *element as i64 == to).unwrap()
            }
            None => element,
        };
        known.extend(node.outputs.iter().map(|name| (name.as_str(), output)));
    }
    used
}

#[test]
fn every_node_for_a_gpu_has_code_there() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models");
    let mut networks = 0;
    for folder in std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()) {
        // A folder is good for some of the tasks.
        for model in Task::ALL.into_iter().filter_map(|task| Model::open(&folder, task, None).ok()) {
            for precision in [Precision::Float32, Precision::Float16, Precision::Int8Weights] {
                let style = Style { precision, dialect: Dialect::Cuda, packed: true };
                let lowered = lower(&model.graph, &model.weights, style).unwrap();
                for (kind, element) in elements(&lowered.graph) {
                    let kernels =
                        KERNELS.iter().find(|(known, _)| *known == kind).map(|(_, elements)| *elements);
                    let kernels = kernels.or((kind == "Where").then_some(&WHERE));
                    let has = kernels.is_some_and(|elements| elements.contains(&element));
                    assert!(has, "{}: {kind} of {element:?} at {precision:?}", folder.display());
                }
                networks += 1;
            }
        }
    }
    assert!(networks > 60, "{networks}");
}
