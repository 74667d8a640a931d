//! Corpora as people have them: each is tuned on, or refused with the file and the place.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Place, STAGE, autotune, text, winner};

/// A suite on a corpus of its own, with what the stage adds.
fn suite(corpus: &str, stage: &str) -> String {
    format!(
        "corpus = {corpus}\nmeasure = {{ time = \"10ms\", passes = 1 }}\nrounds = 1\n{STAGE}{stage}\n[backends.fake]\nbatch_ms = 1\n"
    )
}

fn place(corpus: &str) -> Place {
    Place::with_suite(&suite(corpus, ""))
}

/// Tunes, and returns the texts that were timed.
fn timed(place: &Place, more: &[&str]) -> (Vec<String>, String) {
    let output = place.tune(more);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let corpus = fs::read_to_string(place.run_folder().join("corpus.jsonl")).unwrap();
    let item = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned()
    };
    (corpus.lines().map(item).collect(), text(&output))
}

fn refused(place: &Place, more: &[&str]) -> String {
    let output = place.tune(more);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(!place.run_folder().exists(), "something was written");
    text(&output)
}

fn packed(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// A BEIR folder of four documents and three queries, one of which has no relevant document.
fn beir(folder: &Path) {
    fs::create_dir_all(folder.join("qrels")).unwrap();
    let document = |id: &str, title: &str, text: &str| {
        format!("{}\n", serde_json::json!({"_id": id, "title": title, "text": text, "metadata": {}}))
    };
    let corpus = [
        document("d1", "Huts", "The hut is closed in winter."),
        document("d2", "", "Trams run every ten minutes."),
        document("d3", "Bread", "The bakery opens at six."),
        document("d4", "Snow", "Snow is expected above 2000 metres."),
    ];
    fs::write(folder.join("corpus.jsonl"), corpus.concat()).unwrap();
    let query = |id: &str, text: &str| format!("{}\n", serde_json::json!({"_id": id, "text": text}));
    let queries = [query("q1", "when is the hut open"), query("q2", "bakery hours"), query("q3", "nothing")];
    fs::write(folder.join("queries.jsonl"), queries.concat()).unwrap();
    let judgements = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td4\t1\nq2\td3\t1\nq2\tabsent\t1\n";
    fs::write(folder.join("qrels/test.tsv"), judgements).unwrap();
}

#[test]
fn fields_that_nobody_needs_are_named_once_and_ignored() {
    let place = place("{ file = \"docs.jsonl\" }");
    let lines = "{\"_id\":\"a\",\"text\":\"one\",\"url\":\"x\",\"meta\":{\"n\":1}}\n{\"_id\":\"b\",\"text\":\"two\",\"url\":\"y\"}\n";
    fs::write(place.path().join("docs.jsonl"), lines).unwrap();
    let (texts, said) = timed(&place, &[]);
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(said.matches("docs.jsonl: ignored the fields url, meta").count(), 1, "{said}");
}

#[test]
fn a_beir_folder_judges_by_its_queries() {
    let place = Place::with_suite(&suite("{ file = \"beir\", first = 2 }", "").replace(
        "quality = { at_least = 0.99 }",
        "quality = { metric = \"ndcg10\" }\nlimits = [\"ndcg10 >= reference - 1%\"]",
    ));
    beir(&place.path().join("beir"));
    let (texts, said) = timed(&place, &[]);
    assert_eq!(texts, ["Huts The hut is closed in winter.", "Trams run every ten minutes."]);
    assert!(said.contains("ignored 1 judgements of unknown documents or queries"), "{said}");
    assert!(said.contains("ignored 1 queries without a relevant document"), "{said}");
    let judged = fs::read_to_string(place.run_folder().join("judged-embed.jsonl")).unwrap();
    assert_eq!(judged.lines().count(), 2 + 4);
    let best = place.best_json();
    let agreements = &winner(&best)["agreements"];
    let ndcg = &agreements["ndcg10"];
    assert_eq!((&ndcg["units"], &ndcg["value"]), (&serde_json::json!(2), &ndcg["reference"]));
    assert_eq!(ndcg["change"], serde_json::json!([0.0, 0.0]));
    assert_eq!(agreements["cosine"], 1.0, "agreement stays beside it");
    // The reference's answers stay, and the winner's.
    let mut kept: Vec<String> = fs::read_dir(place.run_folder().join("answers/embed"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let own = format!("{}.safetensors", winner(&best)["id"].as_str().unwrap());
    assert_eq!(kept, [own, "reference.safetensors".to_owned()]);
    // It's all in the run's folder: the corpus may go, and the report stays the same.
    fs::remove_dir_all(place.path().join("beir")).unwrap();
    assert_eq!(place.resume().status.code(), Some(0));
    assert_eq!(place.best_json(), best);
}

#[test]
fn a_beir_folder_that_lacks_something_says_what() {
    let place = place("{ file = \"beir\" }");
    let folder = place.path().join("beir");
    beir(&folder);
    fs::rename(folder.join("qrels/test.tsv"), folder.join("qrels/dev.tsv")).unwrap();
    let (texts, _) = timed(&place, &[]);
    assert_eq!(texts.len(), 4, "the only judgements are taken");
    fs::remove_dir_all(place.run_folder()).unwrap();
    fs::write(folder.join("qrels/train.tsv"), "query-id\tcorpus-id\tscore\n").unwrap();
    assert!(refused(&place, &[]).contains("qrels has dev, train: choose one with `split`"));
    fs::write(folder.join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nq1\td1\tvery\n").unwrap();
    assert!(refused(&place, &[]).contains("beir/qrels/test.tsv:2: \"very\" is not a grade"));
    fs::remove_file(folder.join("queries.jsonl")).unwrap();
    assert!(refused(&place, &[]).contains("beir has corpus.jsonl, and no queries.jsonl"));
}

#[test]
fn tables_have_their_texts_in_a_named_column() {
    let place = place("{ file = \"docs.csv\", text = \"body\" }");
    fs::write(place.path().join("docs.csv"), "id,body,page\n1,\"one, two\",7\n2,three,8\n").unwrap();
    assert_eq!(timed(&place, &[]).0, ["one, two", "three"]);
    fs::remove_dir_all(place.run_folder()).unwrap();
    fs::write(place.path().join("docs.csv"), "id,boddy\n1,one\n").unwrap();
    let error = refused(&place, &[]);
    assert!(
        error.contains("docs.csv:2: no field \"body\" among id, boddy; did you mean \"boddy\"?"),
        "{error}"
    );
}

#[test]
fn compressed_files_are_read_like_others() {
    let place = place("{ file = \"docs.tsv.gz\" }");
    fs::write(place.path().join("docs.tsv.gz"), packed("text\tn\none\t1\ntwo\t2\n")).unwrap();
    assert_eq!(timed(&place, &[]).0, ["one", "two"]);
    fs::remove_dir_all(place.run_folder()).unwrap();
    fs::write(place.path().join("docs.tsv.gz"), b"not packed").unwrap();
    assert!(refused(&place, &[]).contains("docs.tsv.gz can't be unpacked"));
}

#[test]
fn a_folder_of_texts_is_a_document_a_file() {
    let place = place("{ file = \"notes\" }");
    let notes = place.path().join("notes");
    fs::create_dir_all(notes.join("deep")).unwrap();
    fs::write(notes.join("a.md"), "# One\n\ntext").unwrap();
    fs::write(notes.join("deep/b.txt"), "two").unwrap();
    fs::write(notes.join("c.md.gz"), packed("three")).unwrap();
    fs::write(notes.join(".hidden.md"), "no").unwrap();
    fs::write(notes.join("picture.png"), [0x89, 0]).unwrap();
    assert_eq!(timed(&place, &[]).0, ["# One\n\ntext", "three", "two"]);
    fs::remove_dir_all(place.run_folder()).unwrap();
    for file in ["a.md", "c.md.gz", "deep/b.txt"] {
        fs::remove_file(notes.join(file)).unwrap();
    }
    assert!(refused(&place, &[]).contains("notes holds no document"));
}

#[test]
fn other_documents_can_be_named_on_the_command_line() {
    let place = Place::with_suite(&suite("{ file = \"beir\" }", "limits = [\"recall10 >= 0.5\"]"));
    beir(&place.path().join("beir"));
    fs::write(place.path().join("mine.csv"), "title,body\nT,one\nU,two\n").unwrap();
    let (texts, said) = timed(&place, &["--corpus", "mine.csv", "--text", "title,body"]);
    assert_eq!(texts, ["T one", "U two"]);
    // It has no labels, and the suite's limit needs some.
    assert!(said.contains("recall10 >= 0.5000 (not checked: the corpus has no labels)"), "{said}");
    let output = place.command(&["--text", "body"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "--text is for --corpus");
}

#[test]
fn a_suite_that_wants_labels_of_a_corpus_without_any_is_wrong() {
    let stage = suite("{ file = \"docs.txt\" }", "").replace("at_least = 0.99", "metric = \"ndcg10\"");
    let place = Place::with_suite(&stage);
    fs::write(place.path().join("docs.txt"), "one\ntwo\n").unwrap();
    let error = refused(&place, &[]);
    assert!(error.contains("suite.toml:1:"), "{error}");
    assert!(error.contains("is judged by ndcg10, which needs labels, and the corpus has none"), "{error}");
}

#[test]
fn encodings_are_read_by_their_names_or_named_in_the_error() {
    let place = place("{ file = \"docs.txt\", encoding = \"latin1\" }");
    fs::write(place.path().join("docs.txt"), b"l'\xe9t\xe9\n").unwrap();
    assert_eq!(timed(&place, &[]).0, ["l'été"]);

    let place = self::place("{ file = \"docs.txt\" }");
    fs::write(place.path().join("docs.txt"), "\u{feff}été\n").unwrap();
    assert_eq!(timed(&place, &[]).0, ["été"], "a mark at the start is no text");
    fs::remove_dir_all(place.run_folder()).unwrap();
    fs::write(place.path().join("docs.txt"), b"one\nd\xe9j\xe0 vu, l'\xe9t\xe9 \xe0 la montagne\n").unwrap();
    let error = refused(&place, &[]);
    assert!(error.contains("docs.txt:2: byte 6 isn't UTF-8"), "{error}");
    assert!(error.contains("encoding = \"windows-1252\""), "{error}");
    assert!(error.contains("--encoding windows-1252"), "{error}");
    let given = ["--corpus", "docs.txt", "--encoding", "windows-1252"];
    assert_eq!(timed(&place, &given).0, ["one", "déjà vu, l'été à la montagne"]);
    fs::remove_dir_all(place.run_folder()).unwrap();
    fs::write(place.path().join("docs.txt"), b"one\ntw\0o\n").unwrap();
    assert!(refused(&place, &[]).contains("docs.txt:2: byte 7 is NUL"));
}

#[test]
fn an_empty_file_and_a_line_without_end_are_refused() {
    let place = place("{ file = \"docs.jsonl\" }");
    fs::write(place.path().join("docs.jsonl"), "").unwrap();
    assert!(refused(&place, &[]).contains("docs.jsonl holds no document"));
    let long = format!("{{\"text\":\"one\"}}\n{{\"text\":\"{}\"}}\n", "word ".repeat(20 << 20));
    fs::write(place.path().join("docs.jsonl"), long).unwrap();
    let error = refused(&place, &[]);
    assert!(
        error.contains("docs.jsonl:2: a line of 100 MiB, and a document has 16.0 MiB at most"),
        "{error}"
    );
    assert!(refused(&self::place("{ file = \"absent.csv\" }"), &[]).contains("absent.csv: No such file"));
}

#[test]
fn a_folder_without_permission_is_named() {
    let place = place("{ file = \"notes\" }");
    let (notes, open) = (place.path().join("notes/closed"), Permissions::from_mode(0o755));
    fs::create_dir_all(&notes).unwrap();
    fs::write(notes.join("a.md"), "one").unwrap();
    fs::set_permissions(&notes, Permissions::from_mode(0o000)).unwrap();
    let mut command = place.command(&[]);
    // Root may read everything, so the program is run by somebody else.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        const NOBODY: u32 = 65_534;
        fs::set_permissions(place.path(), open.clone()).unwrap();
        chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command = as_nobody(&place, NOBODY);
    }
    let output: Output = command.output().unwrap();
    fs::set_permissions(&notes, open).unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("notes/closed: Permission denied"), "{}", text(&output));
}

/// The same command, of a copy of the program that anybody may start.
fn as_nobody(place: &Place, user: u32) -> Command {
    let copy = place.path().join("autotune");
    fs::copy(env!("CARGO_BIN_EXE_autotune"), &copy).unwrap();
    let mut command = Command::new("setpriv");
    let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
    command.args([&user, &group, "--clear-groups"]).arg(copy);
    command.args(["--suite", "suite.toml", "--out", "run"]).current_dir(place.path());
    command
}

#[test]
fn names_that_are_not_utf8_are_refused_before_anything_is_written() {
    let place = place("{ file = \"docs.txt\" }");
    fs::write(place.path().join("docs.txt"), "one\n").unwrap();
    let name = std::ffi::OsStr::from_bytes(b"r\xffn");
    let mut command = autotune(&["--suite", "suite.toml", "--out"]);
    let output = command.arg(name).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("isn't UTF-8"), "{}", text(&output));
    assert!(!place.path().join(name).exists());
    // Nor does a folder with such a name stop what is done in it by a name that is.
    let folder = place.path().join(name);
    fs::create_dir(&folder).unwrap();
    let output = autotune(&["check", "demo"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = autotune(&["--suite", "demo", "--quiet", "--budget", "4trials"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn labels_and_spans_are_judged_by_people() {
    let corpus = "{ file = \"docs.jsonl\", label = \"mood\" }";
    let stage = |task: &str, metric: &str| {
        suite(corpus, "")
            .replace("task = \"embed\"", &format!("task = \"{task}\""))
            .replace("at_least = 0.99", &format!("metric = \"{metric}\""))
    };
    let lines = [
        serde_json::json!({"text": "Zoé is glad", "mood": "good", "entities": [{"start": 0, "end": 3, "label": "PER"}]}),
        serde_json::json!({"text": "no names", "mood": "bad", "entities": []}),
        serde_json::json!({"text": "unlabelled"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for (task, metric) in [("classify", "macro-f1"), ("entities", "gold-f1")] {
        let place = Place::with_suite(&stage(task, metric));
        fs::write(
            place.path().join("docs.jsonl"),
            lines.replace("{\"text\":\"unlabelled\"}", "{\"text\":\"unlabelled\",\"mood\":null}"),
        )
        .unwrap();
        let (texts, _) = timed(&place, &[]);
        assert_eq!(texts.len(), 3);
        let judged = fs::read_to_string(place.run_folder().join(format!("judged-{task}.jsonl"))).unwrap();
        assert!(
            judged.lines().count() == 2 && !judged.contains("good"),
            "workers never see labels: {judged}"
        );
        let best = place.best_json();
        assert_eq!(winner(&best)["agreements"][metric]["units"], 2);
    }
}

#[test]
fn pairs_of_queries_and_documents_are_reranked() {
    let suite = suite("{ file = \"beir\" }", "")
        .replace("task = \"embed\"", "task = \"rerank\"")
        .replace("at_least = 0.99", "metric = \"mrr10\"");
    let place = Place::with_suite(&suite);
    beir(&place.path().join("beir"));
    let (texts, _) = timed(&place, &[]);
    assert_eq!(texts.len(), 4);
    let judged = fs::read_to_string(place.run_folder().join("judged-rerank.jsonl")).unwrap();
    assert!(judged.lines().all(|line| line.contains("\"query\"")));
    assert_eq!(winner(&place.best_json())["agreements"]["mrr10"]["units"], 2);
}
