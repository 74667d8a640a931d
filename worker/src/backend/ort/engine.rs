//! A session of ONNX Runtime: made of a lowered graph or of a file, fed with integers, asked for floats.
//!
//! With `bound.rs` and `cuda.rs` it holds what is unsafe in this backend. Knows no task.

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
use ort::value::{PrimitiveTensorElementType, TensorRef};

use super::call::{Options, checked, element, failed};
use super::choice::{Choice, Dtype, Provider};
use super::cuda::{self, Card};
use super::lower::Lowered;
use super::onnx::{Element, Graph, Place, Tensor};
use crate::backend::BackendError;
use crate::model::Weights;

/// Smaller tensors travel inside of the graph, where ONNX Runtime reads them while it checks shapes.
const LEAST_APART: usize = 4096;

/// How often that is done: within this time some tens of megabytes are packed.
const RELEASE_EVERY: Duration = Duration::from_millis(10);

pub struct Engine {
    // Before the memory that it reads.
    pub(super) session: Session,
    /// Weights that were made for it.
    _made: Vec<Vec<u8>>,
}

/// A matrix to be read, or of more dimensions.
pub struct Given<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub numbers: Numbers<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    Long(&'a [i64]),
    Int(&'a [i32]),
    Float(&'a [f32]),
}

impl<'a> Numbers<'a> {
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Numbers::Long(numbers) => bytemuck::cast_slice(numbers),
            Numbers::Int(numbers) => bytemuck::cast_slice(numbers),
            Numbers::Float(numbers) => bytemuck::cast_slice(numbers),
        }
    }

    pub fn element(self) -> Element {
        match self {
            Numbers::Long(_) => Element::Int64,
            Numbers::Int(_) => Element::Int32,
            Numbers::Float(_) => Element::Float32,
        }
    }
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
        card: Option<&Card>,
        lowered: Lowered,
        weights: &Weights,
    ) -> Result<Engine, BackendError> {
        if let Some(card) = card {
            card.has_room_for(lowered.graph.tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum())?;
        }
        // What is lowered is as it should be; for another provider it's better left for that to see whole.
        let mut builder = options(environment, choice, card, GraphOptimizationLevel::Disable)?;
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
        Engine { session, _made: made }.checked(card)
    }

    /// A session over somebody's own file.
    pub fn file(
        environment: &Environment,
        choice: &Choice,
        card: Option<&Card>,
        path: &Path,
    ) -> Result<Engine, BackendError> {
        let mut builder = options(environment, choice, card, GraphOptimizationLevel::All)?;
        let session = builder.commit_from_file(path).map_err(failed)?;
        Engine { session, _made: Vec::new() }.checked(card)
    }

    /// A session over a graph without weights of its own memory.
    pub fn plain(
        environment: &Environment,
        choice: &Choice,
        card: Option<&Card>,
        graph: &Graph,
    ) -> Result<Engine, BackendError> {
        let mut builder = options(environment, choice, card, GraphOptimizationLevel::Disable)?;
        let session = builder.commit_from_memory(&graph.encode(|_| Place::Inline)).map_err(failed)?;
        Engine { session, _made: Vec::new() }.checked(card)
    }

    /// Itself, if all of it runs where it should.
    fn checked(self, card: Option<&Card>) -> Result<Engine, BackendError> {
        match card.map(|_| cuda::strays(&self.session)).transpose()?.flatten() {
            Some(why) => Err(BackendError::Refused(why)),
            None => Ok(self),
        }
    }

    pub fn inputs(&self) -> Vec<String> {
        self.session.inputs().iter().map(|port| port.name().to_owned()).collect()
    }

    pub fn outputs(&self) -> Vec<String> {
        self.session.outputs().iter().map(|port| port.name().to_owned()).collect()
    }

    /// Runs the graph, and shows one of its outputs to `read`.
    pub fn run<T>(
        &mut self,
        given: &[Given],
        output: &str,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, BackendError> {
        let mut inputs = Vec::with_capacity(given.len());
        for Given { name, shape, numbers } in given {
            let value = match *numbers {
                Numbers::Long(numbers) => tensor(shape, numbers),
                Numbers::Int(numbers) => tensor(shape, numbers),
                Numbers::Float(numbers) => tensor(shape, numbers),
            };
            inputs.push((*name, value.map_err(failed)?));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let value = outputs
            .get(output)
            .ok_or_else(|| BackendError::Failed(format!("the graph returned no output {output:?}")))?;
        let (_, floats) = value.try_extract_tensor::<f32>().map_err(failed)?;
        Ok(read(floats))
    }
}

fn tensor<'n, T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
    shape: &[usize],
    numbers: &'n [T],
) -> ort::Result<SessionInputValue<'n>> {
    TensorRef::from_array_view((shape.to_vec(), numbers)).map(SessionInputValue::from)
}

/// What every session is told, whatever it runs.
fn options(
    environment: &Environment,
    choice: &Choice,
    card: Option<&Card>,
    level: GraphOptimizationLevel,
) -> Result<SessionBuilder, BackendError> {
    let build = || -> ort::Result<SessionBuilder> {
        let mut builder = Session::builder(environment)?
            .with_optimization_level(level)?
            // Lengths differ from batch to batch: a pattern for each of them would be kept for ever.
            .with_memory_pattern(false)?
            // Weights are of known size and stay: they don't belong where memory is taken by powers of two. On a GPU the
            // allocator counts them against its limit, but doesn't refuse them: `has_room_for` does.
            .with_device_allocated_initializers()?
            .with_intra_threads(choice.threads)?;
        match (choice.provider, card) {
            (Provider::Openvino, _) => {
                builder = builder.with_disable_cpu_fallback()?;
                openvino(&mut builder, choice)?;
            }
            (Provider::Coreml, _) => {
                builder = builder.with_disable_cpu_fallback()?;
                append(&mut builder, "CoreML", &[])?;
            }
            (Provider::Cuda(_), Some(card)) => {
                // Without `with_disable_cpu_fallback`: its error names no node, and `checked` does.
                builder = builder.with_config_entry("session.record_ep_graph_assignment_info", "1")?;
                cuda::append(&mut builder, choice, card)?;
            }
            _ => {}
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
    append(builder, "OpenVINOExecutionProvider", &options)
}

/// Adds a provider that has no function of its own for that.
fn append(builder: &mut SessionBuilder, name: &str, options: &[(&str, String)]) -> ort::Result<()> {
    let name = CString::new(name).map_err(ort::Error::wrap)?;
    let options = Options::of(options)?;
    let (keys, values) = options.pointers();
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
    // SAFETY: the status has just come from the library.
    unsafe { checked(status) }
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
    // SAFETY: the status has just come from the library.
    unsafe { checked(status) }?;
    // SAFETY: name and value are whole; the library copies the one and shares the other.
    let status = unsafe {
        (ort::api().AddExternalInitializers)(builder.ptr_mut(), &name.as_ptr(), &value.cast_const(), 1)
    };
    // SAFETY: as above; and the value was made here, and is shared by the options by now, or by nobody.
    unsafe {
        let added = checked(status);
        (ort::api().ReleaseValue)(value);
        added
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
