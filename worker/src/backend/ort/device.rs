//! A loaded model on a device with memory of its own: batches go there and answers come back in lanes, so that one is
//! computed while the next is prepared. The same code serves a card and, in tests, the host's own memory.

use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ort::environment::Environment;
use ort::memory::MemoryInfo;
use ort::session::{NoSelectedOutputs, RunOptions};

use super::bound::Laid;
use super::call::failed;
use super::choice::{Choice, Provider};
use super::cuda::Card;
use super::engine::Engine;
use super::flat::Flat;
use super::lower::{Dialect, Input};
use super::network::Networks;
use super::onnx::{self, Element};
use super::sizes::Sizes;
use crate::backend::gpu::lanes::{Computed, GRAIN};
use crate::backend::gpu::{DeviceMemory, Driver, Lanes, Nvidia, Share, Transfers};
use crate::backend::{
    BackendError, Batch, Device, Layout, Legend, LoadRequest, Output, Overlapped, Session, knobs,
};
use crate::knob::Candidate;
use crate::model::{Marks, Model, Tokenise};
use crate::units::Bytes;

pub struct DeviceSession<D: Driver + 'static> {
    // In the order in which they may go: what is under way ends, then what it ran in, then what that ran on.
    lanes: Lanes<D>,
    captured: HashMap<(u64, Sizes), Captured<D>>,
    networks: Networks,
    /// Memory for answers, in use while somebody else holds it as well.
    answers: Vec<Rc<Answers<D>>>,
    queue: D::Queue,
    device: D,

    /// None where the device is the host.
    card: Option<Card>,
    memory: MemoryInfo<'static>,
    share: Option<Share>,
    /// Whether batches of a shape that was seen before are launched as one graph.
    captures: bool,
    flat: Flat,
    /// A batch as it travels.
    bytes: Vec<u8>,
    under_way: VecDeque<Submitted>,
    plain: RunOptions<NoSelectedOutputs>,
}

struct Answers<D: Driver> {
    memory: D::Memory,
    bytes: usize,
}

/// A batch under way, as far as reading its answers needs it.
struct Submitted {
    lengths: Vec<usize>,
    sizes: Sizes,
}

/// A shape of batches that ONNX Runtime keeps as a graph of CUDA's, with all addresses in it.
struct Captured<D: Driver> {
    answers: Rc<Answers<D>>,
    options: RunOptions<NoSelectedOutputs>,
}

/// Graphs hold kernels' arguments, some hundred KiB each; shapes beyond these are launched operator by operator.
const MOST_CAPTURED: usize = 64;

impl DeviceSession<Nvidia> {
    /// On one of NVIDIA's cards, within its share of the memory.
    pub fn on_card(
        model: Model,
        environment: Environment,
        choice: Choice,
        number: u32,
        request: &LoadRequest,
    ) -> Result<Self, BackendError> {
        let device = Nvidia::open(number)?;
        let queue = device.queue()?;
        let lanes = Lanes::new(device.clone(), Transfers::default())?;
        let mut card = Card { number, stream: queue.handle(), limit_bytes: None };
        let overhead = overhead(&device, &environment, &choice, &card)?;
        let fraction = knobs::memory_fraction_of(&request.candidate);
        let share = Share::new(device.total_bytes(), request.device_bytes, fraction, overhead)?;
        // The arena grows to its limit, so what travels has a room of its own.
        card.limit_bytes = share.pool_bytes().map(|pool| pool - room_for_travel(pool));
        let folder = Path::new(&request.model);
        let networks = Networks::open(folder, model, environment, choice, Dialect::Cuda, Some(card))?;
        let memory = card.memory()?;
        let session = DeviceSession::new(device, queue, lanes, networks, Some(card), memory, &choice)?;
        Ok(DeviceSession { share: Some(share), ..session })
    }
}

