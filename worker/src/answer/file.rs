//! Answers in a file, as workers of any language write them: numbers as safetensors, labels and spans as lines of JSON.
//!
//! docs/PROTOCOL.md, "Files of answers", is the reference. Files are written and read in a stream: answers to a large corpus don't
//! fit into memory twice.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Answer;
use super::tensors::{Stream, Tensor, Tensors, invalid};

const TENSORS: &str = "safetensors";
const LINES: &str = "jsonl";

/// Writes answers to `base` with the ending of their form, and returns the file and its digest.
pub fn write(base: &Path, answers: &[Answer]) -> io::Result<(PathBuf, String)> {
    let columns = Columns::of(answers);
    let mut name = OsString::from(base);
    name.push(if columns.is_some() { ".safetensors" } else { ".jsonl" });
    let path = PathBuf::from(name);
    let mut out =
        Digested { file: BufWriter::with_capacity(1 << 20, File::create(&path)?), hash: Sha256::new() };
    match columns {
        Some(columns) => columns.write(answers, &mut out)?,
        None => {
            for answer in answers {
                serde_json::to_writer(&mut out, answer)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.file.flush()?;
    Ok((path, hex(&out.hash.finalize())))
}

/// The digest of a file, as workers state it: SHA-256 in hexadecimal.
pub fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&bytes[..count]),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file whose digest is taken as it's written.
struct Digested {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The tensors that answers of numbers make: each a name, a type, a shape, and the bytes that one answer adds to it.
struct Columns(Vec<Column>);

struct Column {
    name: &'static str,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: fn(&Answer, &mut Vec<u8>),
}

impl Columns {
    /// Nothing where answers aren't numbers, or aren't all of one shape.
    fn of(answers: &[Answer]) -> Option<Columns> {
        let count = answers.len();
        Some(Columns(match answers.first()? {
            Answer::Vector(first) => {
                let width = first.len();
                let fits =
                    |answer: &Answer| matches!(answer, Answer::Vector(vector) if vector.len() == width);
                if !answers.iter().all(fits) {
                    return None;
                }
                vec![Column { name: "vectors", dtype: "F32", shape: vec![count, width], bytes: numbers }]
            }
            Answer::Score(_) => {
                if !answers.iter().all(|answer| matches!(answer, Answer::Score(_))) {
                    return None;
                }
                vec![Column { name: "scores", dtype: "F32", shape: vec![count], bytes: numbers }]
            }
            Answer::Sparse(_) => {
                let sizes = answers.iter().map(|answer| match answer {
                    Answer::Sparse(weights) => Some(weights.len()),
                    _ => None,
                });
                let total: usize = sizes.sum::<Option<usize>>()?;
                vec![
                    Column { name: "ids", dtype: "U32", shape: vec![total], bytes: ids },
                    Column { name: "weights", dtype: "F32", shape: vec![total], bytes: numbers },
                    Column { name: "counts", dtype: "U32", shape: vec![count], bytes: size },
                ]
            }
            Answer::Vectors(_) => {
                let mut width = None;
                let mut total = 0;
                for answer in answers {
                    let Answer::Vectors(vectors) = answer else { return None };
                    total += vectors.len();
                    if !vectors.iter().all(|vector| vector.len() == *width.get_or_insert(vector.len())) {
                        return None;
                    }
                }
                vec![
                    Column {
                        name: "vectors",
                        dtype: "F32",
                        shape: vec![total, width.unwrap_or(0)],
                        bytes: numbers,
                    },
                    Column { name: "counts", dtype: "U32", shape: vec![count], bytes: size },
                ]
            }
            Answer::Label(_) | Answer::Spans(_) => return None,
        }))
    }

    fn write(&self, answers: &[Answer], out: &mut impl Write) -> io::Result<()> {
        let mut end = 0;
        let mut header = serde_json::Map::new();
        for Column { name, dtype, shape, .. } in &self.0 {
            let start = end;
            end += shape.iter().product::<usize>() * size_of::<f32>();
            let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
            header.insert((*name).to_owned(), entry);
        }
        let mut header = serde_json::to_vec(&header)?;
        // So that numbers lie where a reader may map them.
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let mut bytes = Vec::new();
        for column in &self.0 {
            for answer in answers {
                bytes.clear();
                (column.bytes)(answer, &mut bytes);
                out.write_all(&bytes)?;
            }
        }
        Ok(())
    }
}

fn numbers(answer: &Answer, into: &mut Vec<u8>) {
    let mut add = |number: &f32| into.extend(number.to_le_bytes());
    match answer {
        Answer::Vector(vector) => vector.iter().for_each(add),
        Answer::Score(score) => add(score),
        Answer::Sparse(weights) => weights.iter().for_each(|(_, weight)| add(weight)),
        Answer::Vectors(vectors) => vectors.iter().flatten().for_each(add),
        Answer::Label(_) | Answer::Spans(_) => {}
    }
}

fn ids(answer: &Answer, into: &mut Vec<u8>) {
    if let Answer::Sparse(weights) = answer {
        weights.iter().for_each(|(id, _)| into.extend(id.to_le_bytes()));
    }
}

fn size(answer: &Answer, into: &mut Vec<u8>) {
    let size = match answer {
        Answer::Sparse(weights) => weights.len(),
        Answer::Vectors(vectors) => vectors.len(),
        _ => 0,
    };
    into.extend((size as u32).to_le_bytes());
}

/// A file of answers whose form has been checked. Its numbers haven't.
pub struct AnswerFile {
    path: PathBuf,
    form: Form,
    count: usize,
}

enum Form {
    Vectors { tensors: Tensors, vectors: Tensor },
    Scores { tensors: Tensors, scores: Tensor },
    Sparse { tensors: Tensors, ids: Tensor, weights: Tensor, counts: Vec<u64> },
    MultiVector { tensors: Tensors, vectors: Tensor, counts: Vec<u64> },
    Lines,
}

impl AnswerFile {
    pub fn open(path: &Path) -> io::Result<AnswerFile> {
        let (form, count) = match path.extension().and_then(|ending| ending.to_str()) {
            Some(LINES) => {
                let lines = BufReader::new(File::open(path)?).split(b'\n');
                (Form::Lines, lines.filter(|line| !matches!(line, Ok(line) if line.is_empty())).count())
            }
            Some(TENSORS) => Form::of(Tensors::open(path)?)?,
            _ => return Err(invalid(format!("its name must end in .{TENSORS} or .{LINES}"))),
        };
        Ok(AnswerFile { path: path.to_owned(), form, count })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many answers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Every answer, in order.
    pub fn answers(&self) -> io::Result<Answers<'_>> {
        let streams = match &self.form {
            Form::Vectors { tensors, vectors } | Form::MultiVector { tensors, vectors, .. } => {
                Streams::Floats(tensors.stream(vectors, 0)?)
            }
            Form::Scores { tensors, scores } => Streams::Floats(tensors.stream(scores, 0)?),
            Form::Sparse { tensors, ids, weights, .. } => {
                Streams::Sparse { ids: tensors.stream(ids, 0)?, weights: tensors.stream(weights, 0)? }
            }
            Form::Lines => Streams::Lines(BufReader::new(File::open(&self.path)?)),
        };
        Ok(Answers { file: self, streams, next: 0 })
    }

    /// How many numbers each answer has, where each is one vector.
    pub fn width(&self) -> Option<usize> {
        match &self.form {
            Form::Vectors { vectors, .. } => Some(vectors.shape[1]),
            _ => None,
        }
    }

    /// Vectors from number `from` on, one behind the other, appended to `into`.
    pub fn vectors(&self, from: usize, count: usize, into: &mut Vec<f32>) -> io::Result<()> {
        let Form::Vectors { tensors, vectors } = &self.form else {
            return Err(invalid("its answers aren't vectors of one width"));
        };
        let width = vectors.shape[1];
        tensors.stream(vectors, from * width)?.floats(count * width, into)
    }
}

impl Form {
    fn of(tensors: Tensors) -> io::Result<(Form, usize)> {
        let names = tensors.names();
        let shaped = |name: &str, dimensions: usize| {
            let tensor = tensors.get(name)?;
            if tensor.shape.len() == dimensions {
                Ok(tensor)
            } else {
                Err(invalid(format!(
                    "tensor {name:?} has {} dimensions, not {dimensions}",
                    tensor.shape.len()
                )))
            }
        };
        let counts = |rows: usize| {
            let counts = shaped("counts", 1)?;
            let counts = tensors.stream(&counts, 0)?.counts(counts.shape[0])?;
            let sum = counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count));
            if sum == Some(rows as u64) {
                Ok(counts)
            } else {
                Err(invalid(format!("the sum of \"counts\" is not the number of rows, {rows}")))
            }
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["vectors"] => {
                let vectors = shaped("vectors", 2)?;
                let count = vectors.shape[0];
                Ok((Form::Vectors { tensors, vectors }, count))
            }
            ["scores"] => {
                let scores = shaped("scores", 1)?;
                let count = scores.shape[0];
                Ok((Form::Scores { tensors, scores }, count))
            }
            ["counts", "vectors"] => {
                let vectors = shaped("vectors", 2)?;
                let counts = counts(vectors.shape[0])?;
                let count = counts.len();
                Ok((Form::MultiVector { vectors, counts, tensors }, count))
            }
            ["counts", "ids", "weights"] => {
                let (ids, weights) = (shaped("ids", 1)?, shaped("weights", 1)?);
                if ids.shape != weights.shape {
                    return Err(invalid("\"ids\" and \"weights\" have different lengths"));
                }
                let counts = counts(ids.shape[0])?;
                let count = counts.len();
                Ok((Form::Sparse { ids, weights, counts, tensors }, count))
            }
            other => Err(invalid(format!(
                "its tensors are {}; supported: vectors; scores; vectors and counts; or ids, weights and counts",
                other.join(", ")
            ))),
        }
    }
}

/// The answers of a file, read one at a time.
pub struct Answers<'a> {
    file: &'a AnswerFile,
    streams: Streams,
    next: usize,
}

