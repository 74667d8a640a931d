//! A folder as BEIR has it: documents, queries, and what people say of which for which.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indexmap::IndexSet;

use super::files::Files;
use super::library::{Library, Query};
use super::{lines, table};

pub const CORPUS: &str = "corpus.jsonl";
const QUERIES: &str = "queries.jsonl";
const JUDGEMENTS: &str = "qrels";
/// The judgements that are taken of several.
const USUAL_SPLIT: &str = "test";

/// Reads a folder. `text` has a file's name without its compression, and its text.
pub fn read(
    folder: &Path,
    list: &[PathBuf],
    text: impl Fn(&PathBuf) -> Result<(String, String), String>,
    files: &Files,
) -> Result<Library, String> {
    let find = |name: &str| list.iter().find(|file| is_called(file, folder, name));
    let absent = |name: &str| format!("{} has {CORPUS}, and no {name}", folder.display());
    let fields = files.fields.of_beir();
    let mut ignored = IndexSet::new();
    let mut library = Library::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let (name, documents) = text(find(CORPUS).ok_or_else(|| absent(CORPUS))?)?;
    for record in lines::records(&name, &documents) {
        let (place, record) = record?;
        let problem = |why: String| format!("{place}: {why}");
        let Some(document) = fields.document(&record, &mut ignored).map_err(problem)? else { continue };
        let id = document.id.clone().ok_or_else(|| problem("no field \"_id\"".to_owned()))?;
        if places.insert(id.clone(), library.documents.len()).is_some() {
            return Err(problem(format!("a second document with the id {id:?}")));
        }
        library.documents.push(document);
    }
    library = library.ignoring(&name, &ignored);
    let (name, queries) = text(find(QUERIES).ok_or_else(|| absent(QUERIES))?)?;
    let mut asked: HashMap<String, usize> = HashMap::new();
    for record in lines::records(&name, &queries) {
        let (place, record) = record?;
        let problem = |why: String| format!("{place}: {why}");
        let Some(query) = fields.document(&record, &mut IndexSet::new()).map_err(problem)? else { continue };
        let id = query.id.ok_or_else(|| problem("no field \"_id\"".to_owned()))?;
        asked.insert(id, library.queries.len());
        library.queries.push(Query { text: query.text, grades: Vec::new() });
    }
    let (name, judgements) = text(judgements(folder, list, files.split.as_deref())?)?;
    let mut strange = 0;
    for row in graded(&name, &judgements)? {
        match (asked.get(&row.query), places.get(&row.document)) {
            (Some(&query), Some(&document)) => library.queries[query].grades.push((document, row.grade)),
            _ => strange += 1,
        }
    }
    // With a part of the documents some judgements are of others.
    if strange > 0 && files.fields.only.is_empty() {
        library.notes.push(format!("{name}: ignored {strange} judgements of unknown documents or queries"));
    }
    let before = library.queries.len();
    library.queries.retain(|query| query.grades.iter().any(|(_, grade)| *grade > 0));
    if library.queries.is_empty() {
        return Err(format!("{name}: no query has a relevant document"));
    }
    let unjudged = before - library.queries.len();
    if unjudged > 0 && files.fields.only.is_empty() {
        library.notes.push(format!("{name}: ignored {unjudged} queries without a relevant document"));
    }
    Ok(library)
}

/// The file of judgements: the one that is wanted, or the usual one, or the only one.
fn judgements<'a>(folder: &Path, list: &'a [PathBuf], wanted: Option<&str>) -> Result<&'a PathBuf, String> {
    let split = |file: &Path| {
        let inside = file.strip_prefix(folder).ok()?.strip_prefix(JUDGEMENTS).ok()?;
        Some(inside.to_str()?.trim_end_matches(".gz").strip_suffix(".tsv")?.to_owned())
    };
    let found: Vec<(String, &PathBuf)> = list.iter().filter_map(|file| Some((split(file)?, file))).collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let named = |wanted: &str| found.iter().find(|(name, _)| name == wanted).map(|(_, file)| *file);
    match (wanted, found.as_slice()) {
        (_, []) => Err(format!("{} has {CORPUS}, and no {JUDGEMENTS}/{USUAL_SPLIT}.tsv", folder.display())),
        (Some(wanted), _) => named(wanted).ok_or_else(|| {
            format!("{} has no {JUDGEMENTS}/{wanted}.tsv; available: {}", folder.display(), names.join(", "))
        }),
        (None, [(_, only)]) => Ok(only),
        (None, _) => named(USUAL_SPLIT).ok_or_else(|| {
            format!("{}/{JUDGEMENTS} has {}: choose one with `split`", folder.display(), names.join(", "))
        }),
    }
}

struct Row {
    query: String,
    document: String,
    grade: u32,
}

/// Rows of query, document and grade under a row of names; or, as trec_eval has them, of four cells without one.
fn graded(name: &str, text: &str) -> Result<Vec<Row>, String> {
    let grade = |place: &str, cell: &str| {
        // Below zero stands for harmful, or for spam: it isn't relevant.
        let number: i64 = cell.trim().parse().map_err(|_| format!("{place}: {cell:?} is not a grade"))?;
        Ok::<u32, String>(number.clamp(0, i64::from(u32::MAX)) as u32)
    };
    let columns = text.lines().next().unwrap_or_default();
    if !columns.contains("query") {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return lines
            .map(|(index, line)| {
                let place = format!("{name}:{}", index + 1);
                let cells: Vec<&str> = line.split_whitespace().collect();
                let (query, document, cell) = match cells.as_slice() {
                    [query, _, document, grade] | [query, document, grade] => (query, document, grade),
                    _ => return Err(format!("{place}: {} cells, expected 3", cells.len())),
                };
                let grade = grade(&place, cell)?;
                Ok(Row { query: (*query).to_owned(), document: (*document).to_owned(), grade })
            })
            .collect();
    }
    let rows = table::records(name, text)?.into_iter();
    rows.map(|(place, record)| {
        let mut cells = record.values().map(|cell| cell.as_str().unwrap_or_default().to_owned());
        match (cells.next(), cells.next(), cells.next()) {
            (Some(query), Some(document), Some(cell)) => {
                Ok(Row { query, document, grade: grade(&place, &cell)? })
            }
            _ => Err(format!("{place}: fewer than 3 cells")),
        }
    })
    .collect()
}

/// Whether a file of a folder has this name, compressed or not.
pub fn is_called(file: &Path, folder: &Path, name: &str) -> bool {
    let inside = file.strip_prefix(folder).unwrap_or(file);
    inside == Path::new(name) || inside == PathBuf::from(format!("{name}.gz"))
}
