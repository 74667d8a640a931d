//! What the project's own corpora promise: suites/corpora/README.md.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use autotune::suite::Bm25;
use serde_json::Value;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/corpora")
}

fn records(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(corpora().join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

fn sentences(text: &str) -> HashSet<String> {
    let ends = |character: char| matches!(character, '.' | '!' | '?' | '\n');
    let sentences = text.split(ends).map(|sentence| sentence.trim().to_lowercase());
    sentences.filter(|sentence| sentence.split_whitespace().count() >= 4).collect()
}

fn spans_are_inside(record: &Value) {
    let characters: Vec<char> = text(record, "text").chars().collect();
    let spans = record["entities"].as_array().unwrap();
    let mut end = 0;
    for span in spans {
        let (first, last) =
            (span["start"].as_u64().unwrap() as usize, span["end"].as_u64().unwrap() as usize);
        assert!(end <= first && first < last && last <= characters.len(), "{record}");
        assert!(["PER", "LOC", "ORG", "MISC"].contains(&text(span, "label")), "{record}");
        assert!(!characters[first].is_whitespace() && !characters[last - 1].is_whitespace(), "{record}");
        end = last;
    }
}

#[test]
fn the_documents_are_many_and_of_every_length_in_both_languages() {
    let documents = records("everyday/corpus.jsonl");
    let words = |record: &Value| text(record, "text").split_whitespace().count();
    for lang in ["en", "fr"] {
        let mut lengths: Vec<usize> =
            documents.iter().filter(|document| text(document, "lang") == lang).map(words).collect();
        lengths.sort_unstable();
        assert!(lengths.len() >= 200, "{lang}: {}", lengths.len());
        assert!(lengths[0] <= 8 && (300..=600).contains(lengths.last().unwrap()), "{lang}: {lengths:?}");
    }
    assert!(documents.len() >= 400);
    let mut seen: HashMap<String, usize> = HashMap::new();
    for document in &documents {
        for sentence in sentences(text(document, "text")) {
            *seen.entry(sentence).or_default() += 1;
        }
    }
    let repeated: Vec<_> = seen.iter().filter(|(_, count)| **count > 3).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
}

#[test]
fn two_hundred_documents_have_labels() {
    let documents = records("everyday/corpus.jsonl");
    let labelled: Vec<&Value> =
        documents.iter().filter(|document| document.get("sentiment").is_some()).collect();
    assert!(labelled.len() >= 200, "{}", labelled.len());
    labelled.iter().for_each(|document| spans_are_inside(document));
    for sentiment in ["positive", "neutral", "negative"] {
        let count = labelled.iter().filter(|document| text(document, "sentiment") == sentiment).count();
        assert!(count >= 50, "{sentiment}: {count}");
    }
}

#[test]
fn a_search_by_words_finds_some_answers_and_misses_others() {
    let (documents, queries) = (records("everyday/corpus.jsonl"), records("everyday/queries.jsonl"));
    assert!(queries.len() >= 120, "{}", queries.len());
    let judgements = fs::read_to_string(corpora().join("everyday/qrels/test.tsv")).unwrap();
    let mut grades: HashMap<(&str, &str), f64> = HashMap::new();
    for row in judgements.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        grades.insert((cells[0], cells[1]), cells[2].parse().unwrap());
    }
    assert!(grades.values().any(|grade| *grade == 1.0) && grades.values().any(|grade| *grade == 2.0));
    let whole = |document: &Value| format!("{} {}", text(document, "title"), text(document, "text"));
    let texts: Vec<String> = documents.iter().map(whole).collect();
    let index = Bm25::new(texts.iter().map(String::as_str));
    let gain = |place: usize, grade: f64| grade / ((place + 2) as f64).log2();
    let ndcg = |query: &Value| {
        let id = text(query, "_id");
        let found = index.search(text(query, "text"), 10).into_iter().enumerate();
        let found: f64 = found
            .map(|(place, document)| {
                gain(place, grades.get(&(id, text(&documents[document], "_id"))).copied().unwrap_or(0.0))
            })
            .sum();
        let mut ideal: Vec<f64> =
            grades.iter().filter(|((query, _), _)| *query == id).map(|(_, grade)| *grade).collect();
        ideal.sort_by(|left, right| right.total_cmp(left));
        found / ideal.iter().take(10).enumerate().map(|(place, grade)| gain(place, *grade)).sum::<f64>()
    };
    let mean = queries.iter().map(ndcg).sum::<f64>() / queries.len() as f64;
    println!("BM25 nDCG@10 {mean:.3}");
    assert!((0.4..=0.8).contains(&mean), "{mean}");
}

#[test]
fn a_third_of_the_answers_lie_behind_the_64th_token() {
    let documents = records("everyday/corpus.jsonl");
    let queries = records("everyday/queries.jsonl");
    let deep = queries.iter().filter(|query| {
        let (answer, id) = (text(&query["metadata"], "answer"), text(&query["metadata"], "answer_in"));
        let document = documents.iter().find(|document| text(document, "_id") == id).unwrap();
        let (before, _) = text(document, "text").split_once(answer).unwrap_or_else(|| panic!("{query}"));
        // No tokenizer makes fewer tokens than there are words.
        before.split_whitespace().count() >= 64
    });
    let deep = deep.count();
    println!("{deep} of {}", queries.len());
    assert!(3 * deep >= queries.len(), "{deep} of {}", queries.len());
}

#[test]
fn the_handbooks_are_written_as_projects_write_them() {
    let files: Vec<String> = fs::read_dir(corpora().join("handbooks"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(files.len(), 48);
    let begins = |text: &str, starts: &[&str]| {
        text.lines().any(|line| starts.iter().any(|start| line.starts_with(start)))
    };
    for text in &files {
        let has = [&["## "][..], &["- ", "1. "], &["```"], &["|"]];
        assert!(has.iter().all(|starts| begins(text, starts)), "{}", &text[..60]);
    }
}

#[test]
fn the_conversation_has_its_turns_in_order() {
    let turns = records("conversation.jsonl");
    assert_eq!(turns.len(), 120);
    let times: Vec<&str> = turns.iter().map(|turn| text(turn, "time")).collect();
    assert!(times.is_sorted(), "{times:?}");
    turns.iter().for_each(spans_are_inside);
    assert!(turns.iter().all(|turn| !text(turn, "text").is_empty() && !text(turn, "sentiment").is_empty()));
}

/// A question about the handbooks is answered by places that are there, each once.
#[test]
fn questions_about_the_handbooks_are_answered_in_them() {
    let queries = records("handbooks-queries.jsonl");
    let mut main: HashMap<String, usize> = HashMap::new();
    for query in &queries {
        let answers = query["answers"].as_array().unwrap();
        assert!((1..=3).contains(&answers.len()) && answers[0]["grade"] == 2, "{query}");
        *main.entry(text(&answers[0], "file").to_owned()).or_default() += 1;
        for answer in answers {
            let file = fs::read_to_string(corpora().join("handbooks").join(text(answer, "file"))).unwrap();
            let quote = text(answer, "quote");
            assert!((20..=220).contains(&quote.chars().count()) && !quote.contains('\n'), "{answer}");
            assert_eq!(file.matches(quote).count(), 1, "{answer}");
            assert!(!quote.contains(text(query, "query")), "{query}");
        }
    }
    assert_eq!((queries.len(), main.len()), (96, 48));
    assert!(main.values().all(|count| *count == 2), "{main:?}");
    let in_french = queries.iter().filter(|query| text(query, "lang") == "fr").count();
    assert_eq!(in_french, 48);
}
