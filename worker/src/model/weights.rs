//! A checkpoint's tensors: mapped from safetensors files, or read out of a pickle. Knows no network.
//!
//! Nothing of a file is believed: headers are checked against the file's size before a tensor is seen.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::pickle::PthTensors;
use memmap2::{Mmap, MmapMut};
use safetensors::{Dtype, SafeTensors};

use super::error::ModelError;

/// What a network is built against: names and shapes.
pub trait Shapes {
    fn shape(&self, name: &str) -> Option<&[usize]>;
}

/// How the numbers of a tensor are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Float32,
    Float16,
    Bfloat16,
}

/// Where the bytes of a tensor lie.
#[derive(Clone)]
enum Store {
    Mapped(Arc<Mmap>),
    Read(Arc<Vec<u8>>),
}

#[derive(Clone)]
struct Entry {
    store: Store,
    range: Range<usize>,
    format: Format,
    shape: Vec<usize>,
}

impl Entry {
    fn bytes(&self) -> &[u8] {
        match &self.store {
            Store::Mapped(map) => &map[self.range.clone()],
            Store::Read(bytes) => &bytes[self.range.clone()],
        }
    }
}

#[derive(Clone, Default)]
pub struct Weights {
    entries: HashMap<String, Entry>,
}

impl Shapes for Weights {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }
}

/// Tensors that models keep in files of their own, and the prefix under which they are known here.
const APART: [(&str, &str); 2] =
    [("sparse_linear.pt", "sparse_linear."), ("colbert_linear.pt", "colbert_linear.")];

impl Weights {
    /// Opens the checkpoint in `folder`: safetensors, whole or in shards, or else a pickle.
    pub fn open(folder: &Path) -> Result<Weights, ModelError> {
        let mut weights = Weights::default();
        let whole = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        let pickle = folder.join("pytorch_model.bin");
        if whole.exists() {
            weights.map(&whole)?;
        } else if index.exists() {
            for shard in shards(&index)? {
                weights.map(&folder.join(shard))?;
            }
        } else if pickle.exists() {
            weights.unpickle(&pickle, "")?;
        } else {
            let why = "no model.safetensors, model.safetensors.index.json or pytorch_model.bin in it";
            return Err(ModelError::file(folder, why));
        }
        for (file, prefix) in APART {
            let file = folder.join(file);
            if file.exists() {
                weights.unpickle(&file, prefix)?;
            }
        }
        Ok(weights)
    }

    /// Zeros in place of a checkpoint, for whoever counts what becomes of tensors and doesn't look at their numbers. They take no
    /// memory: all of them lie in one mapping, as long as the longest, that nobody writes to.
    pub fn zeros<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> std::io::Result<Weights> {
        let tensors: Vec<_> = tensors.into_iter().collect();
        let bytes = |shape: &[usize]| shape.iter().product::<usize>() * size_of::<f32>();
        let longest = tensors.iter().map(|(_, shape)| bytes(shape)).max().unwrap_or(0);
        let map = Arc::new(MmapMut::map_anon(longest.max(1))?.make_read_only()?);
        let entry = |(name, shape): (&str, &[usize])| {
            let (store, range) = (Store::Mapped(Arc::clone(&map)), 0..bytes(shape));
            (name.to_owned(), Entry { store, range, format: Format::Float32, shape: shape.to_vec() })
        };
        Ok(Weights { entries: tensors.into_iter().map(entry).collect() })
    }

