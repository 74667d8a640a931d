//! What isn't counted but assumed, each with its reason and how far it may be off. Measuring replaces them.

use super::method::Engine;
use crate::units::Bytes;

/// What a process takes of a card before a model comes: the driver's context, the kernels, the library of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    pub least_bytes: u64,
    pub bytes: u64,
    pub most_bytes: u64,
}

impl Overhead {
    /// Of a card by its compute capability. A context keeps stacks for all threads that a card can have at once (1 KiB for
    /// each of 2048 on a multiprocessor of an A100 or H100, for fewer on others), and grows with it; beside it stand the
    /// kernels, and cuBLAS with its workspace (32 MiB on Hopper, 8 MiB before). Hopper is assumed at 500 MiB with CUDA 13,
    /// and the others are scaled down by their threads. None of this was measured by the project yet.
    pub fn of(capability: Option<(u32, u32)>) -> Overhead {
        let (least, middle, most) = match capability {
            Some((10.., _)) => (350, 500, 700),
            Some((9, _)) => (450, 500, 550),
            Some((8, 0)) => (350, 420, 500),
            Some((8, _)) => (200, 290, 400),
            Some((7, _)) => (150, 230, 330),
            Some(_) => (120, 200, 300),
            None => (150, 350, 600),
        };
        let mib = |count: u64| count * Bytes::MIB;
        Overhead { least_bytes: mib(least), bytes: mib(middle), most_bytes: mib(most) }
    }
}

/// An allocation of a card's pool is a multiple of this (`cuMemAllocAsync`'s alignment).
pub const ALLOCATION_BYTES: u64 = 512;

/// A pool takes memory from the card in steps of this: the granularity of CUDA's virtual memory.
pub const POOL_STEP_BYTES: u64 = 2 * Bytes::MIB;

/// What a pool holds besides what is in use, as a share of what comes and goes with batches: freed blocks that a later
/// request didn't fit into. Nothing at best; and at most half, and as much again as a pool may take at once.
pub const FRAGMENTS_SHARE: f64 = 0.15;
pub const MOST_FRAGMENTS_SHARE: f64 = 0.5;
pub const MOST_FRAGMENTS_BYTES: u64 = 64 * Bytes::MIB;

/// How ONNX Runtime's arena compares with candle's figures: it plans which values share memory, and asks for the next power
/// of two, so at most for twice as much.
pub const ORT_MOST: f64 = 2.0;

/// By which factor the ratio of two predictions for one card may be off. Far less than each of them, since the same
/// assumptions are in both; what differs is how well each precision and batch size suits the card.
pub const RATIO_WITHIN: f64 = 1.25;

/// How near a card comes to its data sheet, and what the host adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Efficiency {
    /// Of the dense rate of tensor cores, in products of cuBLAS.
    pub tensor: f64,
    /// Of the rate of fp32 outside of them.
    pub plain: f64,
    /// Of the tensor cores' rate, in attention, which waits for its softmax and fills tiles of 64 with short texts.
    pub attention: f64,
    /// The same outside of tensor cores: fp32, and cards before Ampere.
    pub plain_attention: f64,
    /// Of the memory's bandwidth.
    pub memory: f64,
    /// Seconds for a kernel to start and to end, whatever it does.
    pub launch: f64,
    /// Of the link's bandwidth, from pinned memory and from ordinary memory, which the driver copies once more.
    pub pinned: f64,
    pub pageable: f64,
    /// Seconds for a copy to start and to be waited for.
    pub copy: f64,
    /// Seconds of one of the host's cores for tokenising a token. About 1 µs was seen of MiniLM's tokenizer on a shared core
    /// of an EPYC; a desktop's core takes less, and tokenizers with larger vocabularies take more.
    pub token: f64,
}

impl Efficiency {
    const BEST: Efficiency = Efficiency {
        // Large products by themselves reach it; few networks do.
        tensor: 0.75,
        plain: 0.9,
        attention: 0.5,
        plain_attention: 0.4,
        // What copying reaches on most cards.
        memory: 0.9,
        launch: 2e-6,
        pinned: 0.85,
        pageable: 0.5,
        copy: 8e-6,
        token: 0.7e-6,
    };
    const WORST: Efficiency = Efficiency {
        tensor: 0.35,
        plain: 0.5,
        attention: 0.12,
        plain_attention: 0.1,
        memory: 0.6,
        launch: 6e-6,
        pinned: 0.6,
        pageable: 0.2,
        copy: 30e-6,
        token: 3e-6,
    };

    /// The best and the worst that is assumed of an engine.
    pub fn bounds(engine: Engine) -> [Efficiency; 2] {
        let mut worst = Efficiency::WORST;
        if engine == Engine::Ort {
            // Its fusions aren't counted: passes over memory and launches that candle's executor doesn't have.
            worst.memory /= 2.0;
            worst.launch *= 2.0;
        }
        [Efficiency::BEST, worst]
    }

    /// The geometric middle of two: as many times better than the one as it's worse than the other.
    pub fn between([left, right]: [Efficiency; 2]) -> Efficiency {
        let middle = |part: fn(&Efficiency) -> f64| (part(&left) * part(&right)).sqrt();
        Efficiency {
            tensor: middle(|one| one.tensor),
            plain: middle(|one| one.plain),
            attention: middle(|one| one.attention),
            plain_attention: middle(|one| one.plain_attention),
            memory: middle(|one| one.memory),
            launch: middle(|one| one.launch),
            pinned: middle(|one| one.pinned),
            pageable: middle(|one| one.pageable),
            copy: middle(|one| one.copy),
            token: middle(|one| one.token),
        }
    }
}
