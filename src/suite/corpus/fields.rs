//! Which fields of a record are what.

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::library::Document;
use crate::answer::Span;
use crate::units::did_you_mean;

/// Fields of records, where they have other names than the usual ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    /// What the text is made of: these fields, a space between.
    pub text: Vec<String>,
    pub query: Option<String>,
    pub label: Option<String>,
    pub entities: Option<String>,
    /// Only records whose fields have these values.
    pub only: IndexMap<String, String>,
}

const IDS: [&str; 2] = ["_id", "id"];
const TEXT: &str = "text";
const TITLE: &str = "title";
const QUERY: &str = "query";
const LABEL: &str = "label";
const ENTITIES: &str = "entities";

/// A record of any form: fields by their names.
pub type Record = serde_json::Map<String, Value>;

impl Fields {
    /// As records of a BEIR folder have them.
    pub fn of_beir(&self) -> Fields {
        let usual = vec![TITLE.to_owned(), TEXT.to_owned()];
        let text = if self.text.is_empty() { usual } else { self.text.clone() };
        Fields { text, ..self.clone() }
    }

    /// Whether a record has every field that the text is made of.
    pub fn all_there(&self, record: &Record) -> Result<(), String> {
        let missing = self.text.iter().find(|name| !record.contains_key(*name));
        missing.map_or(Ok(()), |name| Err(absent(record, name)))
    }

    /// A record as a document; nothing where it's one of those that aren't wanted.
    pub fn document(
        &self,
        record: &Record,
        ignored: &mut IndexSet<String>,
    ) -> Result<Option<Document>, String> {
        let absent = |name: &str| absent(record, name);
        let mut used: Vec<&str> = Vec::new();
        for (name, wanted) in &self.only {
            let value = record.get(name).ok_or_else(|| absent(name))?;
            if in_words(value) != *wanted {
                return Ok(None);
            }
            used.push(name);
        }
        let id = IDS.iter().find_map(|name| record.get(*name));
        let id = id.map(in_words);
        used.extend(IDS);
        let usual = [TEXT.to_owned()];
        let names = if self.text.is_empty() { &usual[..] } else { &self.text };
        let mut parts = Vec::new();
        for name in names {
            match record.get(name) {
                Some(Value::String(part)) if part.is_empty() && names.len() > 1 => {}
                Some(Value::String(part)) => parts.push(part.as_str()),
                Some(other) => return Err(format!("{name:?} is {}, not a text", kind(other))),
                // Of several, as title and text, some may be missing, but not all.
                None if names.len() > 1 => {}
                None => {
                    let why = absent(name);
                    let fields = record
                        .iter()
                        .filter(|(other, value)| value.is_string() && !IDS.contains(&other.as_str()));
                    let hint = match fields.map(|(other, _)| other).next() {
                        Some(other) if !why.contains("did you mean") => {
                            format!(
                                "; if the text is in {other:?}, say so: --text {other}, or text = {other:?} in a suite"
                            )
                        }
                        _ => String::new(),
                    };
                    return Err(why + &hint);
                }
            }
            used.push(name);
        }
        if parts.is_empty() && names.iter().all(|name| !record.contains_key(name)) {
            return Err(absent(&names[names.len() - 1]));
        }
        let text = parts.join(" ");
        let mut optional = |own: &'_ Option<String>, usual: &'static str| -> Result<Option<Value>, String> {
            let name = own.as_deref().unwrap_or(usual);
            let value = record.get(name).filter(|value| !value.is_null());
            if value.is_some() {
                ignored.shift_remove(name);
            } else if own.is_some() && !record.contains_key(name) {
                return Err(absent(name));
            }
            Ok(value.cloned())
        };
        let query = match optional(&self.query, QUERY)? {
            Some(Value::String(query)) => Some(query),
            Some(other) => return Err(format!("the query is {}, not a text", kind(&other))),
            None => None,
        };
        let label = optional(&self.label, LABEL)?.as_ref().map(in_words);
        let entities = match optional(&self.entities, ENTITIES)? {
            None => None,
            // People count within the text proper, before which there may be a title.
            Some(entities) => {
                let own = names.last().and_then(|name| record.get(name)?.as_str()).unwrap_or_default();
                Some(spans(&text, text.len() - own.len(), &entities)?)
            }
        };
        let roles = [(&self.query, QUERY), (&self.label, LABEL), (&self.entities, ENTITIES)];
        let roles: Vec<&str> = roles.iter().map(|(own, usual)| own.as_deref().unwrap_or(usual)).collect();
        for name in record.keys().filter(|name| !used.contains(&name.as_str())) {
            if !roles.contains(&name.as_str()) {
                ignored.insert(name.clone());
            }
        }
        Ok(Some(Document { id, text, query, label, entities }))
    }
}

