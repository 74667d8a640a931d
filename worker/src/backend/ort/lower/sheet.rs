//! Where the nodes and constants of a lowered network are written down. Knows no network.

use std::borrow::Cow;

use indexmap::IndexMap;

use super::super::onnx::{Attribute, Element, MICROSOFT, Node, Tensor};

#[derive(Debug, Default)]
pub struct Sheet<'w> {
    pub nodes: Vec<Node>,
    pub tensors: IndexMap<String, Tensor<'w>>,
    made: usize,
}

pub fn integer(name: &'static str, value: i64) -> (&'static str, Attribute) {
    (name, Attribute::Integer(value))
}

pub fn integers(name: &'static str, values: &[i64]) -> (&'static str, Attribute) {
    (name, Attribute::Integers(values.to_vec()))
}

pub fn float(name: &'static str, value: f32) -> (&'static str, Attribute) {
    (name, Attribute::Float(value))
}

pub fn text(name: &'static str, value: &'static str) -> (&'static str, Attribute) {
    (name, Attribute::Text(value))
}

pub type Attributes = Vec<(&'static str, Attribute)>;

impl<'w> Sheet<'w> {
    /// A standard operator with one output.
    pub fn operator(&mut self, kind: &'static str, inputs: &[&str], attributes: Attributes) -> String {
        self.node("", kind, inputs, 1, attributes).swap_remove(0)
    }

    /// One of ONNX Runtime's own, with one output.
    pub fn fused(&mut self, kind: &'static str, inputs: &[&str], attributes: Attributes) -> String {
        self.node(MICROSOFT, kind, inputs, 1, attributes).swap_remove(0)
    }

    /// An operator with several outputs.
    pub fn node(
        &mut self,
        domain: &'static str,
        kind: &'static str,
        inputs: &[&str],
        outputs: usize,
        attributes: Attributes,
    ) -> Vec<String> {
        self.made += 1;
        let outputs: Vec<String> = (0..outputs)
            .map(|place| match place {
                0 => format!("{kind}_{}", self.made),
                _ => format!("{kind}_{}_{place}", self.made),
            })
            .collect();
        // Trailing inputs that aren't given are left out.
        let given = inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        self.nodes.push(Node {
            kind,
            domain,
            inputs: inputs[..given].iter().map(|name| (*name).to_owned()).collect(),
            outputs: outputs.clone(),
            attributes,
        });
        outputs
    }

    /// A standard operator of one input whose output has a name that others know.
    pub fn operator_named(&mut self, kind: &'static str, input: &str, output: &str) {
        self.nodes.push(Node {
            kind,
            domain: "",
            inputs: vec![input.to_owned()],
            outputs: vec![output.to_owned()],
            attributes: vec![],
        });
    }

    /// A constant; the first of a name is kept.
    pub fn tensor(&mut self, tensor: Tensor<'w>) -> String {
        let name = tensor.name.clone();
        self.tensors.entry(name.clone()).or_insert(tensor);
        name
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// Floats, where they lie if they can stay there.
    pub fn floats(&mut self, name: &str, shape: &[usize], floats: Cow<'w, [f32]>) -> String {
        let bytes = match floats {
            Cow::Borrowed(floats) => Cow::Borrowed(bytemuck::cast_slice(floats)),
            Cow::Owned(floats) => Cow::Owned(bytemuck::cast_slice(&floats).to_vec()),
        };
        let element = Element::Float32;
        self.tensor(Tensor { name: name.to_owned(), element, shape: shape.to_vec(), bytes })
    }

    /// Integers, under a name that they and their shape make.
    pub fn integers(&mut self, shape: &[usize], numbers: &[i64]) -> String {
        self.tensor(Tensor::new(format!("integers {shape:?} {numbers:?}"), Element::Int64, shape, numbers))
    }

    /// A float, under a name that it makes.
    pub fn scalar(&mut self, number: f32) -> String {
        self.scalar_of(number, Element::Float32)
    }

    pub fn scalar_of(&mut self, number: f32, element: Element) -> String {
        let name = match element {
            Element::Float32 => format!("float {number:?}"),
            other => format!("{other:?} {number:?}"),
        };
        self.tensor(Tensor::of(name, element, &[], &[number]))
    }

    /// The same numbers as others.
    pub fn cast(&mut self, input: &str, element: Element) -> String {
        self.operator("Cast", &[input], vec![integer("to", element as i64)])
    }
}
