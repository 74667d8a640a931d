//! The kernels, by what they do. Every launch is here, and so is everything unsafe about them.
//!
//! Arguments are in the order of `kernels/network.cu`; rows and columns are checked against the tensors that hold them.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaStream, DevicePtr, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice, WrapErr};
use candle_core::{DType, Result, Shape, Storage, Tensor};

use crate::backend::candle::kernel::quantised::BLOCK;
use crate::model::graph::{Activation, Pooling};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/network.ptx"));

/// Threads of a block whose warps have a row each.
const ROW_THREADS: u32 = 128;
const WARP: u32 = 32;
/// As `TILE_QUERIES` and its like in kernels/attention.cuh.
const TILE: usize = 64;
const PLAIN_TILE: usize = 32;
const ATTENTION_THREADS: u32 = 128;
/// As `POOL_GROUPS` in kernels/rows.cuh.
const POOL_GROUPS: u32 = 8;
/// Numbers of 8 bits that one thread widens.
const WIDENED_EACH: usize = 16;

/// Sizes of heads that attention is compiled for; a smaller one is filled up.
const DEPTHS: [usize; 3] = [32, 64, 128];
/// …and those that it's compiled for where keys and queries of distances have to fit beside the others.
const DISENTANGLED_DEPTHS: [usize; 2] = [32, 64];

/// Capability from which the tensor cores are there that attention uses.
const TENSOR_CORES: u32 = 80;

pub struct Kernels {
    stream: Arc<CudaStream>,
    functions: HashMap<String, CudaFunction>,
    device: candle_core::Device,
    tensor_cores: bool,
}

/// Where the tokens of a batch's sequences lie, on the device.
#[derive(Debug, Clone, Copy)]
pub struct Sequences {
    pub count: usize,
    pub longest: usize,
    pub starts: u64,
    pub lengths: u64,
}

/// What attention reads besides numbers.
pub struct Attention<'a> {
    pub heads: usize,
    /// What the product of a query and a key is multiplied with.
    pub scale: f32,
    pub window: Option<usize>,
    pub distances: Option<&'a Distances>,
}

/// What distances say.
#[derive(Clone)]
pub enum Distances {
    /// What each head adds, and the longest sequence that it knows distances for.
    Bias { table: Tensor, positions: usize },
    /// Keys and queries of distances, a row of all heads for each, and the row of each distance.
    Disentangled { keys: Tensor, queries: Tensor, row_of: Tensor, positions: usize },
}

/// Tables of an embedding; those that there aren't add nothing.
pub struct Tables<'a> {
    pub words: &'a Tensor,
    pub types: Option<&'a Tensor>,
    pub positions: Option<(&'a Tensor, usize)>,
}

pub struct Norm<'a> {
    pub weight: &'a Tensor,
    pub shift: Option<&'a Tensor>,
    pub epsilon: f32,
}

/// The depth that attention is compiled for whose heads have so many numbers.
pub fn attention_depth(size: usize, disentangled: bool) -> Result<usize> {
    let depths = if disentangled { &DISENTANGLED_DEPTHS[..] } else { &DEPTHS };
    let depth = depths.iter().copied().find(|depth| size <= *depth && size.is_multiple_of(8));
    depth.ok_or_else(|| {
        candle_core::Error::msg(format!(
            "no attention kernel on the GPU for heads of {size} numbers; supported: multiples of 8 up to {}",
            depths[depths.len() - 1]
        ))
    })
}

fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        other => candle_core::bail!("no kernels for {other:?}"),
    }
}

