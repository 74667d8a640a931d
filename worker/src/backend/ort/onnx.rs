//! The few messages of ONNX that a network needs, each of which writes itself. Knows no network.
//!
//! Field numbers are those of `onnx.proto`, version 3.

use std::borrow::Cow;
use std::path::Path;

use super::protobuf::Message;

/// The domain of the operators that only ONNX Runtime has.
pub const MICROSOFT: &str = "com.microsoft";

/// What a tensor's numbers are; the numbers of `TensorProto.DataType`, which are ONNX Runtime's as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Element {
    Float32 = 1,
    Uint8 = 2,
    Int8 = 3,
    Int32 = 6,
    Int64 = 7,
    Float16 = 10,
}

impl Element {
    /// As knobs call it.
    pub fn name(self) -> &'static str {
        match self {
            Element::Float32 => "fp32",
            Element::Uint8 => "uint8",
            Element::Int8 => "int8",
            Element::Int32 => "int32",
            Element::Int64 => "int64",
            Element::Float16 => "fp16",
        }
    }
}

/// A constant of the graph.
#[derive(Debug, Clone)]
pub struct Tensor<'w> {
    pub name: String,
    pub element: Element,
    pub shape: Vec<usize>,
    pub bytes: Cow<'w, [u8]>,
}

impl<'w> Tensor<'w> {
    pub fn new<T: bytemuck::NoUninit>(
        name: impl Into<String>,
        element: Element,
        shape: &[usize],
        numbers: &[T],
    ) -> Tensor<'w> {
        let bytes = Cow::Owned(bytemuck::cast_slice(numbers).to_vec());
        Tensor { name: name.into(), element, shape: shape.to_vec(), bytes }
    }

    /// Floats, as numbers of 16 bits where that's asked for.
    pub fn of(name: impl Into<String>, element: Element, shape: &[usize], floats: &[f32]) -> Tensor<'w> {
        if element != Element::Float16 {
            return Tensor::new(name, Element::Float32, shape, floats);
        }
        let halves: Vec<u16> = floats.iter().map(|number| half::f16::from_f32(*number).to_bits()).collect();
        Tensor::new(name, element, shape, &halves)
    }
}

/// Where a tensor's bytes are for whoever reads the graph.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Inline,
    /// In a file beside it, from this byte on.
    File(&'a Path, usize),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Integer(i64),
    Float(f32),
    Integers(Vec<i64>),
    Text(&'static str),
}

#[derive(Debug, Clone)]
pub struct Node {
    pub kind: &'static str,
    pub domain: &'static str,
    /// An empty name stands for one that isn't given.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A tensor that comes in or goes out; a dimension is a number or a name.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: &'static str,
    pub element: Element,
    pub shape: Vec<Dimension>,
}

#[derive(Debug, Clone)]
pub enum Dimension {
    Fixed(usize),
    Named(&'static str),
}

#[derive(Debug, Default)]
pub struct Graph<'w> {
    pub nodes: Vec<Node>,
    pub tensors: Vec<Tensor<'w>>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

impl Graph<'_> {
    /// The product of a number with itself: the least that makes a provider set up all that it needs.
    pub fn product() -> Graph<'static> {
        let port = |name| Port { name, element: Element::Float32, shape: vec![Dimension::Fixed(1); 2] };
        let inputs = vec!["input".to_owned(); 2];
        let outputs = vec!["output".to_owned()];
        let node = Node { kind: "FusedMatMul", domain: MICROSOFT, inputs, outputs, attributes: vec![] };
        Graph {
            nodes: vec![node],
            tensors: vec![],
            inputs: vec![port("input")],
            outputs: vec![port("output")],
        }
    }
}

/// 2023's, which every reader of operator set 17 knows.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;

impl Graph<'_> {
    /// The whole model's bytes; `place` says for each tensor where its own are.
    pub fn encode<'a>(&self, place: impl Fn(&Tensor) -> Place<'a>) -> Vec<u8> {
        let mut model = Message::default();
        model.integer(1, IR_VERSION);
        model.text(2, "autotune");
        model.nested(7, |graph| {
            for node in &self.nodes {
                graph.nested(1, |message| node.encode(message));
            }
            graph.text(2, "network");
            for tensor in &self.tensors {
                graph.nested(5, |message| tensor.encode(message, place(tensor)));
            }
            for port in &self.inputs {
                graph.nested(11, |message| port.encode(message));
            }
            for port in &self.outputs {
                graph.nested(12, |message| port.encode(message));
            }
        });
        let needs_microsoft = self.nodes.iter().any(|node| node.domain == MICROSOFT);
        for (domain, version) in [("", OPERATOR_SET), (MICROSOFT, 1)] {
            if domain.is_empty() || needs_microsoft {
                model.nested(8, |set| {
                    set.text(1, domain);
                    set.integer(2, version);
                });
            }
        }
        model.finish()
    }
}

impl Tensor<'_> {
    fn encode(&self, message: &mut Message, place: Place) {
        for length in &self.shape {
            message.integer(1, *length as i64);
        }
        message.integer(2, self.element as i64);
        message.text(8, &self.name);
        let mut entry = |key: &str, value: &str| {
            message.nested(13, |entry| {
                entry.text(1, key);
                entry.text(2, value);
            });
        };
        match place {
            Place::Inline => message.raw(9, &self.bytes),
            Place::File(path, offset) => {
                entry("location", &path.to_string_lossy());
                entry("offset", &offset.to_string());
                entry("length", &self.bytes.len().to_string());
                const EXTERNAL: i64 = 1;
                message.integer(14, EXTERNAL);
            }
        }
    }
}

impl Node {
    fn encode(&self, message: &mut Message) {
        self.inputs.iter().for_each(|name| message.text(1, name));
        self.outputs.iter().for_each(|name| message.text(2, name));
        // Profiles name nodes.
        message.text(3, self.outputs.first().map_or("", String::as_str));
        message.text(4, self.kind);
        for (name, attribute) in &self.attributes {
            message.nested(5, |message| {
                message.text(1, name);
                match attribute {
                    Attribute::Float(value) => {
                        message.float(2, *value);
                        message.integer(20, 1);
                    }
                    Attribute::Integer(value) => {
                        message.integer(3, *value);
                        message.integer(20, 2);
                    }
                    Attribute::Integers(values) => {
                        values.iter().for_each(|value| message.integer(8, *value));
                        message.integer(20, 7);
                    }
                    Attribute::Text(value) => {
                        message.text(4, value);
                        message.integer(20, 3);
                    }
                }
            });
        }
        message.text(7, self.domain);
    }
}

impl Port {
    fn encode(&self, message: &mut Message) {
        message.text(1, self.name);
        message.nested(2, |kind| {
            kind.nested(1, |tensor| {
                tensor.integer(1, self.element as i64);
                tensor.nested(2, |shape| {
                    for dimension in &self.shape {
                        shape.nested(1, |message| match dimension {
                            Dimension::Fixed(length) => message.integer(1, *length as i64),
                            Dimension::Named(name) => message.text(2, name),
                        });
                    }
                });
            });
        });
    }
}