/// Of a share that batches and answers may take: a sixteenth, and no more than a large batch of vectors for each token needs.
fn room_for_travel(pool: u64) -> u64 {
    (pool / 16).min(256 << 20)
}

/// What a context and the libraries take of the card before the model comes: of a session that multiplies two numbers all
/// but its arena.
fn overhead(
    device: &Nvidia,
    environment: &Environment,
    choice: &Choice,
    card: &Card,
) -> Result<u64, BackendError> {
    let graph = onnx::Graph::product();
    let mut engine = Engine::plain(environment, choice, Some(card), &graph)?;
    let memory = card.memory()?;
    let room = device.memory(2 * size_of::<f32>())?;
    let number = |name: &str, place: u64| Laid {
        name: CString::new(name).unwrap_or_default(),
        element: Element::Float32,
        shape: vec![1, 1],
        address: device.address(&room) + place * size_of::<f32>() as u64,
        bytes: size_of::<f32>(),
    };
    let mut options = RunOptions::new().map_err(failed)?;
    // Nothing is worth a graph here.
    options.set(GRAPH, NOT_CAPTURED).map_err(failed)?;
    // SAFETY: both numbers lie in memory that is kept until the work has been waited for.
    unsafe { engine.run_at(&memory, &[number("input", 0)], &number("output", 1), &options)? };
    device.synchronise_all()?;
    Ok(device.overhead_bytes()?.saturating_sub(engine.held(&memory)?.reserved_bytes))
}

/// The option of a run that says which graph of CUDA's it is, and its value for none.
const GRAPH: &str = "gpu_graph_id";
const NOT_CAPTURED: &str = "-1";

