//! Tensors of a safetensors file, read in parts: the file may be larger than the memory that there is for it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};

/// Enough that a read costs more than the call for it.
const BUFFER_BYTES: usize = 1 << 20;

/// The header of a file.
pub struct Tensors {
    path: PathBuf,
    metadata: Metadata,
    data_start: u64,
}

/// Where a tensor lies, and what its numbers are.
#[derive(Debug, Clone)]
pub struct Tensor {
    start: u64,
    kind: Kind,
    pub shape: Vec<usize>,
}

/// Numbers as files have them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    F32,
    F16,
    U32,
    I32,
    U64,
    I64,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::F16 => 2,
            Kind::F32 | Kind::U32 | Kind::I32 => 4,
            Kind::U64 | Kind::I64 => 8,
        }
    }
}

impl Tensors {
    /// Reads and checks the header.
    pub fn open(path: &Path) -> io::Result<Tensors> {
        let file = File::open(path)?;
        // SAFETY: only the header is read through the mapping, and a file that somebody shortens meanwhile is a file of ours, in
        // the run's folder.
        let bytes = unsafe { memmap2::Mmap::map(&file) }?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(invalid)?;
        let data_start = (header + size_of::<u64>()) as u64;
        Ok(Tensors { path: path.to_owned(), metadata, data_start })
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// The tensor of a name, with numbers of a kind that is read here.
    pub fn get(&self, name: &str) -> io::Result<Tensor> {
        let info = self.metadata.info(name).ok_or_else(|| invalid(format!("no tensor {name:?}")))?;
        let kind = match info.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::U32 => Kind::U32,
            Dtype::I32 => Kind::I32,
            Dtype::U64 => Kind::U64,
            Dtype::I64 => Kind::I64,
            other => return Err(invalid(format!("tensor {name:?} has numbers of type {other:?}"))),
        };
        let start = self.data_start + info.data_offsets.0 as u64;
        Ok(Tensor { start, kind, shape: info.shape.clone() })
    }

    /// Reads a tensor from its number `from` on.
    pub fn stream(&self, tensor: &Tensor, from: usize) -> io::Result<Stream> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(tensor.start + (from * tensor.kind.bytes()) as u64))?;
        Ok(Stream {
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            kind: tensor.kind,
            bytes: Vec::new(),
        })
    }
}

/// Numbers of a tensor, one after the other.
pub struct Stream {
    file: BufReader<File>,
    kind: Kind,
    bytes: Vec<u8>,
}

impl Stream {
    fn fill(&mut self, count: usize) -> io::Result<()> {
        self.bytes.resize(count * self.kind.bytes(), 0);
        self.file.read_exact(&mut self.bytes)
    }

    /// The next numbers, appended to `into`.
    pub fn floats(&mut self, count: usize, into: &mut Vec<f32>) -> io::Result<()> {
        self.fill(count)?;
        match self.kind {
            Kind::F32 => into.extend(words(&self.bytes).map(f32::from_le_bytes)),
            Kind::F16 => into.extend(words(&self.bytes).map(|word| f16::from_le_bytes(word).to_f32())),
            _ => return Err(invalid("whole numbers, expected F32 or F16")),
        }
        Ok(())
    }

    /// The next numbers, which are whole and not negative.
    pub fn counts(&mut self, count: usize) -> io::Result<Vec<u64>> {
        self.fill(count)?;
        let counts: Option<Vec<u64>> = match self.kind {
            Kind::U32 => words(&self.bytes).map(|word| Some(u64::from(u32::from_le_bytes(word)))).collect(),
            Kind::U64 => words(&self.bytes).map(|word| Some(u64::from_le_bytes(word))).collect(),
            Kind::I32 => {
                words(&self.bytes).map(|word| u64::try_from(i32::from_le_bytes(word)).ok()).collect()
            }
            Kind::I64 => {
                words(&self.bytes).map(|word| u64::try_from(i64::from_le_bytes(word)).ok()).collect()
            }
            Kind::F32 | Kind::F16 => None,
        };
        counts.ok_or_else(|| invalid("expected whole numbers that are not negative"))
    }
}

fn words<const BYTES: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; BYTES]> {
    bytes.as_chunks().0.iter().copied()
}

pub fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
