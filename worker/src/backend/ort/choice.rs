//! The knobs of ONNX Runtime, and what a candidate chooses by them.

use crate::backend::{BackendError, Device, knobs};
use crate::knob::{Applies, Candidate, Changes, Knob, KnobSpec};

use super::lower::Precision;

/// What computes inside of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    Cpu,
    /// On one of NVIDIA's cards, by its number.
    Cuda(u32),
    Openvino,
    Coreml,
}

impl Provider {
    /// The library that has it, by the name that provisioning knows it under.
    pub fn library(self) -> &'static str {
        match self {
            // Apple's builds have CoreML in the plain library.
            Provider::Cpu | Provider::Coreml => "cpu",
            Provider::Cuda(_) => "cuda",
            Provider::Openvino => "openvino",
        }
    }
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

/// By how much the allocator of a GPU's memory takes more than it's asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arena {
    NextPowerOfTwo,
    SameAsRequested,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub dtype: Dtype,
    pub provider: Provider,
    pub source: Source,
    /// Of one operator.
    pub threads: usize,
    pub arena: Arena,
    pub tf32: bool,
    pub cuda_graph: bool,
}

pub const DTYPE: Knob<Dtype> = Knob::choice(
    knobs::DTYPE,
    Applies::Load,
    &[
        ("fp32", Dtype::Of(Precision::Float32)),
        ("fp16", Dtype::Of(Precision::Float16)),
        ("int8", Dtype::Of(Precision::Int8)),
        ("int8-weights", Dtype::Of(Precision::Int8Weights)),
        ("bf16", Dtype::Bf16),
    ],
    "precision of the network: fp32, fp16, 8 bits for weights and activations (int8; not on GPUs), 8 bits for \
     weights only (int8-weights), or bf16 (openvino only)",
);

pub const PROVIDER: Knob<Wanted> = Knob::choice(
    "provider",
    Applies::Load,
    &[
        ("auto", Wanted::WhateverIsThere),
        ("cpu", Wanted::Cpu),
        ("cuda", Wanted::Cuda),
        ("openvino", Wanted::Openvino),
        ("coreml", Wanted::Coreml),
    ],
    "execution provider of ONNX Runtime: the one of the device (auto: its own CPU code, its CUDA code, or CoreML), \
     one of these by name, or Intel's OpenVINO (fp32, bf16)",
);

pub const GRAPH: Knob<Source> = Knob::choice(
    "graph",
    Applies::Load,
    &[("lowered", Source::Lowered), ("file", Source::File)],
    "where the graph comes from: built from the checkpoint, or the ONNX file in the model folder",
);

const ARENA: Knob<Arena> = Knob::choice(
    "arena",
    Applies::Load,
    &[("next_power_of_two", Arena::NextPowerOfTwo), ("same_as_requested", Arena::SameAsRequested)],
    "CUDA only: how the allocator's memory grows: by the next power of two, or by the requested size",
)
.changing(Changes::Speed);

const CUDA_GRAPH: Knob<bool> = Knob::switch(
    "cuda_graph",
    Applies::Load,
    "CUDA only: launch padded batches of a shape that occurred before as one graph, not operator by operator",
)
.changing(Changes::Speed);

/// What `provider` may say; which of them it comes to depends on where the candidate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    WhateverIsThere,
    Cpu,
    Cuda,
    Openvino,
    Coreml,
}

pub fn knobs() -> Vec<KnobSpec> {
    vec![
        DTYPE.spec(),
        PROVIDER.spec(),
        knobs::THREADS.spec(),
        knobs::MEMORY_FRACTION.spec(),
        GRAPH.spec(),
        ARENA.spec(),
        knobs::TF32.spec(),
        CUDA_GRAPH.spec(),
    ]
}

/// A precision by its name, for those who have no candidate.
pub fn dtype(name: &str) -> Option<Precision> {
    match DTYPE.named(name)? {
        Dtype::Of(precision) => Some(precision),
        Dtype::Bf16 => None,
    }
}