impl<D: Driver + 'static> DeviceSession<D> {
    fn new(
        device: D,
        queue: D::Queue,
        lanes: Lanes<D>,
        networks: Networks,
        card: Option<Card>,
        memory: MemoryInfo<'static>,
        choice: &Choice,
    ) -> Result<Self, BackendError> {
        Ok(DeviceSession {
            lanes,
            captured: HashMap::new(),
            networks,
            answers: Vec::new(),
            queue,
            device,
            card,
            memory,
            share: None,
            captures: choice.cuda_graph && matches!(choice.provider, Provider::Cuda(_)),
            flat: Flat::default(),
            bytes: Vec::new(),
            under_way: VecDeque::new(),
            plain: options(choice.cuda_graph.then_some(NOT_CAPTURED))?,
        })
    }

    #[cfg(test)]
    pub fn on_host(
        device: D,
        queue: D::Queue,
        lanes: Lanes<D>,
        networks: Networks,
        choice: &Choice,
    ) -> Result<Self, BackendError> {
        use ort::memory::{AllocationDevice, AllocatorType, MemoryType};
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
        DeviceSession::new(device, queue, lanes, networks, None, memory.map_err(failed)?, choice)
    }

    /// What is left of the share for batches and answers once the arena has what it holds.
    fn left(&self) -> Result<Option<u64>, BackendError> {
        let pool = self.share.and_then(|share| share.pool_bytes());
        let (Some(pool), Some(network)) = (pool, self.networks.loaded()) else { return Ok(None) };
        Ok(Some(pool.saturating_sub(network.engine.held(&self.memory)?.reserved_bytes)))
    }

    /// The arena grows while a batch is put on the queue, up to the whole share: with batches and answers beside it that may be
    /// too much.
    fn check_share(&self) -> Result<(), BackendError> {
        let held = self.device.memory_held();
        match self.left()? {
            Some(left) if held > left => Err(BackendError::OutOfMemory(format!(
                "batches and answers use {}, but the arena leaves {} of the GPU memory share",
                Bytes(held),
                Bytes(left)
            ))),
            _ => Ok(()),
        }
    }

    /// Memory for so many bytes of answers that nobody uses: what there is, or more.
    fn room(&mut self, bytes: usize) -> Result<Rc<Answers<D>>, BackendError> {
        let is_free = |held: &Rc<Answers<D>>| Rc::strong_count(held) == 1;
        if let Some(held) = self.answers.iter().find(|held| is_free(held) && held.bytes >= bytes) {
            return Ok(Rc::clone(held));
        }
        // Smaller ones go first, so that they never share the memory.
        self.answers.retain(|held| !is_free(held));
        let bytes = bytes.max(1).next_multiple_of(GRAIN);
        let answers = Rc::new(Answers { memory: self.device.memory(bytes)?, bytes });
        self.answers.push(Rc::clone(&answers));
        Ok(answers)
    }

    /// Sends a batch and puts its work on the queue, to be run with these options unless it's a shape to be captured.
    fn send(
        &mut self,
        batch: &Batch,
        options: Option<&RunOptions<NoSelectedOutputs>>,
    ) -> Result<(), BackendError> {
        self.flat.fill(batch, self.networks.model.padding);
        let sizes = self.flat.sizes;
        let network = self.networks.of(sizes.packed)?;
        let starts = self.flat.lay_out(&network.inputs, &mut self.bytes);
        let shape = network.reading.shape(sizes);
        let bytes = shape.iter().product::<usize>() * size_of::<f32>();
        if let Some(left) = self.left()? {
            self.device.limit_memory(left);
        }
        let spare = self.room(bytes)?;
        // Packed batches hardly ever measure the same.
        let captures = self.captures && options.is_none() && !sizes.packed;
        let network = self.networks.of(sizes.packed)?;
        let (flat, memory, captured, plain) = (&self.flat, &self.memory, &mut self.captured, &self.plain);
        let device = &self.device;
        let compute = |address: u64| {
            let lay = |(input, start): (&Input, &usize)| {
                let given = flat.given(*input);
                Laid {
                    name: CString::new(given.name).unwrap_or_default(),
                    element: given.numbers.element(),
                    shape: given.shape.iter().map(|length| *length as i64).collect(),
                    address: address + *start as u64,
                    bytes: given.numbers.bytes().len(),
                }
            };
            let inputs: Vec<Laid> = network.inputs.iter().zip(&starts).map(lay).collect();
            let key = (address, sizes);
            if captures && !captured.contains_key(&key) && captured.len() < MOST_CAPTURED {
                let options = self::options(Some(&(captured.len() + 1).to_string()))?;
                let memory = device.memory(bytes.max(1).next_multiple_of(GRAIN))?;
                let answers = Rc::new(Answers { memory, bytes });
                captured.insert(key, Captured { answers, options });
            }
            let (answers, options) = match captured.get(&key).filter(|_| captures) {
                Some(captured) => (Rc::clone(&captured.answers), &captured.options),
                None => (spare, options.unwrap_or(plain)),
            };
            let output = Laid {
                name: CString::new(network.output.as_str()).unwrap_or_default(),
                element: Element::Float32,
                shape: shape.iter().map(|length| *length as i64).collect(),
                address: device.address(&answers.memory),
                bytes,
            };
            // SAFETY: the inputs lie in the lane, and stay there until the batch has arrived; the answers are kept as long,
            // and nobody else has them. Batches follow one another on the queue, so that a shape's own answers, which all
            // its batches write to, have been copied from its lane before the lane is free for the next of them.
            unsafe { network.engine.run_at(memory, &inputs, &output, options)? };
            Ok(Computed { address: output.address, bytes, kept: Box::new(answers) })
        };
        self.lanes.submit(&self.bytes, &self.queue, compute)?;
        self.under_way.push_back(Submitted { lengths: batch.lengths.clone(), sizes });
        self.check_share()
    }

    fn receive(&mut self) -> Result<Output, BackendError> {
        let nothing = || BackendError::Failed("no batch is under way".into());
        let Submitted { lengths, sizes } = self.under_way.pop_front().ok_or_else(nothing)?;
        if lengths.is_empty() {
            return Ok(Output::default());
        }
        let reading = &self.networks.loaded().ok_or_else(nothing)?.reading;
        self.lanes.collect(|arrived| {
            let floats: Vec<f32> = bytemuck::pod_collect_to_vec(arrived.bytes);
            Ok(Output {
                rows: reading.rows(&floats, &lengths, sizes)?,
                to_device: arrived.to_device,
                compute: arrived.compute,
                from_device: arrived.from_device,
            })
        })?
    }
}

