//! The knobs of ONNX Runtime, and what a candidate chooses by them.

use crate::backend::{BackendError, knobs};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, Value};

use super::lower::Precision;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Cpu,
    Openvino,
}

/// Where the graph comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Lowered,
    File,
}

/// How the numbers of the network are kept and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    Of(Precision),
    /// A matter of the provider: the graph is that of fp32.
    Bf16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub dtype: Dtype,
    pub provider: Provider,
    pub source: Source,
    /// Of one operator.
    pub threads: usize,
}

const DTYPES: [(&str, Dtype); 5] = [
    ("fp32", Dtype::Of(Precision::Float32)),
    ("fp16", Dtype::Of(Precision::Float16)),
    ("int8", Dtype::Of(Precision::Int8)),
    ("int8-weights", Dtype::Of(Precision::Int8Weights)),
    ("bf16", Dtype::Bf16),
];
const PROVIDERS: [(&str, Provider); 2] = [("cpu", Provider::Cpu), ("openvino", Provider::Openvino)];
const SOURCES: [(&str, Source); 2] = [("lowered", Source::Lowered), ("file", Source::File)];

/// The first value of a choice is its default, and costs no quality.
pub fn knobs() -> Vec<KnobSpec> {
    let load = |name: &str, kind: Kind, default: &str, help: &str| {
        KnobSpec::new(name, Applies::Load, kind, Value::Text(default.to_owned()), help)
    };
    vec![
        knobs::dtype(
            &DTYPES.map(|(name, _)| name),
            "numbers of the network: fp32, fp16, 8 bits for weights and activations (int8), 8 bits for weights only, \
             or bf16 (openvino only)",
        ),
        load(
            "provider",
            choices(&PROVIDERS),
            PROVIDERS[0].0,
            "what computes inside of ONNX Runtime: its own CPU code, or Intel's OpenVINO (fp32, bf16)",
        ),
        knobs::threads(),
        knobs::memory_fraction(),
        load(
            "graph",
            choices(&SOURCES),
            SOURCES[0].0,
            "where the graph comes from: made of the checkpoint, or the model folder's own ONNX file",
        ),
    ]
}

fn choices<T>(known: &[(&str, T)]) -> Kind {
    Kind::Choice(known.iter().map(|(name, _)| (*name).to_owned()).collect())
}

fn choose<T: Copy>(candidate: &Candidate, knob: &str, known: &[(&str, T)]) -> Result<T, BackendError> {
    let word = candidate.word(knob);
    if word.is_empty() {
        return Ok(known[0].1);
    }
    let found = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    found.ok_or_else(|| BackendError::Refused(format!("`{knob}` is {word:?}, and isn't {}", choices(known))))
}

/// A precision by its name, for those who have no candidate.
pub fn dtype(name: &str) -> Option<Precision> {
    DTYPES.iter().find_map(|(known, dtype)| match dtype {
        Dtype::Of(precision) if *known == name => Some(*precision),
        _ => None,
    })
}

impl Choice {
    /// What isn't set has its default.
    pub fn of(candidate: &Candidate) -> Result<Choice, BackendError> {
        let choice = Choice {
            dtype: choose(candidate, knobs::DTYPE, &DTYPES)?,
            provider: choose(candidate, "provider", &PROVIDERS)?,
            source: choose(candidate, "graph", &SOURCES)?,
            threads: knobs::threads_of(candidate),
        };
        choice.check().map_err(BackendError::Refused)?;
        Ok(choice)
    }

    /// What goes with what.
    fn check(&self) -> Result<(), String> {
        let dtype = DTYPES.iter().find(|(_, dtype)| *dtype == self.dtype).map_or("", |(name, _)| name);
        match (self.provider, self.dtype) {
            (Provider::Cpu, Dtype::Bf16) => {
                Err("`dtype` bf16 needs `provider` openvino: ONNX Runtime's own CPU code has no bf16".into())
            }
            (Provider::Openvino, Dtype::Of(precision)) if precision != Precision::Float32 => {
                Err(format!("`provider` openvino computes in fp32 and bf16, not in {dtype}"))
            }
            _ if self.source == Source::File && matches!(self.dtype, Dtype::Of(Precision::Int8Weights)) => {
                Err("`graph` file has fp32, fp16 and int8: no stock export has 8-bit weights alone".into())
            }
            _ => Ok(()),
        }
    }

    pub fn precision(&self) -> Precision {
        match self.dtype {
            Dtype::Of(precision) => precision,
            Dtype::Bf16 => Precision::Float32,
        }
    }
}