/// Where a tensor's numbers begin on the device.
pub fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { candle_core::bail!("a tensor is not on the card") };
    let stream = storage.device.cuda_stream();
    let (start, size) = match &storage.slice {
        CudaStorageSlice::F32(slice) => (slice.device_ptr(&stream).0, 4),
        CudaStorageSlice::F16(slice) => (slice.device_ptr(&stream).0, 2),
        CudaStorageSlice::BF16(slice) => (slice.device_ptr(&stream).0, 2),
        CudaStorageSlice::U8(slice) => (slice.device_ptr(&stream).0, 1),
        CudaStorageSlice::U32(slice) => (slice.device_ptr(&stream).0, 4),
        _ => candle_core::bail!("no kernel supports this type of tensor"),
    };
    if !layout.is_contiguous() {
        candle_core::bail!("a kernel needs contiguous rows");
    }
    Ok(start + (layout.start_offset() * size) as u64)
}

fn address_or_null(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), address)
}

impl Kernels {
    /// Loads the kernels for numbers of one kind, and those for fp32.
    pub fn load(device: &candle_core::Device, numbers: DType) -> Result<Kernels> {
        let card = device.as_cuda_device()?;
        let tensor_cores = built_for() >= TENSOR_CORES;
        let mut kernels = Kernels {
            stream: card.cuda_stream(),
            functions: HashMap::new(),
            device: device.clone(),
            tensor_cores,
        };
        for dtype in [DType::F32, numbers] {
            let suffix = suffix(dtype)?;
            for name in [
                "embed",
                "layer_norm",
                "bias_activation",
                "gate",
                "sum",
                "widen",
                "rotate",
                "pool",
                "widen_weights",
            ] {
                kernels.function(card, &format!("{name}_{suffix}"), 0)?;
            }
        }
        kernels.function(card, "unit_rows_f32", 0)?;
        for (depths, disentangled) in [(&DEPTHS[..], false), (&DISENTANGLED_DEPTHS[..], true)] {
            for depth in depths {
                let (name, bytes) = kernels.attention(numbers, *depth, disentangled)?;
                kernels.function(card, &name, bytes)?;
            }
        }
        Ok(kernels)
    }