enum Streams {
    Floats(Stream),
    Sparse { ids: Stream, weights: Stream },
    Lines(BufReader<File>),
}

impl Answers<'_> {
    fn read(&mut self) -> io::Result<Answer> {
        let place = self.next;
        let floats = |stream: &mut Stream, count: usize| {
            let mut numbers = Vec::with_capacity(count);
            stream.floats(count, &mut numbers).map(|()| numbers)
        };
        match (&self.file.form, &mut self.streams) {
            (Form::Vectors { vectors, .. }, Streams::Floats(stream)) => {
                floats(stream, vectors.shape[1]).map(Answer::Vector)
            }
            (Form::Scores { .. }, Streams::Floats(stream)) => {
                floats(stream, 1).map(|numbers| Answer::Score(numbers[0]))
            }
            (Form::MultiVector { vectors, counts, .. }, Streams::Floats(stream)) => {
                let width = vectors.shape[1];
                let vectors = (0..counts[place]).map(|_| floats(stream, width)).collect::<io::Result<_>>()?;
                Ok(Answer::Vectors(vectors))
            }
            (Form::Sparse { counts, .. }, Streams::Sparse { ids, weights }) => {
                let count = counts[place] as usize;
                let small = |id: u64| u32::try_from(id).map_err(|_| invalid(format!("invalid id {id}")));
                let ids = ids.counts(count)?.into_iter().map(small).collect::<io::Result<Vec<u32>>>()?;
                Ok(Answer::Sparse(ids.into_iter().zip(floats(weights, count)?).collect()))
            }
            (_, Streams::Lines(lines)) => {
                let mut line = Vec::new();
                while line.trim_ascii().is_empty() {
                    line.clear();
                    if lines.read_until(b'\n', &mut line)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                serde_json::from_slice(&line)
                    .map_err(|error| invalid(format!("answer {}: {error}", place + 1)))
            }
            _ => Err(invalid("its form has changed")),
        }
    }
}

