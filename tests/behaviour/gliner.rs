//! GLiNER on both engines against its Python package: the same spans in the same order, and the same scores, whatever is asked for
//! and however texts share batches. How the models were made: tests/fixtures/README.md.

use std::path::PathBuf;

use autotune::answer::{Answer, Span};
use autotune::backend::{Batch, Device, LoadRequest, Session};
use autotune::item::Item;
use autotune::knob::{Candidate, Value};
use autotune::model::Encoding;
use autotune::task::{Prompt, Task};
use serde::Deserialize;

use crate::support::{Place, engines, text};

#[derive(Deserialize)]
struct Expected {
    /// Of one label, of three and of thirty.
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    labels: Vec<String>,
    threshold: f32,
    texts: Vec<String>,
    /// Start and end in bytes, label, and how likely it is.
    spans: Vec<Vec<(usize, usize, String, f32)>>,
    #[serde(default)]
    ids: Option<Vec<Vec<u32>>>,
    /// Of each span of each text, word after word and from short to long, a number for each label.
    #[serde(default)]
    logits: Option<Vec<Vec<f32>>>,
}

struct Fixture {
    folder: PathBuf,
    cases: Vec<Case>,
}

fn fixtures() -> Vec<Fixture> {
    let root = engines::fixtures_folder().join("gliner");
    let of = |name: &str| {
        let folder = root.join(name);
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        Fixture { folder, cases: serde_json::from_str::<Expected>(&text).unwrap().cases }
    };
    ["entities", "plain"].map(of).into()
}

fn engines_here() -> Vec<engines::Engine> {
    engines::all().into_iter().filter(|engine| engine.device == Device::Processor).collect()
}

fn load(
    engine: &engines::Engine,
    fixture: &Fixture,
    task: Task,
    prompt: Option<Prompt>,
    knobs: &[(&str, &str)],
) -> Result<Box<dyn Session>, String> {
    let value = |text: &str| Value::Text(text.to_owned());
    let knobs = knobs.iter().map(|(knob, text)| (knob.to_string(), value(text))).collect();
    let candidate = Candidate { backend: engine.name.to_owned(), knobs };
    let model = fixture.folder.display().to_string();
    let request = LoadRequest { task, prompt, model, candidate, device: engine.device, device_bytes: None };
    engine.open().load(&request).map_err(|error| error.to_string())
}

/// Behind a word without a token the package gives each word the vector of the next one, and its spans lie a word too early
/// (tests/fixtures/README.md). Here each word keeps its own.
fn is_shifted(fixture: &Fixture, text: &str) -> bool {
    fixture.folder.ends_with("entities") && text.contains('\u{200b}')
}

fn prompt(case: &Case) -> Prompt {
    Prompt { labels: case.labels.clone(), threshold: case.threshold }
}

fn documents(case: &Case) -> Vec<Item> {
    case.texts.iter().map(|text| Item { text: text.clone(), query: None }).collect()
}