    fn map(&mut self, path: &Path) -> Result<(), ModelError> {
        let problem = |why: String| ModelError::file(path, why);
        let file = File::open(path).map_err(|error| problem(error.to_string()))?;
        // SAFETY: nobody changes a checkpoint while it's in use. If somebody cuts it short all the same, this process is
        // ended by a bus error, which of a worker is recorded as a crash.
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(|error| problem(error.to_string()))?);
        let tensors = SafeTensors::deserialize(&map).map_err(|error| problem(error.to_string()))?;
        for (name, view) in tensors.tensors() {
            let format = match view.dtype() {
                Dtype::F32 => Format::Float32,
                Dtype::F16 => Format::Float16,
                Dtype::BF16 => Format::Bfloat16,
                // Buffers such as `position_ids`: no network here reads them.
                _ => continue,
            };
            let start = view.data().as_ptr() as usize - map.as_ptr() as usize;
            let range = start..start + view.data().len();
            let shape = view.shape().to_vec();
            let entry = Entry { store: Store::Mapped(Arc::clone(&map)), range, format, shape };
            self.entries.insert(name, entry);
        }
        Ok(())
    }

    /// Reads a pickle with candle's reader, which knows tensors and runs no code.
    fn unpickle(&mut self, path: &Path, prefix: &str) -> Result<(), ModelError> {
        // The reader is another's and the file is anybody's: what it doesn't foresee must not end us.
        let read = std::panic::catch_unwind(|| pickled(path));
        let tensors = read.map_err(|_| ModelError::file(path, "not a pickle of tensors"))?;
        let tensors = tensors.map_err(|why| ModelError::file(path, why))?;
        for Pickled { name, shape, numbers } in tensors {
            let bytes: Vec<u8> = bytemuck::cast_slice(&numbers).to_vec();
            let range = 0..bytes.len();
            let entry = Entry { store: Store::Read(Arc::new(bytes)), range, format: Format::Float32, shape };
            self.entries.insert(format!("{prefix}{name}"), entry);
        }
        Ok(())
    }

    /// Another tensor out of one that is here, under a name of its own. Where the first isn't here, or measures something else, there
    /// is no other, and whoever asks for it says so.
    pub fn view(&mut self, of: &str, name: &str, view: View) {
        let Some((numbers, shape)) = self.viewed(of, view) else { return };
        let bytes: Vec<u8> = bytemuck::cast_slice(&numbers).to_vec();
        let (store, range) = (Store::Read(Arc::new(bytes)), 0..numbers.len() * size_of::<f32>());
        self.release(of);
        self.entries.insert(name.to_owned(), Entry { store, range, format: Format::Float32, shape });
    }

    fn viewed(&self, of: &str, view: View) -> Option<(Vec<f32>, Vec<usize>)> {
        let numbers = self.floats(of).ok()?;
        match (view, self.shape(of)?) {
            (View::Row, [columns]) => Some((numbers.into_owned(), vec![1, *columns])),
            (View::Columns(part, parts), [rows, columns]) if columns.is_multiple_of(parts) => {
                let share = columns / parts;
                let of_row = |row: &[f32]| row[part * share..(part + 1) * share].to_vec();
                Some((numbers.chunks_exact((*columns).max(1)).flat_map(of_row).collect(), vec![*rows, share]))
            }
            (View::Turned, [rows, columns]) => {
                let column = |column: usize| (0..*rows).map(move |row| row * columns + column);
                let turned = (0..*columns).flat_map(column).map(|place| numbers[place]);
                Some((turned.collect(), vec![*columns, *rows]))
            }
            _ => None,
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry, ModelError> {
        self.entries.get(name).ok_or_else(|| ModelError::Missing(name.to_owned()))
    }

    /// The numbers of a tensor: where they lie, if they are fp32 there, or else converted.
    pub fn floats(&self, name: &str) -> Result<Cow<'_, [f32]>, ModelError> {
        let entry = self.entry(name)?;
        let bytes = entry.bytes();
        Ok(match entry.format {
            Format::Float32 => match bytemuck::try_cast_slice(bytes) {
                Ok(numbers) => Cow::Borrowed(numbers),
                // A header of odd length puts the numbers where they can't be read in place.
                Err(_) => Cow::Owned(bytes.chunks_exact(4).map(float32).collect()),
            },
            Format::Float16 => {
                Cow::Owned(halves(bytes).map(|bits| half::f16::from_bits(bits).to_f32()).collect())
            }
            Format::Bfloat16 => {
                Cow::Owned(halves(bytes).map(|bits| half::bf16::from_bits(bits).to_f32()).collect())
            }
        })
    }

    /// Tells the system that a tensor's pages in the file aren't needed for now: whoever made a copy in a layout of
    /// their own holds it once and not twice. Reading it again brings the pages back.
    pub fn release(&self, name: &str) {
        if let Some(Entry { store: Store::Mapped(map), range, .. }) = self.entries.get(name) {
            const PAGE: usize = 4096;
            // Only pages that belong to this tensor alone.
            let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
            if start < end {
                // SAFETY: the mapping is shared with a file and never written, so dropped pages are read again.
                let _ = unsafe {
                    map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
                };
            }
        }
    }
}

/// What becomes of a tensor under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// One part of the columns, of so many.
    Columns(usize, usize),
    /// Rows as columns.
    Turned,
    /// A vector as a matrix of one row.
    Row,
}

struct Pickled {
    name: String,
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

/// The floating tensors of a pickle.
fn pickled(path: &Path) -> Result<Vec<Pickled>, String> {
    let said = |error: candle_core::Error| first_line(&error.to_string()).to_owned();
    let room = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    let file = PthTensors::new(path, None).map_err(said)?;
    let mut tensors = Vec::new();
    for (name, info) in file.tensor_infos().iter().filter(|(_, info)| info.dtype.is_float()) {
        let shape = info.layout.dims();
        // The reader takes the memory first and reads then: a shape that the file can't hold must not get so far.
        let bytes =
            shape.iter().try_fold(info.dtype.size_in_bytes(), |product, size| product.checked_mul(*size));
        if bytes.is_none_or(|bytes| bytes as u64 > room) {
            return Err(format!("{name:?} of the shape {shape:?} doesn't fit into {room} bytes"));
        }
        let Some(tensor) = file.get(name).map_err(said)? else { continue };
        let numbers = tensor
            .to_dtype(candle_core::DType::F32)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>())
            .map_err(said)?;
        tensors.push(Pickled { name: name.clone(), shape: tensor.dims().to_vec(), numbers });
    }
    Ok(tensors)
}

fn float32(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// candle appends a backtrace to its errors.
fn first_line(error: &str) -> &str {
    error.lines().next().unwrap_or_default()
}

/// The files that an index names, each once, all of them in its own folder.
fn shards(index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index_of = super::json::read_json::<Index>(index)?;
    let mut files: Vec<PathBuf> = index_of.weight_map.into_values().map(PathBuf::from).collect();
    files.sort();
    files.dedup();
    match files.iter().find(|file| file.components().count() != 1 || file.file_name().is_none()) {
        Some(file) => {
            Err(ModelError::file(index, format!("{:?} is not a file beside it", file.display().to_string())))
        }
        None => Ok(files),
    }
}