impl Iterator for Answers<'_> {
    type Item = io::Result<Answer>;

    fn next(&mut self) -> Option<io::Result<Answer>> {
        let answer = (self.next < self.file.count).then(|| self.read())?;
        self.next += 1;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Span;

    fn back(answers: &[Answer]) -> (String, Vec<Answer>) {
        let folder = tempfile::tempdir().unwrap();
        let (path, digest) = write(&folder.path().join("answers"), answers).unwrap();
        assert_eq!(digest, digest_of(&path).unwrap());
        let file = AnswerFile::open(&path).unwrap();
        assert_eq!(file.count(), answers.len());
        let ending = path.extension().unwrap().to_str().unwrap().to_owned();
        (ending, file.answers().unwrap().collect::<io::Result<_>>().unwrap())
    }

    #[test]
    fn answers_come_back_as_they_were_written() {
        let span = Span { start: 0, end: 3, label: "PER".into() };
        for (ending, answers) in [
            (TENSORS, vec![Answer::Vector(vec![1.0, -0.5]), Answer::Vector(vec![0.25, f32::INFINITY])]),
            (TENSORS, vec![Answer::Score(0.5), Answer::Score(-3.0)]),
            (TENSORS, vec![Answer::Sparse(vec![(7, 0.5), (9, 1.5)]), Answer::Sparse(vec![])]),
            (TENSORS, vec![Answer::Vectors(vec![vec![1.0, 2.0], vec![3.0, 4.0]]), Answer::Vectors(vec![])]),
            (LINES, vec![Answer::Label("good".into()), Answer::Label("bad\n".into())]),
            (LINES, vec![Answer::Spans(vec![span]), Answer::Spans(vec![])]),
            // What has no one shape is a mistake of the worker's, and must arrive as it is.
            (LINES, vec![Answer::Vector(vec![1.0]), Answer::Vector(vec![1.0, 2.0])]),
            (LINES, vec![Answer::Vector(vec![1.0]), Answer::Score(1.0)]),
            (LINES, vec![]),
        ] {
            assert_eq!(back(&answers), (ending.to_owned(), answers.clone()), "{answers:?}");
        }
        let (_, nan) = back(&[Answer::Score(f32::NAN)]);
        assert!(matches!(nan[0], Answer::Score(score) if score.is_nan()));
    }

    #[test]
    fn vectors_can_be_read_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let answers: Vec<Answer> = (0..5).map(|n| Answer::Vector(vec![n as f32, 0.5])).collect();
        let (path, _) = write(&folder.path().join("a"), &answers).unwrap();
        let file = AnswerFile::open(&path).unwrap();
        let mut numbers = Vec::new();
        file.vectors(3, 2, &mut numbers).unwrap();
        assert_eq!((file.width(), numbers), (Some(2), vec![3.0, 0.5, 4.0, 0.5]));
        assert!(file.vectors(4, 2, &mut Vec::new()).is_err());
    }

    #[test]
    fn files_that_are_no_answers_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            match AnswerFile::open(&path) {
                Err(error) => error.to_string(),
                Ok(file) => {
                    file.answers().unwrap().find_map(Result::err).map(|error| error.to_string()).unwrap()
                }
            }
        };
        let tensors = |header: &str, data: &[u8]| {
            [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
        };
        let of = |name: &str, dtype: &str, shape: &str, bytes: usize| {
            format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{bytes}]}}}}"#)
        };
        assert!(refused("a.npy", b"x").contains("must end in .safetensors or .jsonl"));
        refused("short.safetensors", &tensors(&of("vectors", "F32", "[2,1]", 8), &[0; 4]));
        assert!(
            refused("x.safetensors", &tensors(&of("x", "F32", "[1]", 4), &[0; 4]))
                .contains("its tensors are x;")
        );
        assert!(
            refused("d.safetensors", &tensors(&of("vectors", "F32", "[1]", 4), &[0; 4]))
                .contains("1 dimensions")
        );
        assert!(
            refused("t.safetensors", &tensors(&of("scores", "BOOL", "[1]", 1), &[0; 1]))
                .contains("of type BOOL")
        );
        assert!(
            refused("w.safetensors", &tensors(&of("scores", "I64", "[1]", 8), &[0; 8]))
                .contains("whole numbers")
        );
        let header = r#"{"counts":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"vectors":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]}}"#;
        let counted = |count: i64| {
            refused("c.safetensors", &tensors(header, &[&count.to_le_bytes()[..], &[0; 4]].concat()))
        };
        assert!(counted(2).contains("is not the number of rows, 1"), "{}", counted(2));
        assert!(counted(-1).contains("are not negative"));
        assert!(refused("l.jsonl", b"{\"label\":\"a\"}\n{\"lab\":1}\n").starts_with("answer 2: "));
    }
}