/// What a candidate's `provider` comes to on a device.
pub fn provider(candidate: &Candidate, device: Device) -> Result<Provider, BackendError> {
    let wanted = PROVIDER.of(candidate).map_err(BackendError::Refused)?;
    let refused = |why: String| Err(BackendError::Refused(why));
    let (name, word) = (PROVIDER.name, candidate.word(PROVIDER.name));
    match (wanted, device) {
        (Wanted::WhateverIsThere | Wanted::Cpu, Device::Processor) => Ok(Provider::Cpu),
        (Wanted::WhateverIsThere | Wanted::Cuda, Device::Cuda(number)) => Ok(Provider::Cuda(number)),
        (Wanted::Openvino, Device::Processor) => Ok(Provider::Openvino),
        (Wanted::WhateverIsThere | Wanted::Coreml, Device::Apple) if cfg!(feature = "coreml") => {
            Ok(Provider::Coreml)
        }
        (Wanted::WhateverIsThere | Wanted::Coreml, Device::Apple) => {
            refused("this build has no CoreML: it was built without the feature `coreml`".into())
        }
        (Wanted::Cpu | Wanted::Openvino, _) => {
            refused(format!("`{name}` {word} computes on the processor, and the target is {device}"))
        }
        (Wanted::Cuda, _) => {
            refused(format!("`{name}` cuda needs an NVIDIA GPU, and the target is {device}"))
        }
        (Wanted::Coreml, _) => {
            refused(format!("`{name}` coreml needs Apple's GPU, and the target is {device}"))
        }
    }
}

impl Choice {
    /// What isn't set has its default.
    pub fn of(candidate: &Candidate, device: Device) -> Result<Choice, BackendError> {
        let refused = BackendError::Refused;
        let choice = Choice {
            dtype: DTYPE.of(candidate).map_err(refused)?,
            provider: provider(candidate, device)?,
            source: GRAPH.of(candidate).map_err(refused)?,
            threads: knobs::threads_of(candidate),
            arena: ARENA.of(candidate).map_err(refused)?,
            tf32: knobs::TF32.of(candidate).map_err(refused)?,
            cuda_graph: CUDA_GRAPH.of(candidate).map_err(refused)?,
        };
        choice.check().map_err(BackendError::Refused)?;
        Ok(choice)
    }

    /// Whether each text is answered for by itself. Dynamic int8 has one scale for the activations of a whole batch; and what
    /// a graph out of a file does, nobody knows.
    pub fn has_independent_rows(&self) -> bool {
        self.source == Source::Lowered && self.dtype != Dtype::Of(Precision::Int8)
    }

    /// What goes with what.
    fn check(&self) -> Result<(), String> {
        let dtype = DTYPE.word(self.dtype);
        match (self.provider, self.dtype) {
            (Provider::Cpu, Dtype::Bf16) => {
                return Err(
                    "`dtype` bf16 needs `provider` openvino: ONNX Runtime's own CPU code has no bf16".into(),
                );
            }
            (Provider::Cuda(_), Dtype::Bf16) => {
                return Err("ONNX Runtime's attention over rows has CUDA kernels for fp32 and fp16, and none for bf16".into());
            }
            (Provider::Cuda(_), _) if self.source == Source::File => {
                return Err("`graph` file computes shapes, which ONNX Runtime does on the CPU even in a GPU run; use \
                            `graph` lowered, which computes none"
                    .into());
            }
            (Provider::Openvino, Dtype::Of(precision)) if precision != Precision::Float32 => {
                return Err(format!("`provider` openvino computes in fp32 and bf16, not in {dtype}"));
            }
            (Provider::Coreml, dtypes) if dtypes != Dtype::Of(Precision::Float32) => {
                return Err(format!("`provider` coreml supports fp32, not {dtype}"));
            }
            (Provider::Cuda(_), Dtype::Of(Precision::Int8)) => {
                return Err(
                    "dynamic int8 has no CUDA kernels: its nodes would run on the CPU; use int8-weights"
                        .into(),
                );
            }
            _ if self.source == Source::File && matches!(self.dtype, Dtype::Of(Precision::Int8Weights)) => {
                return Err(
                    "`graph` file supports fp32, fp16 and int8: no stock export has 8-bit weights only"
                        .into(),
                );
            }
            _ => {}
        }
        if matches!(self.provider, Provider::Cuda(_)) {
            return Ok(());
        }
        // It would be measured twice under two names.
        let grows = self.arena != Arena::NextPowerOfTwo;
        let set = [(ARENA.name, grows), (knobs::TF32.name, self.tf32), (CUDA_GRAPH.name, self.cuda_graph)];
        match set.into_iter().find(|(_, set)| *set) {
            Some((knob, _)) => Err(format!("`{knob}` is for CUDA: it has no effect on the processor")),
            None => Ok(()),
        }
    }

