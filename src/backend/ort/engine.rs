//! A session of ONNX Runtime: made of a lowered graph or of a file, fed with integers, asked for floats.
//!
//! Everything unsafe of this backend is here. Knows no task.

use std::borrow::Cow;
use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::MemoryInfo;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::sys::OrtValue;
use ort::value::{TensorElementType, TensorRef};

use super::choice::{Choice, Dtype, Provider};
use super::lower::Lowered;
use super::onnx::{Element, Place, Tensor};
use crate::backend::BackendError;
use crate::model::Weights;

/// Smaller tensors travel inside of the graph, where ONNX Runtime reads them while it checks shapes.
const LEAST_APART: usize = 4096;

/// How often that is done: within this time some tens of megabytes are packed.
const RELEASE_EVERY: Duration = Duration::from_millis(10);

pub struct Engine {
    // Before the memory that it reads.
    session: Session,
    /// Weights that were made for it.
    _made: Vec<Vec<u8>>,
}

/// A matrix of whole numbers to be read, or of more dimensions.
pub struct Given<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub numbers: &'a [i64],
}

impl Engine {
    /// A session over a lowered network.
    ///
    /// # Safety
    ///
    /// The session reads the memory that borrowed tensors point to: `weights`, whose tensors they are, must outlive it.
    pub unsafe fn lowered(
        environment: &Environment,
        choice: &Choice,
        lowered: Lowered,
        weights: &Weights,
    ) -> Result<Engine, BackendError> {
        // What is lowered is as it should be; for another provider it's better left for that to see whole.
        let mut builder = options(environment, choice, GraphOptimizationLevel::Disable)?;
        let apart = Path::new("weights");
        let is_apart = |tensor: &Tensor| tensor.bytes.len() >= LEAST_APART;
        let bytes = lowered
            .graph
            .encode(|tensor| if is_apart(tensor) { Place::File(apart, 0) } else { Place::Inline });
        let (mut mapped, mut made) = (Vec::new(), Vec::new());
        for tensor in lowered.graph.tensors.into_iter().filter(is_apart) {
            // SAFETY: what is borrowed outlives the session, as our caller promises, and what was made is kept with it:
            // moving a vector leaves its numbers where they are.
            unsafe { give(&mut builder, &tensor) }.map_err(failed)?;
            match tensor.bytes {
                Cow::Borrowed(_) => mapped.push(tensor.name),
                Cow::Owned(bytes) => made.push(bytes),
            }
        }
        let session = releasing(weights, &mapped, || builder.commit_from_memory(&bytes)).map_err(failed)?;
        Ok(Engine { session, _made: made })
    }

    /// A session over somebody's own file.
    pub fn file(environment: &Environment, choice: &Choice, path: &Path) -> Result<Engine, BackendError> {
        let mut builder = options(environment, choice, GraphOptimizationLevel::All)?;
        let session = builder.commit_from_file(path).map_err(failed)?;
        Ok(Engine { session, _made: Vec::new() })
    }

    pub fn inputs(&self) -> Vec<String> {
        self.session.inputs().iter().map(|port| port.name().to_owned()).collect()
    }

    pub fn outputs(&self) -> Vec<String> {
        self.session.outputs().iter().map(|port| port.name().to_owned()).collect()
    }