    fn function(&mut self, card: &CudaDevice, name: &str, shared_bytes: u32) -> Result<()> {
        if self.functions.contains_key(name) {
            return Ok(());
        }
        let function = card.get_or_load_custom_func(name, "autotune", PTX)?.into_cuda_function();
        if shared_bytes > 0 {
            // More than 48 KiB have to be asked for.
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, shared_bytes as i32).w()?;
        }
        self.functions.insert(name.to_owned(), function);
        Ok(())
    }

    /// Attention for heads of up to so many numbers: its name, and the shared memory that it takes.
    fn attention(&self, numbers: DType, depth: usize, disentangled: bool) -> Result<(String, u32)> {
        let suffix = suffix(numbers)?;
        let by_distance = if disentangled { "_by_distance" } else { "" };
        if self.tensor_cores && numbers != DType::F32 {
            // Keys and values of two tiles, their rows apart by eight numbers more than they are long; or those of one, the rows of
            // both tables that a tile needs, and what its tokens are to them, in fp32.
            let rows = if disentangled { 2 * TILE + 2 * 2 * TILE } else { 4 * TILE };
            let met = if disentangled { TILE * (2 * TILE + 4) * size_of::<f32>() } else { 0 };
            let bytes = rows * (depth + 8) * numbers.size_in_bytes() + met;
            return Ok((format!("attend{by_distance}_{suffix}_{depth}"), bytes as u32));
        }
        // Queries, keys and values in fp32, the rows of both tables, and the weights of all pairs.
        let rows = if disentangled { 3 * PLAIN_TILE + 2 * 2 * PLAIN_TILE } else { 3 * PLAIN_TILE };
        let bytes = (rows * (depth + 1) + PLAIN_TILE * (PLAIN_TILE + 4)) * size_of::<f32>();
        Ok((format!("attend_plainly{by_distance}_{suffix}_{depth}"), bytes as u32))
    }

    /// A tensor for a kernel to write all of.
    pub fn empty(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        // SAFETY: whoever calls this has a kernel write every number of it that anybody reads.
        unsafe { Tensor::empty(shape, dtype, &self.device) }
    }

    fn launch(&self, name: &str, config: LaunchConfig, arguments: &[Argument]) -> Result<()> {
        let Some(function) = self.functions.get(name) else { candle_core::bail!("no kernel {name}") };
        let mut builder = self.stream.launch_builder(function);
        for argument in arguments {
            match argument {
                Argument::Long(number) => builder.arg(number),
                Argument::Whole(number) => builder.arg(number),
                Argument::Float(number) => builder.arg(number),
            };
        }
        // SAFETY: the arguments are those of the kernel, in its order; addresses are of tensors that are as large as rows
        // and columns say, which every function below checks; and memory is given back in the order of the stream.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }

    /// A warp for each row.
    fn rows(rows: usize) -> LaunchConfig {
        let warps = ROW_THREADS / WARP;
        let blocks = (rows as u32).div_ceil(warps);
        LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (ROW_THREADS, 1, 1), shared_mem_bytes: 0 }
    }

    /// `ids`, `types` and `positions` are addresses of a word for each token.
    pub fn embed(
        &self,
        tables: &Tables,
        ids: u64,
        types: u64,
        positions: u64,
        rows: usize,
    ) -> Result<Tensor> {
        let (_, columns) = tables.words.dims2()?;
        let output = self.empty((rows, columns), tables.words.dtype())?;
        let name = format!("embed_{}", suffix(tables.words.dtype())?);
        let words = address(tables.words)?;
        let type_table = address_or_null(tables.types)?;
        let position_table = address_or_null(tables.positions.map(|(table, _)| table))?;
        let first = tables.positions.map_or(0, |(_, first)| first);
        let to = address(&output)?;
        let arguments =
            arguments![ids, types, positions, words, type_table, position_table, first, to, rows, columns];
        self.launch(&name, Self::rows(rows), &arguments)?;
        Ok(output)
    }

    /// Norm of the input with the bias and the residual added, where there are some.
    pub fn layer_norm(
        &self,
        norm: &Norm,
        input: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, columns) = input.dims2()?;
        same_size(input, residual)?;
        let output = self.empty((rows, columns), input.dtype())?;
        let name = format!("layer_norm_{}", suffix(input.dtype())?);
        let read = [address(input)?, address_or_null(bias)?, address_or_null(residual)?];
        let (weight, shift) = (address(norm.weight)?, address_or_null(norm.shift)?);
        let to = address(&output)?;
        let [input, bias, residual] = read;
        let arguments = arguments![input, bias, residual, weight, shift, norm.epsilon, to, rows, columns];
        self.launch(&name, Self::rows(rows), &arguments)?;
        Ok(output)
    }

    /// Adds a bias and applies an activation, in place: the tensor must be nobody else's.
    pub fn bias_activation(
        &self,
        numbers: &Tensor,
        bias: Option<&Tensor>,
        activation: Option<Activation>,
    ) -> Result<()> {
        let (rows, columns) = numbers.dims2()?;
        let name = format!("bias_activation_{}", suffix(numbers.dtype())?);
        let (to, bias) = (address(numbers)?, address_or_null(bias)?);
        self.launch(&name, Self::rows(rows), &arguments![to, bias, code(activation), rows, columns])
    }

    pub fn gate(&self, input: &Tensor, activation: Activation) -> Result<Tensor> {
        let (rows, both) = input.dims2()?;
        let output = self.empty((rows, both / 2), input.dtype())?;
        let name = format!("gate_{}", suffix(input.dtype())?);
        let (from, to) = (address(input)?, address(&output)?);
        let arguments = arguments![from, code(Some(activation)), to, rows, both / 2];
        self.launch(&name, Self::rows(rows), &arguments)?;
        Ok(output)
    }

    pub fn sum(&self, left: &Tensor, right: &Tensor) -> Result<Tensor> {
        let (rows, columns) = left.dims2()?;
        same_size(left, Some(right))?;
        let output = self.empty((rows, columns), left.dtype())?;
        let name = format!("sum_{}", suffix(left.dtype())?);
        let arguments = arguments![address(left)?, address(right)?, address(&output)?, rows, columns];
        self.launch(&name, Self::rows(rows), &arguments)?;
        Ok(output)
    }

    /// The same in fp32.
    pub fn widen(&self, input: &Tensor) -> Result<Tensor> {
        if input.dtype() == DType::F32 {
            return Ok(input.clone());
        }
        let (rows, columns) = input.dims2()?;
        let output = self.empty((rows, columns), DType::F32)?;
        let name = format!("widen_{}", suffix(input.dtype())?);
        let arguments = arguments![address(input)?, address(&output)?, rows, columns];
        self.launch(&name, Self::rows(rows), &arguments)?;
        Ok(output)
    }

    /// Turns queries and keys by their positions, in place. `turns` has a row for each position.
    pub fn rotate(&self, qkv: &Tensor, positions: u64, turns: &Tensor, heads: usize) -> Result<()> {
        let (rows, columns) = qkv.dims2()?;
        let size = columns / 3 / heads;
        let name = format!("rotate_{}", suffix(qkv.dtype())?);
        let arguments = arguments![address(qkv)?, positions, address(turns)?, rows, heads, size];
        self.launch(&name, Self::rows(rows), &arguments)
    }

    /// Contexts of queries, keys and values. `bias` is that of the product that made them, if it wasn't added yet.
    pub fn attend(
        &self,
        attention: &Attention,
        qkv: &Tensor,
        bias: Option<&Tensor>,
        sequences: Sequences,
    ) -> Result<Tensor> {
        let (rows, columns) = qkv.dims2()?;
        let (width, size) = (columns / 3, columns / 3 / attention.heads);
        let context = self.empty((rows, width), qkv.dtype())?;
        let disentangled = matches!(attention.distances, Some(Distances::Disentangled { .. }));
        let depth = attention_depth(size, disentangled)?;
        let (name, shared_mem_bytes) = self.attention(qkv.dtype(), depth, disentangled)?;
        let tile = if name.starts_with("attend_plainly") { PLAIN_TILE } else { TILE };
        let tiles = sequences.longest.div_ceil(tile) as u32;
        if tiles == 0 || sequences.count == 0 {
            return Ok(context);
        }
        if disentangled && (attention.window.is_some() || bias.is_some()) {
            candle_core::bail!(
                "no attention kernel on the GPU for distances with a window or a bias that is left"
            );
        }
        let window = attention.window.map_or(-1, |window| i32::try_from(window).unwrap_or(i32::MAX));
        let (from, bias, to) = (address(qkv)?, address_or_null(bias)?, address(&context)?);
        let block_dim = (ATTENTION_THREADS, 1, 1);
        // 65,535 is the most that a grid takes in its second and third direction.
        for first in (0..sequences.count).step_by(65_535) {
            let count = (sequences.count - first).min(65_535) as u32;
            let grid_dim = (tiles, attention.heads as u32, count);
            let config = LaunchConfig { grid_dim, block_dim, shared_mem_bytes };
            let skipped = first as u64 * size_of::<u32>() as u64;
            let (starts, lengths) = (sequences.starts + skipped, sequences.lengths + skipped);
            let Attention { heads, scale, .. } = *attention;
            if let Some(Distances::Disentangled { keys, queries, row_of, positions }) = attention.distances {
                let [keys, queries, row_of] = [address(keys)?, address(queries)?, address(row_of)?];
                let arguments = arguments![
                    from, to, starts, lengths, heads, size, scale, keys, queries, row_of, *positions
                ];
                self.launch(&name, config, &arguments)?;
                continue;
            }
            let (table, positions) = match attention.distances {
                Some(Distances::Bias { table, positions }) => (address(table)?, *positions),
                _ => (0, 0),
            };
            let arguments =
                arguments![from, bias, to, starts, lengths, heads, size, scale, window, table, positions];
            self.launch(&name, config, &arguments)?;
        }
        Ok(context)
    }

    /// A row of fp32 for each sequence.
    pub fn pool(&self, input: &Tensor, pooling: Pooling, sequences: Sequences) -> Result<Tensor> {
        let (_, columns) = input.dims2()?;
        let output = self.empty((sequences.count, columns), DType::F32)?;
        let name = format!("pool_{}", suffix(input.dtype())?);
        let most = if pooling == Pooling::Mean { i32::MAX } else { 1 };
        let last = i32::from(pooling == Pooling::Last);
        let config = LaunchConfig {
            grid_dim: (sequences.count as u32, (columns as u32).div_ceil(WARP), 1),
            block_dim: (WARP * POOL_GROUPS, 1, 1),
            shared_mem_bytes: 0,
        };
        let (from, to) = (address(input)?, address(&output)?);
        let arguments = arguments![from, sequences.starts, sequences.lengths, most, last, to, columns];
        self.launch(&name, config, &arguments)?;
        Ok(output)
    }

    /// Rows of length one, of fp32.
    pub fn unit_rows(&self, input: &Tensor) -> Result<Tensor> {
        let (rows, columns) = input.dims2()?;
        let output = self.empty((rows, columns), DType::F32)?;
        let arguments = arguments![address(input)?, address(&output)?, rows, columns];
        self.launch("unit_rows_f32", Self::rows(rows), &arguments)?;
        Ok(output)
    }

    /// Weights of 8 bits as numbers that products take. Rows are whole blocks.
    pub fn widen_weights(&self, numbers: &Tensor, scales: &Tensor, dtype: DType) -> Result<Tensor> {
        let (rows, columns) = numbers.dims2()?;
        let count = rows * columns;
        if columns % BLOCK != 0 || scales.elem_count() * BLOCK != count {
            candle_core::bail!("rows of {columns} numbers are not a multiple of the block size {BLOCK}");
        }
        let output = self.empty((rows, columns), dtype)?;
        let name = format!("widen_weights_{}", suffix(dtype)?);
        let arguments = arguments![address(numbers)?, address(scales)?, address(&output)?, count as u64];
        let threads = 256;
        let blocks = count.div_ceil(threads * WIDENED_EACH) as u32;
        let config =
            LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads as u32, 1, 1), shared_mem_bytes: 0 };
        self.launch(&name, config, &arguments)?;
        Ok(output)
    }
}