/// A value as people write it: of a text itself, without quotes.
fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Gold spans, which people count in characters. A table has them as JSON in a cell.
fn spans(text: &str, start: usize, entities: &Value) -> Result<Vec<Span>, String> {
    #[derive(serde::Deserialize)]
    struct Given {
        start: usize,
        end: usize,
        label: String,
    }
    let given: Result<Vec<Given>, _> = match entities {
        Value::String(cell) if cell.is_empty() => Ok(Vec::new()),
        Value::String(cell) => serde_json::from_str(cell),
        list => serde_json::from_value(list.clone()),
    };
    let given = given.map_err(|error| {
        format!("the entities aren't a list of {{\"start\": 0, \"end\": 4, \"label\": \"PER\"}}: {error}")
    })?;
    let mut places: Vec<usize> = text[start..].char_indices().map(|(byte, _)| start + byte).collect();
    places.push(text.len());
    given
        .into_iter()
        .map(|Given { start, end, label }| match (places.get(start), places.get(end)) {
            (Some(&first), Some(&last)) if start < end => Ok(Span { start: first, end: last, label }),
            _ => Err(format!("an entity from {start} to {end} in a text of {} characters", places.len() - 1)),
        })
        .collect()
}

fn absent(record: &Record, name: &str) -> String {
    let known = record.keys().map(String::as_str);
    let there: Vec<&str> = known.clone().collect();
    let hint = did_you_mean(name, known);
    format!("no field {name:?} among {}{hint}", there.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: &Fields, record: Value) -> Result<(Option<Document>, Vec<String>), String> {
        let mut ignored = IndexSet::new();
        let document = fields.document(record.as_object().unwrap(), &mut ignored)?;
        Ok((document, ignored.into_iter().collect()))
    }

    #[test]
    fn fields_that_nobody_needs_are_ignored_by_name() {
        let record = json!({"_id": 7, "title": "T", "text": "x", "query": "q", "label": 3, "metadata": {}});
        let (document, ignored) = read(&Fields::default(), record).unwrap();
        let document = document.unwrap();
        assert_eq!((document.id.as_deref(), document.text.as_str()), (Some("7"), "x"));
        assert_eq!((document.query.as_deref(), document.label.as_deref()), (Some("q"), Some("3")));
        assert_eq!(ignored, ["title", "metadata"]);
    }

    #[test]
    fn a_text_may_be_made_of_several_fields() {
        let fields = Fields::default().of_beir();
        let text = |record| read(&fields, record).unwrap().0.unwrap().text;
        assert_eq!(text(json!({"title": "T", "text": "x"})), "T x");
        assert_eq!(text(json!({"title": "", "text": "x"})), "x");
        assert_eq!(text(json!({"text": "x"})), "x");
        assert!(read(&fields, json!({"body": "x"})).is_err());
    }

    #[test]
    fn entities_are_counted_in_characters() {
        let record = json!({"text": "é Zoé", "entities": [{"start": 2, "end": 5, "label": "PER"}]});
        let document = read(&Fields::default(), record).unwrap().0.unwrap();
        assert_eq!(document.entities.unwrap(), [Span { start: 3, end: 7, label: "PER".into() }]);
        let titled =
            json!({"title": "T", "text": "Zoé", "entities": [{"start": 0, "end": 3, "label": "PER"}]});
        let document = read(&Fields::default().of_beir(), titled).unwrap().0.unwrap();
        assert_eq!(document.entities.unwrap(), [Span { start: 2, end: 6, label: "PER".into() }]);
        let error = read(
            &Fields::default(),
            json!({"text": "ab", "entities": [{"start": 0, "end": 3, "label": "X"}]}),
        );
        assert_eq!(error.unwrap_err(), "an entity from 0 to 3 in a text of 2 characters");
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let error = read(&Fields::default(), json!({"txt": "x"})).unwrap_err();
        assert!(error.starts_with("no field \"text\" among txt; did you mean \"txt\"?"), "{error}");
        let named = Fields { label: Some("sentiment".into()), ..Fields::default() };
        assert!(read(&named, json!({"text": "x"})).unwrap_err().contains("no field \"sentiment\""));
        assert_eq!(read(&named, json!({"text": "x", "sentiment": null})).unwrap().0.unwrap().label, None);
        assert!(read(&Fields::default(), json!({"text": 1})).unwrap_err().contains("\"text\" is a number"));
    }

    #[test]
    fn records_can_be_chosen() {
        let only = [("lang".to_owned(), "fr".to_owned())].into_iter().collect();
        let fields = Fields { only, ..Fields::default() };
        assert!(read(&fields, json!({"text": "x", "lang": "en"})).unwrap().0.is_none());
        assert_eq!(read(&fields, json!({"text": "x", "lang": "fr"})).unwrap().1, [""; 0]);
        assert!(read(&fields, json!({"text": "x"})).is_err());
    }
}