#[test]
fn spans_are_those_of_the_python_package() {
    for engine in engines_here() {
        for fixture in fixtures() {
            for case in &fixture.cases {
                let mut session = load(&engine, &fixture, Task::Entities, Some(prompt(case)), &[]).unwrap();
                for knobs in [
                    [("batch_size", Value::Integer(1)), ("padding", Value::Text("padded".into()))],
                    [("batch_size", Value::Integer(5)), ("padding", Value::Text("padded".into()))],
                    [("batch_size", Value::Integer(64)), ("padding", Value::Text("packed".into()))],
                ] {
                    let answers = engines::pass(&mut *session, Task::Entities, &documents(case), &knobs);
                    assert_eq!(answers.len(), case.texts.len());
                    for ((answer, wanted), text) in answers.iter().zip(&case.spans).zip(&case.texts) {
                        if is_shifted(&fixture, text) {
                            continue;
                        }
                        let wanted: Vec<Span> = wanted
                            .iter()
                            .map(|(start, end, label, _)| Span {
                                start: *start,
                                end: *end,
                                label: label.clone(),
                            })
                            .collect();
                        let labels = case.labels.len();
                        let what = format!("{} {knobs:?}, {labels} labels: {text:?}", engine.name);
                        assert_eq!(*answer, Answer::Spans(wanted), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn scores_are_those_of_the_python_package() {
    let mut compared = 0;
    for engine in engines_here() {
        for fixture in fixtures() {
            for case in fixture.cases.iter().filter(|case| case.logits.is_some()) {
                let mut session = load(&engine, &fixture, Task::Entities, Some(prompt(case)), &[]).unwrap();
                let width = session.legend().spanning.unwrap().width;
                let tokeniser = session.tokeniser(None).unwrap();
                let encodings: Vec<Encoding> =
                    case.texts.iter().map(|text| tokeniser.encode(None, text).unwrap()).collect();
                // The package doesn't look at a text without words.
                let ids = encodings.iter().zip(case.ids.as_ref().unwrap()).filter(|(_, ids)| !ids.is_empty());
                ids.for_each(|(encoding, ids)| assert_eq!(encoding.ids, *ids));
                for packed in [false, true] {
                    let rows = session.run(&Batch::new(&encodings, packed)).unwrap().rows;
                    let wanted = case.logits.as_ref().unwrap();
                    let wanted = wanted.iter().zip(&case.texts);
                    for ((row, encoding), (wanted, text)) in rows.iter().zip(&encodings).zip(wanted) {
                        if is_shifted(&fixture, text) {
                            continue;
                        }
                        let words = encoding.marks.words.len();
                        let spans = row.chunks(case.labels.len()).enumerate();
                        let inside = spans.filter(|(place, _)| place / width + place % width < words);
                        let given: Vec<f32> = inside.flat_map(|(_, scores)| scores).copied().collect();
                        assert_eq!(given.len(), wanted.len(), "{}", engine.name);
                        for (given, wanted) in given.iter().zip(wanted) {
                            assert!((given - wanted).abs() < 1e-3, "{}: {given} {wanted}", engine.name);
                            compared += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn every_precision_finds_nearly_the_same() {
    for engine in engines_here() {
        for fixture in fixtures() {
            let case = &fixture.cases[1];
            let wanted: usize = case.spans.iter().map(Vec::len).sum();
            for dtype in ["fp16", "int8"] {
                let knobs = [("dtype", dtype)];
                let mut session =
                    load(&engine, &fixture, Task::Entities, Some(prompt(case)), &knobs).unwrap();
                let answers = engines::pass(&mut *session, Task::Entities, &documents(case), &[]);
                let same = answers.iter().zip(&case.spans).map(|(answer, wanted)| {
                    let Answer::Spans(spans) = answer else { panic!("{answer:?}") };
                    let is_wanted = |span: &&Span| {
                        wanted.iter().any(|(start, end, label, _)| {
                            (*start, *end, label) == (span.start, span.end, &span.label)
                        })
                    };
                    spans.iter().filter(is_wanted).count()
                });
                let same: usize = same.sum();
                // Random weights put many spans next to the threshold.
                assert!(2 * same > wanted, "{} {dtype}: {same} of {wanted}", engine.name);
            }
        }
    }
}

/// A domain is told by the likeliest span: of the labels, the one that most resembles anything in the text.
#[test]
fn a_text_is_classified_by_its_likeliest_span() {
    for engine in engines_here() {
        for fixture in fixtures() {
            let case = &fixture.cases[1];
            let mut session = load(&engine, &fixture, Task::Classify, Some(prompt(case)), &[]).unwrap();
            let answers = engines::pass(&mut *session, Task::Classify, &documents(case), &[]);
            for (answer, logits) in answers.iter().zip(case.logits.as_ref().unwrap()) {
                let best = (0..logits.len()).max_by(|left, right| logits[*left].total_cmp(&logits[*right]));
                let wanted = best.map(|best| case.labels[best % case.labels.len()].clone());
                assert_eq!(*answer, Answer::Label(wanted.unwrap_or_default()), "{}", engine.name);
            }
        }
    }
}

/// Its head has no kernels for cards yet: that's said, and nothing is predicted as if it had.
#[test]
fn a_card_that_isnt_here_gets_a_reason_and_no_prediction() {
    let suite = "corpus = { synthetic = { documents = 4 } }\n[[stages]]\ntask = \"entities\"\n\
                 model = \"urchade/gliner_small-v2.1\"\nlabels = [\"person\"]\nbackends = [\"candle\", \"ort\"]\n";
    let place = Place::with_suite(suite);
    let output = place.tune(&["--gpu", "rtx3090", "--replica"]);
    let said = text(&output);
    assert!(said.contains("the head of gliner runs on processors only, so far"), "{said}");
    assert!(!said.contains(" won"), "{said}");
}

#[test]
fn what_it_cant_be_asked_is_said() {
    for engine in engines_here() {
        let fixture = &fixtures()[0];
        let refused = |task: Task, labels: Option<&[&str]>| {
            let labels = labels.map(|labels| labels.iter().map(|label| label.to_string()).collect());
            let prompt = labels.map(|labels| Prompt { labels, threshold: 0.5 });
            match load(&engine, fixture, task, prompt, &[]) {
                Ok(mut session) => session.tokeniser(Some(8)).err().map(|error| error.to_string()),
                Err(error) => Some(error),
            }
        };
        let said = refused(Task::Entities, None).unwrap();
        assert!(said.contains("give the stage `labels`"), "{said}");
        let said = refused(Task::Entities, Some(&["<<ENT>> person"])).unwrap();
        assert!(said.contains("a token of the model's prompts"), "{said}");
        let said = refused(Task::Embed, Some(&["person"])).unwrap();
        assert!(said.contains("GLiNER finds entities, or classifies"), "{said}");
    }
}

/// Texts that nobody foresees: each has an answer or a reason, and every span begins and ends between characters.
fn hostile_texts() -> Vec<String> {
    let alphabets = [
        "🚄🎉👨‍👩‍👧",
        "\0",
        "\u{202e}שלום",
        "مرحبا",
        "\u{feff}",
        "ﬁ",
        "\u{200b}",
        "\u{301}",
        "दिल्ली",
        "<<ENT>>",
        "<<SEP>>",
        "[CLS]",
        "\u{1c}",
        "\r\n",
        "a-",
        "_",
        "𝔘",
        "\u{10ffff}",
        "#",
        "é",
    ];
    let mut texts: Vec<String> = Vec::new();
    for (place, one) in alphabets.iter().enumerate() {
        for other in &alphabets {
            texts.push(format!("{one}{other}"));
            texts.push(format!("{other} {one} Paris{one}"));
        }
        texts.push(one.repeat(1 + 97 * place));
        texts.push(format!("{one} ").repeat(300));
    }
    texts.push(String::new());
    texts.push("a".repeat(10 << 20));
    texts.push("a ".repeat(100_000));
    texts.push((0..50_000).map(|level| "#".repeat(level % 7) + " heading\n").collect());
    let mut next = 0u32;
    while texts.len() < 1000 {
        // Any characters at all.
        let letters = (0..40).filter_map(|_| {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(next >> 11)
        });
        texts.push(letters.collect());
    }
    texts
}

#[test]
fn hostile_texts_have_answers_with_ends_between_characters() {
    let texts = hostile_texts();
    assert!(texts.len() >= 1000);
    for engine in engines_here() {
        for fixture in fixtures() {
            let mut case = Prompt { labels: vec!["person".into(), "place".into()], threshold: 0.3 };
            case.labels.push("\u{202e}تاريخ 🎉".into());
            let mut session = load(&engine, &fixture, Task::Entities, Some(case), &[]).unwrap();
            let documents: Vec<Item> =
                texts.iter().map(|text| Item { text: text.clone(), query: None }).collect();
            let answers = engines::pass(&mut *session, Task::Entities, &documents, &[]);
            assert_eq!(answers.len(), texts.len());
            let mut spans = 0;
            for (answer, text) in answers.iter().zip(&texts) {
                let Answer::Spans(found) = answer else { panic!("{answer:?}") };
                for span in found {
                    assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
                    assert!(span.start < span.end && span.end <= text.len());
                }
                spans += found.len();
            }
            assert!(spans > 100, "{} {spans}", engine.name);
        }
    }
}

#[test]
fn hostile_labels_are_answered_or_refused_with_a_reason() {
    let odd = [
        "",
        " ",
        "\0",
        "🎉",
        "\u{202e}",
        "<<ENT>>",
        "a<<SEP>>b",
        "[CLS]",
        "[MASK]",
        "\n\n",
        "\u{200b}",
        "é",
        "-",
    ];
    let mut prompts: Vec<Vec<String>> = odd.iter().map(|label| vec![label.to_string()]).collect();
    for one in odd {
        prompts.extend(odd.iter().map(|other| vec![one.to_owned(), format!("{other}x")]));
    }
    prompts.push(vec!["x".repeat(100_000)]);
    prompts.push((0..5000).map(|label| format!("label {label}")).collect());
    prompts.extend((1..30).map(|count| vec!["person".to_owned(); count]));
    assert!(prompts.len() >= 200);
    let document = [Item { text: "Anna left Paris on Monday.".into(), query: None }];
    for engine in engines_here() {
        let fixture = &fixtures()[0];
        let mut answered = 0;
        for labels in &prompts {
            let prompt = Prompt { labels: labels.clone(), threshold: 0.1 };
            let mut session = match load(&engine, fixture, Task::Entities, Some(prompt), &[]) {
                Ok(session) => session,
                Err(why) => {
                    assert!(why.contains("label"), "{why}");
                    continue;
                }
            };
            let tokeniser = session.tokeniser(None).unwrap();
            match tokeniser.encode(None, &document[0].text) {
                Err(why) => assert!(why.contains("labels don't fit"), "{why}"),
                Ok(_) => {
                    let answers = engines::pass(&mut *session, Task::Entities, &document, &[]);
                    assert!(matches!(&answers[..], [Answer::Spans(_)]));
                    answered += 1;
                }
            }
        }
        assert!(answered > 100, "{} answered {answered}", engine.name);
    }
}
