//! Operators of a GPU in those that processors have, for tests: attention over packed batches out of the very inputs that
//! the operator for GPUs is given, and products with 8-bit weights in fp32.

use super::lower::Input;
use super::onnx::{Attribute, Element, Graph, Node, Tensor};

const KIND: &str = "PackedMultiHeadAttention";

/// Puts other operators in the place of those that processors don't have, or have wrong.
pub fn rewrite(graph: &mut Graph, activations: Element) {
    multiply_in_fp32(graph);
    unpack(graph, activations);
}

/// ONNX Runtime 1.31's product of fp16 with 8-bit weights is wrong on processors for some shapes (ModernBERT's fixtures).
fn multiply_in_fp32(graph: &mut Graph) {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut writer = Writer::of("fp32");
    let to = |element: Element| vec![("to", Attribute::Integer(element as i64))];
    for mut node in nodes {
        let scales = graph.tensors.iter_mut().find(|tensor| node.inputs.get(2) == Some(&tensor.name));
        match scales {
            Some(scales) if node.kind == "MatMulNBits" && scales.element == Element::Float16 => {
                let halves: Vec<half::f16> = bytemuck::pod_collect_to_vec::<u8, u16>(&scales.bytes)
                    .into_iter()
                    .map(half::f16::from_bits)
                    .collect();
                let floats: Vec<f32> = halves.into_iter().map(f32::from).collect();
                *scales = Tensor::new(scales.name.clone(), Element::Float32, &scales.shape.clone(), &floats);
                node.inputs[0] = writer.node("", "Cast", &[&node.inputs[0]], to(Element::Float32));
                let product = format!("{} in fp32", node.outputs[0]);
                let output = std::mem::replace(&mut node.outputs[0], product.clone());
                writer.nodes.push(node);
                writer.named("", "Cast", &[&product], to(Element::Float16), output);
            }
            _ => writer.nodes.push(node),
        }
    }
    graph.nodes = writer.nodes;
}

fn unpack(graph: &mut Graph, element: Element) {
    if graph.nodes.iter().all(|node| node.kind != KIND) {
        return;
    }
    let mut writer = Writer::of("unpacked");
    let [one, axis, minus_one] = [1, 0, -1].map(|number| writer.integers(&format!("{number}"), &[number]));
    let end = writer.integers("end", &[i64::MAX]);
    let (offsets, starts) = (Input::Offsets.name(), Input::Starts.name());
    let dimensions = |key| vec![(key, Attribute::Integer(1))];
    let concat = || vec![("axis", Attribute::Integer(0))];
    // Lengths are what lies between starts. Attention to nothing is no number.
    let ends = writer.node("", "Slice", &[starts, &one, &end, &axis], vec![]);
    let begins = writer.node("", "Slice", &[starts, &axis, &minus_one, &axis], vec![]);
    let lengths = writer.node("", "Sub", &[&ends, &begins], vec![]);
    let least = writer.tensor(Tensor::new("unpacked least", Element::Int32, &[1], &[1_i32]));
    let lengths = writer.node("", "Max", &[&lengths, &least], vec![]);
    let all = writer.node("", "Reshape", &[offsets, &minus_one], vec![]);
    let all = writer.node("", "Cast", &[&all], vec![("to", Attribute::Integer(Element::Int64 as i64))]);
    let (grid, places) =
        (writer.node("", "Shape", &[offsets], vec![]), writer.node("", "Shape", &[&all], vec![]));
    // Nonsense in the places that hold nothing, which nobody may see.
    let nonsense = writer.tensor(Tensor::of("unpacked nonsense", element, &[1], &[7.0]));
    for node in std::mem::take(&mut graph.nodes) {
        if node.kind != KIND {
            writer.nodes.push(node);
            continue;
        }
        let width = writer.node("", "Shape", &[&node.inputs[0]], dimensions("start"));
        let rows = writer.node("", "Shape", &[&node.inputs[0]], dimensions("end"));
        let held = writer.node("", "Slice", &[&all, &axis, &rows, &axis], vec![]);
        let indices = writer.node("", "Unsqueeze", &[&held, &minus_one], vec![]);
        let flat = writer.node("", "Concat", &[&places, &width], concat());
        let padded = writer.node("", "Concat", &[&grid, &width], concat());
        let nothing = writer.node("", "Expand", &[&nonsense, &flat], vec![]);
        let mut spread = |input: &str| {
            let scattered = writer.node("", "ScatterND", &[&nothing, &indices, input], vec![]);
            writer.node("", "Reshape", &[&scattered, &padded], vec![])
        };
        let [queries, keys, values] = [0, 1, 2].map(|place| spread(&node.inputs[place]));
        let bias = node.inputs[3].as_str();
        let distances = node.inputs.get(6).map_or("", String::as_str);
        let inputs = [&queries, &keys, &values, bias, &lengths, distances];
        let attended = writer.node("com.microsoft", "MultiHeadAttention", &inputs, node.attributes.clone());
        let attended = writer.node("", "Reshape", &[&attended, &flat], vec![]);
        writer.named("", "Gather", &[&attended, &held], concat(), node.outputs[0].clone());
    }
    graph.nodes = writer.nodes;
    graph.tensors.extend(writer.tensors);
}

struct Writer<'w> {
    pass: &'static str,
    nodes: Vec<Node>,
    tensors: Vec<Tensor<'w>>,
}

type Attributes = Vec<(&'static str, Attribute)>;

impl<'w> Writer<'w> {
    fn of(pass: &'static str) -> Writer<'w> {
        Writer { pass, nodes: Vec::new(), tensors: Vec::new() }
    }

    fn node(
        &mut self,
        domain: &'static str,
        kind: &'static str,
        inputs: &[&str],
        attributes: Attributes,
    ) -> String {
        let name = format!("{kind} {} {}", self.pass, self.nodes.len());
        self.named(domain, kind, inputs, attributes, name.clone());
        name
    }

    fn named(
        &mut self,
        domain: &'static str,
        kind: &'static str,
        inputs: &[&str],
        attributes: Attributes,
        output: String,
    ) {
        let given = inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        let inputs = inputs[..given].iter().map(|name| (*name).to_owned()).collect();
        self.nodes.push(Node { kind, domain, inputs, outputs: vec![output], attributes });
    }

    fn tensor(&mut self, tensor: Tensor<'w>) -> String {
        let name = tensor.name.clone();
        if self.tensors.iter().all(|known| known.name != name) {
            self.tensors.push(tensor);
        }
        name
    }

    fn integers(&mut self, name: &str, numbers: &[i64]) -> String {
        self.tensor(Tensor::new(format!("unpacked {name}"), Element::Int64, &[numbers.len()], numbers))
    }
}