    /// Runs the graph, and shows one of its outputs and its shape to `read`.
    pub fn run<T>(
        &mut self,
        given: &[Given],
        output: &str,
        read: impl FnOnce(&[i64], &[f32]) -> T,
    ) -> Result<T, BackendError> {
        let mut inputs = Vec::with_capacity(given.len());
        for Given { name, shape, numbers } in given {
            let value = TensorRef::from_array_view((shape.clone(), *numbers)).map_err(failed)?;
            inputs.push((*name, SessionInputValue::from(value)));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let value = outputs
            .get(output)
            .ok_or_else(|| BackendError::Failed(format!("the graph gave no output {output:?}")))?;
        let (shape, floats) = value.try_extract_tensor::<f32>().map_err(failed)?;
        Ok(read(shape, floats))
    }
}

/// What every session is told, whatever it runs.
fn options(
    environment: &Environment,
    choice: &Choice,
    level: GraphOptimizationLevel,
) -> Result<SessionBuilder, BackendError> {
    let build = || -> ort::Result<SessionBuilder> {
        let mut builder = Session::builder(environment)?
            .with_optimization_level(level)?
            // Lengths differ from batch to batch: a pattern for each of them would be kept for ever.
            .with_memory_pattern(false)?
            // Packed weights are of known size and stay: they don't belong where memory is taken by powers of two.
            .with_device_allocated_initializers()?
            .with_intra_threads(choice.threads)?;
        if choice.provider == Provider::Openvino {
            builder = builder.with_disable_cpu_fallback()?;
            openvino(&mut builder, choice)?;
        }
        Ok(builder)
    };
    build().map_err(failed)
}

/// OpenVINO picks bf16 by itself where the processor has it: so the precision is always said.
fn openvino(builder: &mut SessionBuilder, choice: &Choice) -> ort::Result<()> {
    let precision = if choice.dtype == Dtype::Bf16 { "bf16" } else { "f32" };
    let options = [
        ("device_type", "CPU".to_owned()),
        ("load_config", format!(r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{precision}"}}}}"#)),
        ("num_of_threads", choice.threads.to_string()),
    ];
    let text = |text: &str| CString::new(text).map_err(ort::Error::wrap);
    let name = text("OpenVINOExecutionProvider")?;
    let keys = options.iter().map(|(key, _)| text(key)).collect::<ort::Result<Vec<_>>>()?;
    let values = options.iter().map(|(_, value)| text(value)).collect::<ort::Result<Vec<_>>>()?;
    let keys: Vec<_> = keys.iter().map(|key| key.as_ptr()).collect();
    let values: Vec<_> = values.iter().map(|value| value.as_ptr()).collect();
    // SAFETY: the pointers are to strings that live until the end of this function; the library copies them.
    let status = unsafe {
        (ort::api().SessionOptionsAppendExecutionProvider)(
            builder.ptr_mut(),
            name.as_ptr(),
            keys.as_ptr(),
            values.as_ptr(),
            keys.len(),
        )
    };
    // SAFETY: the status has just come from the library, and is nobody else's.
    unsafe { ort::Error::result_from_status(status) }
}

/// Hands a tensor to the session to be, where it lies.
///
/// # Safety
///
/// Its bytes must outlive the session.
unsafe fn give(builder: &mut SessionBuilder, tensor: &Tensor) -> ort::Result<()> {
    let name = CString::new(tensor.name.as_str()).map_err(ort::Error::wrap)?;
    let shape: Vec<i64> = tensor.shape.iter().map(|length| *length as i64).collect();
    let memory = MemoryInfo::default();
    let mut value: *mut OrtValue = std::ptr::null_mut();
    // SAFETY: the bytes outlive the session, as our caller promises, and the library only reads initialisers.
    let status = unsafe {
        (ort::api().CreateTensorWithDataAsOrtValue)(
            memory.ptr(),
            tensor.bytes.as_ptr().cast_mut().cast(),
            tensor.bytes.len(),
            shape.as_ptr(),
            shape.len(),
            element(tensor.element).into(),
            &mut value,
        )
    };
    // SAFETY: the status has just come from the library, and is nobody else's.
    unsafe { ort::Error::result_from_status(status) }?;
    // SAFETY: name and value are whole; the library copies the one and shares the other.
    let status = unsafe {
        (ort::api().AddExternalInitializers)(builder.ptr_mut(), &name.as_ptr(), &value.cast_const(), 1)
    };
    // SAFETY: as above; and the value was made here, and is shared by the options by now, or by nobody.
    unsafe {
        let added = ort::Error::result_from_status(status);
        (ort::api().ReleaseValue)(value);
        added
    }
}

fn element(element: Element) -> TensorElementType {
    match element {
        Element::Float32 => TensorElementType::Float32,
        Element::Uint8 => TensorElementType::Uint8,
        Element::Int8 => TensorElementType::Int8,
        Element::Int32 => TensorElementType::Int32,
        Element::Int64 => TensorElementType::Int64,
        Element::Float16 => TensorElementType::Float16,
    }
}

/// Does `work`, which reads weights and keeps a copy of its own (ONNX Runtime 1.31 copies tables as they are and
/// packs the rest), and meanwhile gives the pages of the file that it has read back to the system: else the most memory
/// in use would be twice that of the weights.
fn releasing<T>(weights: &Weights, names: &[String], work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let release = || names.iter().for_each(|name| weights.release(name));
    let worked = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(RELEASE_EVERY);
                release();
            }
        });
        // Also when the work breaks, or the thread above would go on for ever.
        let _guard = Done(&done);
        work()
    });
    // What was read since the last time.
    release();
    worked
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The library's errors as ours. Those of memory are told by their words, for they have no code of their own.
pub fn failed<R>(error: ort::Error<R>) -> BackendError {
    let message = error.to_string();
    let lower = message.to_lowercase();
    let memory = ["bad_alloc", "failed to allocate", "out of memory", "cannot allocate", "bad allocation"];
    if memory.iter().any(|words| lower.contains(words)) {
        BackendError::OutOfMemory(message)
    } else {
        BackendError::Failed(message)
    }
}
