//! Tables: CSV, and TSV, with the names of the columns in the first row.

use indexmap::IndexSet;
use serde_json::Value;

use super::fields::{Fields, Record};
use super::library::Library;

/// The rows of a table as records, each with the place at which it stands.
pub fn records(name: &str, text: &str) -> Result<Vec<(String, Record)>, String> {
    let delimiter = if name.ends_with(".tsv") { b'\t' } else { b',' };
    // Tables with tabs between have no quotes.
    let quoting = delimiter == b',';
    let mut table =
        csv::ReaderBuilder::new().delimiter(delimiter).quoting(quoting).from_reader(text.as_bytes());
    let problem = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{name}:{line}: {len} cells, where the first row has {expected_len} columns")
            }
            _ => format!("{name}:{line}: {error}"),
        }
    };
    let columns: Vec<String> = table.headers().map_err(problem)?.iter().map(str::to_owned).collect();
    let mut records = Vec::new();
    for row in table.records() {
        let row = row.map_err(problem)?;
        let place = format!("{name}:{}", row.position().map_or(1, csv::Position::line));
        let cells = row.iter().map(|cell| Value::String(cell.to_owned()));
        records.push((place, columns.iter().cloned().zip(cells).collect()));
    }
    Ok(records)
}

pub fn read(name: &str, text: &str, fields: &Fields) -> Result<Library, String> {
    let (mut library, mut ignored) = (Library::default(), IndexSet::new());
    for (place, record) in records(name, text)? {
        // A table has the same columns in every row: one that is missing here is missing everywhere.
        fields.all_there(&record).map_err(|why| format!("{place}: {why}"))?;
        let document = fields.document(&record, &mut ignored).map_err(|why| format!("{place}: {why}"))?;
        library.documents.extend(document);
    }
    // An empty cell is no label.
    for document in &mut library.documents {
        document.label.take_if(|label| label.is_empty());
        document.query.take_if(|query| query.is_empty());
    }
    Ok(library.ignoring(name, &ignored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_fields() {
        let fields = Fields { text: vec!["body".into()], label: Some("mood".into()), ..Fields::default() };
        let table = "id,body,mood,page\n1,\"one, \"\"two\"\"\nthree\",good,7\n2,x,,8\n";
        let library = read("a.csv", table, &fields).unwrap();
        assert_eq!(library.documents[0].text, "one, \"two\"\nthree");
        let labels: Vec<_> = library.documents.iter().map(|document| document.label.as_deref()).collect();
        assert_eq!(
            (labels, library.notes),
            (vec![Some("good"), None], vec!["a.csv: ignored the fields page".into()])
        );
        let library = read("a.tsv", "body\tmood\na \"b\tgood\n", &fields).unwrap();
        assert_eq!(library.documents[0].text, "a \"b");
    }

    #[test]
    fn errors_name_the_line_and_the_columns() {
        let error = read("a.csv", "body,page\nx,1\n", &Fields::default()).unwrap_err();
        assert!(error.starts_with("a.csv:2: no field \"text\" among body, page"), "{error}");
        let error = read("a.csv", "text,page\nx,1\ny\n", &Fields::default()).unwrap_err();
        assert_eq!(error, "a.csv:3: 1 cells, where the first row has 2 columns");
        assert!(read("a.csv", "", &Fields::default()).unwrap().documents.is_empty());
    }
}
