//! What the architectures share: weights looked up and checked, and layers that several of them have.

use super::config::Config;
use super::error::ModelError;
use super::graph::{Activation, Graph, Operation, Pooling, Positions, Stack, Value, Weight};
use super::weights::Shapes;
use crate::task::Task;

/// Appends operations, checking each weight against the checkpoint where there is one.
pub struct Builder<'a> {
    pub config: Config<'a>,
    /// None when only the configuration is there: for a replica, or a prediction.
    checkpoint: Option<&'a dyn Shapes>,
    /// What stands before the names of the body's weights in this checkpoint.
    prefix: String,
    operations: Vec<Operation>,
}

/// The weights of a layer that normalises after each half, by their names.
pub struct PostNormLayer {
    pub query: String,
    pub key: String,
    pub value: String,
    pub attention_output: String,
    pub attention_norm: String,
    pub intermediate: String,
    pub output: String,
    pub output_norm: String,
}

/// What every layer of a network has alike.
pub struct LayerShape {
    pub width: usize,
    pub intermediate: usize,
    pub activation: Activation,
    pub epsilon: f32,
}

impl LayerShape {
    /// As BERT and most of its kin call what it's made of; `epsilon` is the architecture's own where the configuration has none.
    pub fn of(config: &Config, width: usize, epsilon: f64) -> Result<LayerShape, ModelError> {
        Ok(LayerShape {
            width,
            intermediate: config.count("intermediate_size")?,
            activation: config.activation("hidden_act", "gelu")?,
            epsilon: config.number("layer_norm_eps", epsilon)? as f32,
        })
    }
}

