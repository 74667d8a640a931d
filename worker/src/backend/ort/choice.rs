//! The knobs of ONNX Runtime, and what a candidate chooses by them.

use crate::backend::{BackendError, Device, knobs};
use crate::knob::{Applies, Candidate, Kind, KnobSpec, Value};

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

const DTYPES: [(&str, Dtype); 5] = [
    ("fp32", Dtype::Of(Precision::Float32)),
    ("fp16", Dtype::Of(Precision::Float16)),
    ("int8", Dtype::Of(Precision::Int8)),
    ("int8-weights", Dtype::Of(Precision::Int8Weights)),
    ("bf16", Dtype::Bf16),
];
const PROVIDERS: [(&str, Wanted); 5] = [
    ("auto", Wanted::WhateverIsThere),
    ("cpu", Wanted::Cpu),
    ("cuda", Wanted::Cuda),
    ("openvino", Wanted::Openvino),
    ("coreml", Wanted::Coreml),
];
const SOURCES: [(&str, Source); 2] = [("lowered", Source::Lowered), ("file", Source::File)];
const ARENAS: [(&str, Arena); 2] =
    [("next_power_of_two", Arena::NextPowerOfTwo), ("same_as_requested", Arena::SameAsRequested)];

const PROVIDER: &str = "provider";
const ARENA: &str = "arena";
const TF32: &str = "tf32";
const CUDA_GRAPH: &str = "cuda_graph";

/// What `provider` may say; which of them it comes to depends on where the candidate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    WhateverIsThere,
    Cpu,
    Cuda,
    Openvino,
    Coreml,
}