/// An argument of a kernel.
enum Argument {
    /// An address, or a size.
    Long(u64),
    Whole(i32),
    Float(f32),
}

impl From<u64> for Argument {
    fn from(number: u64) -> Argument {
        Argument::Long(number)
    }
}

impl From<i32> for Argument {
    fn from(number: i32) -> Argument {
        Argument::Whole(number)
    }
}

impl From<usize> for Argument {
    fn from(number: usize) -> Argument {
        // Rows and columns of a batch: a card's memory ends before such a number does.
        Argument::Whole(i32::try_from(number).unwrap_or(i32::MAX))
    }
}

impl From<f32> for Argument {
    fn from(number: f32) -> Argument {
        Argument::Float(number)
    }
}

macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { [$(Argument::from($argument)),*] };
}
use arguments;

/// The numbers of `enum Activation` in kernels/rows.cuh.
fn code(activation: Option<Activation>) -> usize {
    match activation {
        None => 0,
        Some(Activation::Gelu) => 1,
        Some(Activation::GeluTanh) => 2,
        Some(Activation::Relu) => 3,
        Some(Activation::Silu) => 4,
        Some(Activation::Tanh) => 5,
    }
}

fn same_size(left: &Tensor, right: Option<&Tensor>) -> Result<()> {
    match right {
        Some(right) if right.dims() != left.dims() || right.dtype() != left.dtype() => {
            candle_core::bail!("{:?} beside {:?}", left.shape(), right.shape())
        }
        _ => Ok(()),
    }
}

/// The capability that the kernels were compiled for: 80 for 8.0.
pub fn built_for() -> u32 {
    let target = PTX.lines().find_map(|line| line.trim().strip_prefix(".target sm_"));
    let digits = target.map(|target| target.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