impl<'a> Builder<'a> {
    /// `prefixes` are those under which checkpoints of this architecture keep the body; `landmark` is a weight of it.
    pub fn new(
        config: &'a serde_json::Value,
        checkpoint: Option<&'a dyn Shapes>,
        prefixes: &[&str],
        landmark: &str,
    ) -> Builder<'a> {
        let has = |prefix: &&&str| {
            checkpoint.is_some_and(|checkpoint| checkpoint.shape(&format!("{prefix}{landmark}")).is_some())
        };
        // Without the landmark under any of them its absence is reported under the plain name.
        let prefix = prefixes.iter().find(has).copied().unwrap_or_default().to_owned();
        Builder { config: Config(config), checkpoint, prefix, operations: Vec::new() }
    }

    /// With the body's weights under this prefix.
    pub fn under(self, prefix: &str) -> Self {
        Builder { prefix: prefix.to_owned(), ..self }
    }

    pub fn push(&mut self, operation: Operation) -> Value {
        self.operations.push(operation);
        Value(self.operations.len() - 1)
    }

    pub fn finish(self, architecture: &str, task: Task, most_tokens: usize) -> Graph {
        Graph { architecture: architecture.to_owned(), task, operations: self.operations, most_tokens }
    }

    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.is_none_or(|checkpoint| checkpoint.shape(name).is_some())
    }

    /// A weight of the body.
    pub fn body(&self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        self.head(&format!("{}{name}", self.prefix), shape)
    }

    /// A weight outside of the body, by its full name.
    pub fn head(&self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        let weight = |name: String| Weight { name, shape: shape.to_vec() };
        let Some(checkpoint) = self.checkpoint else { return Ok(weight(name.to_owned())) };
        // Checkpoints that came from TensorFlow call them so.
        let older =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        let found = [name.to_owned(), older]
            .into_iter()
            .find_map(|name| checkpoint.shape(&name).map(|found| (name, found.to_vec())));
        match found {
            None => Err(ModelError::Missing(name.to_owned())),
            Some((name, found)) if found == shape => Ok(weight(name)),
            Some((name, found)) => Err(ModelError::Shape { name, found, wanted: shape.to_vec() }),
        }
    }

    /// Products of the body over one input as one, each with `rows` rows.
    pub fn linear(
        &mut self,
        input: Value,
        names: &[&str],
        rows: usize,
        columns: usize,
        activation: Option<Activation>,
    ) -> Result<Value, ModelError> {
        let weights = names.iter().map(|name| self.body(&format!("{name}.weight"), &[rows, columns]));
        let weight = Stack(weights.collect::<Result<_, _>>()?);
        let biases = names.iter().map(|name| self.body(&format!("{name}.bias"), &[rows]));
        let bias = Some(Stack(biases.collect::<Result<_, _>>()?));
        Ok(self.push(Operation::Linear { input, weight, bias, activation }))
    }

    /// A product outside of the body. The bias is there or it isn't.
    pub fn head_linear(
        &mut self,
        input: Value,
        name: &str,
        rows: usize,
        columns: usize,
        activation: Option<Activation>,
    ) -> Result<Value, ModelError> {
        let weight = Stack(vec![self.head(&format!("{name}.weight"), &[rows, columns])?]);
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(Stack(vec![self.head(&bias, &[rows])?])) } else { None };
        Ok(self.push(Operation::Linear { input, weight, bias, activation }))
    }

    pub fn layer_norm(
        &mut self,
        input: Value,
        residual: Option<Value>,
        name: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Value, ModelError> {
        let weight = self.body(&format!("{name}.weight"), &[width])?;
        let bias = Some(self.body(&format!("{name}.bias"), &[width])?);
        Ok(self.push(Operation::LayerNorm { input, residual, weight, bias, epsilon }))
    }

    /// Words, learned positions from `first` on, and types where there are some, normalised; and how many tokens that are.
    pub fn embedded(
        &mut self,
        width: usize,
        epsilon: f32,
        first: usize,
        types: Option<usize>,
    ) -> Result<(Value, usize), ModelError> {
        let words = self.config.count("vocab_size")?;
        let positions = self.config.count("max_position_embeddings")?;
        let Some(most_tokens) = positions.checked_sub(first).filter(|most| *most > 0) else {
            return Err(ModelError::Config(format!(
                "`max_position_embeddings` is {positions}, and must be more than {first}"
            )));
        };
        let table = self.body("embeddings.position_embeddings.weight", &[positions, width])?;
        let types = types.map(|types| self.body("embeddings.token_type_embeddings.weight", &[types, width]));
        let words = self.body("embeddings.word_embeddings.weight", &[words, width])?;
        let positions = Some(Positions { table, first });
        let sum = self.push(Operation::Embedding { words, positions, types: types.transpose()? });
        Ok((self.layer_norm(sum, None, "embeddings.LayerNorm", width, epsilon)?, most_tokens))
    }

    /// A layer that normalises after attention and after the two products behind it.
    pub fn post_norm_layer(
        &mut self,
        input: Value,
        names: &PostNormLayer,
        shape: &LayerShape,
        attention: impl FnOnce(Value) -> Operation,
    ) -> Result<Value, ModelError> {
        let LayerShape { width, intermediate, activation, epsilon, .. } = *shape;
        let qkv = self.linear(input, &[&names.query, &names.key, &names.value], width, width, None)?;
        let context = self.push(attention(qkv));
        let attended = self.linear(context, &[&names.attention_output], width, width, None)?;
        let middle = self.layer_norm(attended, Some(input), &names.attention_norm, width, epsilon)?;
        let inner = self.linear(middle, &[&names.intermediate], intermediate, width, Some(activation))?;
        let outer = self.linear(inner, &[&names.output], width, intermediate, None)?;
        self.layer_norm(outer, Some(middle), &names.output_norm, width, epsilon)
    }

    /// A vector for each text: what sentence-transformers' modules say, and no more.
    pub fn pooled(&mut self, hidden: Value, pooling: Pooling, normalise: bool) -> Value {
        let pooled = self.push(Operation::Pool { input: hidden, pooling });
        if normalise { self.push(Operation::Normalise { input: pooled }) } else { pooled }
    }

    /// How many labels the head tells apart: the classifier's rows say, and without a checkpoint the names do.
    pub fn label_count(&self, classifier: &str) -> Result<usize, ModelError> {
        let found = self.checkpoint.and_then(|checkpoint| checkpoint.shape(&format!("{classifier}.weight")));
        let named = self.config.labels()?.len();
        match found {
            Some(shape) if named > 0 && shape.first() != Some(&named) => Err(ModelError::Config(format!(
                "`id2label` names {named} labels, and the checkpoint's {:?} has the shape {shape:?}",
                format!("{classifier}.weight")
            ))),
            Some([rows, _]) if *rows > 0 => Ok(*rows),
            Some(shape) => Err(ModelError::Config(format!("{classifier}.weight has the shape {shape:?}"))),
            None if self.checkpoint.is_some() => Err(ModelError::Missing(format!("{classifier}.weight"))),
            None => Ok(named.max(1)),
        }
    }
}