/// The first value of a choice is its default, and costs no quality.
pub fn knobs() -> Vec<KnobSpec> {
    let load = |name: &str, kind: Kind, default: &str, help: &str| {
        KnobSpec::new(name, Applies::Load, kind, Value::Text(default.to_owned()), help)
    };
    let switch =
        |name: &str, help: &str| KnobSpec::new(name, Applies::Load, Kind::Switch, Value::Switch(false), help);
    vec![
        knobs::dtype(
            &DTYPES.map(|(name, _)| name),
            "numbers of the network: fp32, fp16, 8 bits for weights and activations (int8; not on GPUs), 8 bits for \
             weights only, or bf16 (openvino only)",
        ),
        load(
            PROVIDER,
            choices(&PROVIDERS),
            PROVIDERS[0].0,
            "what computes inside of ONNX Runtime: what the device has (auto: its own CPU code, its CUDA code, or \
             CoreML), one of these by name, or Intel's OpenVINO (fp32, bf16)",
        ),
        knobs::threads(),
        knobs::memory_fraction(),
        load(
            "graph",
            choices(&SOURCES),
            SOURCES[0].0,
            "where the graph comes from: made of the checkpoint, or the model folder's own ONNX file",
        ),
        load(
            ARENA,
            choices(&ARENAS),
            ARENAS[0].0,
            "CUDA only: how the allocator's memory grows: by the next power of two, or by what is asked for",
        ),
        switch(TF32, "CUDA only: products of fp32 in TF32, with 10 bits behind the point in place of 23"),
        switch(
            CUDA_GRAPH,
            "CUDA only: padded batches of a shape that was seen before are launched as one graph, and not operator by \
             operator",
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

fn is_on(candidate: &Candidate, knob: &str) -> bool {
    candidate.knobs.get(knob) == Some(&Value::Switch(true))
}

/// A precision by its name, for those who have no candidate.
pub fn dtype(name: &str) -> Option<Precision> {
    DTYPES.iter().find_map(|(known, dtype)| match dtype {
        Dtype::Of(precision) if *known == name => Some(*precision),
        _ => None,
    })
}

/// What a candidate's `provider` comes to on a device.
pub fn provider(candidate: &Candidate, device: Device) -> Result<Provider, BackendError> {
    let wanted = choose(candidate, PROVIDER, &PROVIDERS)?;
    let refused = |why: String| Err(BackendError::Refused(why));
    let word = candidate.word(PROVIDER);
    match (wanted, device) {
        (Wanted::WhateverIsThere | Wanted::Cpu, Device::Processor) => Ok(Provider::Cpu),
        (Wanted::WhateverIsThere | Wanted::Cuda, Device::Cuda(number)) => Ok(Provider::Cuda(number)),
        (Wanted::Openvino, Device::Processor) => Ok(Provider::Openvino),
        (Wanted::WhateverIsThere | Wanted::Coreml, Device::Apple) if cfg!(feature = "coreml") => {
            Ok(Provider::Coreml)
        }
        (Wanted::WhateverIsThere | Wanted::Coreml, Device::Apple) => {
            refused("CoreML is left out of this build: it was built without the feature `coreml`".into())
        }
        (Wanted::Cpu | Wanted::Openvino, _) => {
            refused(format!("`{PROVIDER}` {word} computes on the processor, and the target is {device}"))
        }
        (Wanted::Cuda, _) => {
            refused(format!("`{PROVIDER}` cuda needs an NVIDIA GPU, and the target is {device}"))
        }
        (Wanted::Coreml, _) => {
            refused(format!("`{PROVIDER}` coreml needs Apple's GPU, and the target is {device}"))
        }
    }
}

impl Choice {
    /// What isn't set has its default.
    pub fn of(candidate: &Candidate, device: Device) -> Result<Choice, BackendError> {
        let choice = Choice {
            dtype: choose(candidate, knobs::DTYPE, &DTYPES)?,
            provider: provider(candidate, device)?,
            source: choose(candidate, "graph", &SOURCES)?,
            threads: knobs::threads_of(candidate),
            arena: choose(candidate, ARENA, &ARENAS)?,
            tf32: is_on(candidate, TF32),
            cuda_graph: is_on(candidate, CUDA_GRAPH),
        };
        choice.check().map_err(BackendError::Refused)?;
        Ok(choice)
    }

    /// What goes with what.
    fn check(&self) -> Result<(), String> {
        let dtype = DTYPES.iter().find(|(_, dtype)| *dtype == self.dtype).map_or("", |(name, _)| name);
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
                return Err("`graph` file computes shapes, which ONNX Runtime does on the CPU also in a GPU run; lowered \
                            computes none"
                    .into());
            }
            (Provider::Openvino, Dtype::Of(precision)) if precision != Precision::Float32 => {
                return Err(format!("`provider` openvino computes in fp32 and bf16, not in {dtype}"));
            }
            (Provider::Coreml, dtypes) if dtypes != Dtype::Of(Precision::Float32) => {
                return Err(format!("`provider` coreml is given fp32, not {dtype}"));
            }
            (Provider::Cuda(_), Dtype::Of(Precision::Int8)) => {
                return Err(
                    "dynamic int8 has no CUDA kernels: its nodes would run on the CPU; int8-weights has"
                        .into(),
                );
            }
            _ if self.source == Source::File && matches!(self.dtype, Dtype::Of(Precision::Int8Weights)) => {
                return Err(
                    "`graph` file has fp32, fp16 and int8: no stock export has 8-bit weights alone".into()
                );
            }
            _ => {}
        }
        if matches!(self.provider, Provider::Cuda(_)) {
            return Ok(());
        }
        // It would be measured twice under two names.
        let set = [(ARENA, self.arena != ARENAS[0].1), (TF32, self.tf32), (CUDA_GRAPH, self.cuda_graph)];
        match set.into_iter().find(|(_, set)| *set) {
            Some((knob, _)) => {
                Err(format!("`{knob}` is for CUDA: it changes nothing where the processor computes"))
            }
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
            ("magic", processor, "isn't one of auto, cpu, cuda"),
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
        assert_eq!(why, "dynamic int8 has no CUDA kernels: its nodes would run on the CPU; int8-weights has");
        assert!(of(&[("dtype", "bf16")], cuda).unwrap_err().contains("none for bf16"));
        assert!(of(&[("graph", "file")], cuda).unwrap_err().contains("computes shapes"));
        let openvino = of(&[("dtype", "bf16"), ("provider", "openvino")], Device::Processor).unwrap();
        assert_eq!(openvino.precision(), Precision::Float32);
    }

    #[test]
    fn a_knob_of_cuda_is_refused_where_it_changes_nothing() {
        for (knob, value) in [
            (ARENA, Value::Text("same_as_requested".into())),
            (TF32, Value::Switch(true)),
            (CUDA_GRAPH, Value::Switch(true)),
        ] {
            let candidate = candidate(&[(knob, value)]);
            assert!(Choice::of(&candidate, Device::Cuda(0)).is_ok(), "{knob}");
            let error = Choice::of(&candidate, Device::Processor).unwrap_err().to_string();
            assert!(error.contains(knob) && error.contains("is for CUDA"), "{error}");
        }
        let default = candidate(&[(ARENA, Value::Text("next_power_of_two".into()))]);
        assert!(Choice::of(&default, Device::Processor).is_ok());
    }
}
