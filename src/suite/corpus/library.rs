//! A corpus as it was read, whatever form it had.

use indexmap::IndexSet;

use crate::answer::Span;
use crate::item::Item;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Library {
    pub documents: Vec<Document>,
    pub queries: Vec<Query>,
    /// Fields that nobody needs, and other things worth saying once.
    pub notes: Vec<String>,
}

/// A document with whatever is known of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    pub id: Option<String>,
    pub text: String,
    pub query: Option<String>,
    pub label: Option<String>,
    pub entities: Option<Vec<Span>>,
}

/// A query with the documents that people have judged for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub text: String,
    /// Places of documents, with their grades.
    pub grades: Vec<(usize, u32)>,
}

impl Library {
    /// Documents that are nothing but texts, each with its name.
    pub fn of_texts(texts: Vec<(String, String)>) -> Library {
        let document = |(id, text)| Document { id: Some(id), text, ..Document::default() };
        Library { documents: texts.into_iter().map(document).collect(), ..Library::default() }
    }

    pub fn of_items(items: Vec<Item>) -> Library {
        let document = |item: Item| Document { text: item.text, query: item.query, ..Document::default() };
        Library { documents: items.into_iter().map(document).collect(), ..Library::default() }
    }

    /// The same, unless there is nothing in it.
    pub fn or_empty(self, name: &str) -> Result<Library, String> {
        if self.documents.is_empty() { Err(format!("{name} holds no document")) } else { Ok(self) }
    }

    /// Says once which fields were ignored.
    pub fn ignoring(mut self, name: &str, ignored: &IndexSet<String>) -> Library {
        if !ignored.is_empty() {
            let fields: Vec<&str> = ignored.iter().map(String::as_str).collect();
            self.notes.push(format!("{name}: ignored the fields {}", fields.join(", ")));
        }
        self
    }

    /// What is timed: the first documents. For a reranker each has a query: its own, or one that it's relevant to, or any.
    pub fn timed(&self, first: Option<usize>, reranks: bool) -> Vec<Item> {
        let count = self.documents.len().min(first.unwrap_or(usize::MAX));
        let mut queries: Vec<Option<&String>> =
            self.documents[..count].iter().map(|document| document.query.as_ref()).collect();
        let asked = if reranks { self.queries.as_slice() } else { &[] };
        for query in asked {
            for (place, _) in query.grades.iter().filter(|(place, grade)| *place < count && *grade > 0) {
                queries[*place].get_or_insert(&query.text);
            }
        }
        let mut others = asked.iter().map(|query| &query.text).cycle();
        let items = self.documents.iter().zip(queries).map(|(document, query)| {
            let query = query.or_else(|| others.next());
            Item { text: document.text.clone(), query: query.cloned() }
        });
        items.collect()
    }
}