/// Options of a run that returns when its work is on the queue.
fn options(graph: Option<&str>) -> Result<RunOptions<NoSelectedOutputs>, BackendError> {
    let make = || {
        let mut options = RunOptions::new()?;
        options.disable_device_sync()?;
        if let Some(graph) = graph {
            options.set(GRAPH, graph)?;
        }
        Ok(options)
    };
    make().map_err(failed::<()>)
}

impl<D: Driver + 'static> Overlapped for DeviceSession<D> {
    fn is_full(&self) -> bool {
        self.lanes.is_full()
    }

    fn submit(&mut self, batch: &Batch) -> Result<(), BackendError> {
        if batch.lengths.is_empty() {
            let (lengths, sizes) = (Vec::new(), Sizes::default());
            self.under_way.push_back(Submitted { lengths, sizes });
            return Ok(());
        }
        self.send(batch, None)
    }

    fn collect(&mut self) -> Result<Output, BackendError> {
        self.receive()
    }
}

impl<D: Driver + 'static> Session for DeviceSession<D> {
    fn tokeniser(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, BackendError> {
        self.networks.model.tokenizer.cut(limit).map_err(BackendError::Refused)
    }

    fn legend(&self) -> Legend {
        Legend::of(&self.networks.model)
    }

    fn has_independent_rows(&self) -> bool {
        self.networks.have_independent_rows()
    }

    fn run(&mut self, batch: &Batch) -> Result<Output, BackendError> {
        self.submit(batch)?;
        self.collect()
    }

    /// The arena gives back what the candidate before has made it take, so that what it holds later is this one's. Not
    /// where graphs were captured: they have its addresses in them.
    fn configure(&mut self, candidate: &Candidate, _: u64) -> Result<(), BackendError> {
        // A pass that failed has left some.
        while !self.under_way.is_empty() {
            let _ = self.receive();
        }
        self.lanes.travel_by(knobs::transfers_of(candidate));
        let Some(card) = &self.card else { return Ok(()) };
        if self.captures {
            return Ok(());
        }
        // Nor are batches and answers of the candidate before this one's.
        self.lanes.let_go();
        self.answers.clear();
        let shrink = || {
            let mut options = RunOptions::new()?;
            // It's done at the end of a run, so a run there must be.
            options.set("memory.enable_memory_arena_shrinkage", format!("gpu:{}", card.number))?;
            Ok(options)
        };
        let options = shrink().map_err(failed::<()>)?;
        let ids = vec![self.networks.model.padding];
        let marks = vec![Marks::default()];
        let one = Batch { ids, types: vec![0], lengths: vec![1], layout: Layout::Packed, marks };
        self.send(&one, Some(&options))?;
        self.receive().map(|_| ())
    }

    /// What is reserved is the most since the last `configure`, batches and answers included, which are kept for the next ones;
    /// what was in use, the most since the load.
    fn device_memory(&self) -> Option<DeviceMemory> {
        let held = self.networks.loaded()?.engine.held(&self.memory).ok()?;
        let own = self.device.memory_held();
        Some(self.share?.taken(held.reserved_bytes + own, Some(held.used_peak_bytes + own)))
    }

    fn device(&self) -> String {
        self.card.map_or(Device::Processor, |card| Device::Cuda(card.number)).to_string()
    }

    fn overlapped(&mut self) -> Option<&mut dyn Overlapped> {
        Some(self)
    }
}