    pub fn precision(&self) -> Precision {
        match self.dtype {
            Dtype::Of(precision) => precision,
            Dtype::Bf16 => Precision::Float32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knob::Value;

    fn candidate(knobs: &[(&str, Value)]) -> Candidate {
        let knobs = knobs.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        Candidate { backend: "ort".into(), knobs }
    }

    fn of(knobs: &[(&str, &str)], device: Device) -> Result<Choice, String> {
        let knobs: Vec<_> = knobs.iter().map(|(name, word)| (*name, Value::Text((*word).into()))).collect();
        Choice::of(&candidate(&knobs), device).map_err(|error| error.to_string())
    }

    #[test]
    fn the_provider_is_the_devices_own_or_refused_by_name() {
        let provider = |word: &str, device| of(&[("provider", word)], device).map(|choice| choice.provider);
        let (processor, cuda) = (Device::Processor, Device::Cuda(1));
        assert_eq!(of(&[], processor).unwrap().provider, Provider::Cpu);
        assert_eq!(provider("auto", cuda), Ok(Provider::Cuda(1)));
        assert_eq!(provider("cuda", cuda), Ok(Provider::Cuda(1)));
        assert_eq!(provider("cpu", processor), Ok(Provider::Cpu));
        assert_eq!(provider("openvino", processor), Ok(Provider::Openvino));
        for (word, device, words) in [
            ("cpu", cuda, "computes on the processor, and the target is cuda:1"),
            ("openvino", cuda, "computes on the processor"),
            ("cuda", processor, "needs an NVIDIA GPU, and the target is cpu"),
            ("coreml", processor, "needs Apple's GPU"),
            ("cuda", Device::Apple, "the target is mps"),
            ("magic", processor, "is not one of auto, cpu, cuda"),
        ] {
            let why = provider(word, device).unwrap_err();
            assert!(why.contains(words), "{word}: {why}");
        }
        let apple = provider("auto", Device::Apple);
        if cfg!(feature = "coreml") {
            assert_eq!(apple, Ok(Provider::Coreml));
        } else {
            assert!(apple.unwrap_err().contains("built without"));
        }
    }

    #[test]
    fn a_precision_that_a_device_has_no_code_for_is_refused() {
        let cuda = Device::Cuda(0);
        for dtype in ["fp32", "fp16", "int8-weights"] {
            assert!(of(&[("dtype", dtype)], cuda).is_ok(), "{dtype}");
        }
        let why = of(&[("dtype", "int8")], cuda).unwrap_err();
        assert_eq!(why, "dynamic int8 has no CUDA kernels: its nodes would run on the CPU; use int8-weights");
        assert!(of(&[("dtype", "bf16")], cuda).unwrap_err().contains("none for bf16"));
        assert!(of(&[("graph", "file")], cuda).unwrap_err().contains("computes shapes"));
        let openvino = of(&[("dtype", "bf16"), ("provider", "openvino")], Device::Processor).unwrap();
        assert_eq!(openvino.precision(), Precision::Float32);
    }

    #[test]
    fn a_knob_of_cuda_is_refused_where_it_changes_nothing() {
        for (knob, value) in [
            (ARENA.name, Value::Text("same_as_requested".into())),
            (knobs::TF32.name, Value::Switch(true)),
            (CUDA_GRAPH.name, Value::Switch(true)),
        ] {
            let candidate = candidate(&[(knob, value)]);
            assert!(Choice::of(&candidate, Device::Cuda(0)).is_ok(), "{knob}");
            let error = Choice::of(&candidate, Device::Processor).unwrap_err().to_string();
            assert!(error.contains(knob) && error.contains("is for CUDA"), "{error}");
        }
        let default = candidate(&[(ARENA.name, Value::Text("next_power_of_two".into()))]);
        assert!(Choice::of(&default, Device::Processor).is_ok());
    }
}
