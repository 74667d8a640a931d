//! Lines of JSON, one document each.

use indexmap::IndexSet;

use super::fields::{Fields, Record};
use super::library::Library;
use crate::units::Bytes;

/// A longer line is no document but a file that lost its ends of lines.
const LONGEST: usize = 16 << 20;

/// The records of a text, each with the place at which it stands.
pub fn records(name: &str, text: &str) -> impl Iterator<Item = Result<(String, Record), String>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(move |(index, line)| {
        let place = format!("{name}:{}", index + 1);
        if line.len() > LONGEST {
            let (length, most) = (Bytes(line.len() as u64), Bytes(LONGEST as u64));
            return Err(format!("{place}: a line of {length}, and a document has {most} at most"));
        }
        match serde_json::from_str(line) {
            Ok(record) => Ok((place, record)),
            Err(error) => Err(format!("{place}: {error}")),
        }
    })
}

pub fn read(name: &str, text: &str, fields: &Fields) -> Result<Library, String> {
    let (mut library, mut ignored) = (Library::default(), IndexSet::new());
    for record in records(name, text) {
        let (place, record) = record?;
        let document = fields.document(&record, &mut ignored).map_err(|why| format!("{place}: {why}"))?;
        library.documents.extend(document);
    }
    Ok(library.ignoring(name, &ignored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line() {
        let read = |text: &str| read("a.jsonl", text, &Fields::default());
        let library =
            read("{\"text\":\"x\",\"query\":\"q\",\"url\":1}\n\n{\"text\":\"y\",\"url\":2}\n").unwrap();
        assert_eq!((library.documents.len(), library.documents[0].query.as_deref()), (2, Some("q")));
        assert_eq!(library.notes, ["a.jsonl: ignored the fields url"]);
        assert!(read("{\"text\":\"x\"}\n{").unwrap_err().starts_with("a.jsonl:2: "));
        assert!(read("\n[1]").unwrap_err().starts_with("a.jsonl:2: "));
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(LONGEST));
        assert!(read(&long).unwrap_err().starts_with("a.jsonl:1: a line of 16.0 MiB, and"));
    }
}
