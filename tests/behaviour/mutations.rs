//! Mutated suites and journals give an error or a valid result, and never a panic.

use std::path::Path;

use autotune::store::{Run, seal};
use autotune::suite::{self, CorpusSource, Folder, Overrides, SuiteSource};
use autotune::{analysis, emit};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::{Place, STAGE, suite};

/// Changes a text a few times: bytes, numbers, words, lines, and pieces of itself.
fn mutate(text: &[u8], random: &mut Pcg64) -> Vec<u8> {
    const PIECES: [&str; 22] = [
        "\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        "\n",
        "-1",
        "0",
        "1e308",
        "-0.0",
        "nan",
        "9223372036854775807",
        "true",
        "null",
        "\\u0000",
        "é",
        "[[stages]]",
        "[backends.fake.knobs.x]",
        "batch_size",
        "99999999999999999999",
    ];
    let mut text = text.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=text.len());
        let end = (at + random.random_range(0..=12)).min(text.len());
        match random.random_range(0..7) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..end, PIECES.choose(random).unwrap().bytes())),
            2 => text.insert(at, random.random()),
            3 if at < text.len() => text[at] ^= 1 << random.random_range(0..8),
            4 => {
                let piece = text[at..end].to_vec();
                let to = random.random_range(0..=text.len());
                drop(text.splice(to..to, piece));
            }
            5 => {
                let mut lines: Vec<Vec<u8>> =
                    text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                if !lines.is_empty() {
                    let (from, to) =
                        (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
                    match random.random_range(0..3) {
                        0 => drop(lines.remove(from)),
                        1 => lines.swap(from, to),
                        _ => lines.insert(to, lines[from].clone()),
                    }
                }
                text = lines.concat();
            }
            _ => change_digit(&mut text, 0, random),
        }
    }
    text
}

/// A number after `start` becomes another one, which stays readable more often than a flipped bit does.
fn change_digit(text: &mut [u8], start: usize, random: &mut Pcg64) {
    let digits: Vec<usize> = (start..text.len()).filter(|place| text[*place].is_ascii_digit()).collect();
    if let Some(place) = digits.choose(random) {
        text[*place] = b'0' + random.random_range(0..10);
    }
}

#[test]
fn five_hundred_mutated_suites_are_read_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        ["suites/demo.toml", "docs/examples/worker.toml"].map(|file| std::fs::read(root.join(file)).unwrap());
    let dialects = emit::env::names();
    let mut random = Pcg64::seed_from_u64(3);
    let (mut valid, mut refused) = (0, 0);
    for case in 0..500 {
        let mutated = mutate(files.choose(&mut random).unwrap(), &mut random);
        let Ok(text) = String::from_utf8(mutated) else {
            // Not a text at all: refused when the file is read, which other tests see.
            refused += 1;
            continue;
        };
        let source =
            SuiteSource { name: "mutant".into(), file: "mutant.toml".into(), text, folder: Folder::BuiltIn };
        let outcome = std::panic::catch_unwind(|| {
            match suite::parse(&source, &Overrides::default(), &dialects) {
                Ok(suite) => {
                    let small = matches!(&suite.corpus.source, CorpusSource::Synthetic(made) if made.documents < 5000);
                    if small {
                        let _ = suite.documents(&source.folder);
                    }
                    true
                }
                Err(problem) => {
                    assert!(problem.place.starts_with("mutant.toml"), "{problem}");
                    assert!(!problem.message.is_empty());
                    false
                }
            }
        });
        match outcome {
            Ok(true) => valid += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("case {case} panicked on:\n{}", source.text),
        }
    }
    // Both happen, or the mutations prove nothing.
    assert!(valid >= 30 && refused >= 200, "{valid} valid, {refused} refused");
}

/// Puts right checksums on lines that were changed, so that what is behind the checksum is tried too.
fn sealed_again(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(|line| match line.rsplit_once(",\"crc\":\"") {
        Some((body, _)) => seal(&format!("{body}}}")),
        None => line.to_owned() + "\n",
    });
    lines.collect::<String>().into_bytes()
}

#[test]
fn five_hundred_mutated_journals_are_read_or_refused() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [2, 8]\nk = [\"a\", \"b\"]\n");
    let script = "batch_ms = 3\nnoise = 0.02\nmemory_mib = 100\ntoken_kib = 10\n\
                  knobs.k = { applies = \"load\", default = \"a\", values = [\"a\", \"b\"] }\n\
                  [[backends.fake.rules]]\nwhen = { k = \"b\" }\nfault = \"exit\"\n";
    let place = Place::with_suite(&suite(&stage, script));
    place.best(&[], 0);
    let whole = std::fs::read(place.run_folder().join("journal.jsonl")).unwrap();
    let header_end = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut random = Pcg64::seed_from_u64(4);
    let (mut read, mut refused) = (0, 0);
    for case in 0..500 {
        // Damage as disks do it; the same behind a right checksum; and a single wrong figure behind one.
        let mutated = match case % 3 {
            0 => mutate(&whole, &mut random),
            1 => sealed_again(&mutate(&whole, &mut random)),
            _ => {
                let mut changed = whole.clone();
                change_digit(&mut changed, header_end, &mut random);
                sealed_again(&changed)
            }
        };
        std::fs::write(folder.path().join("journal.jsonl"), &mutated).unwrap();
        let outcome = std::panic::catch_unwind(|| digest(folder.path()));
        match outcome {
            Ok(Ok(())) => read += 1,
            Ok(Err(message)) => {
                assert!(!message.is_empty());
                refused += 1;
            }
            Err(_) => panic!("case {case} panicked on:\n{}", String::from_utf8_lossy(&mutated)),
        }
    }
    assert!(read >= 50 && refused >= 200, "{read} read, {refused} refused");
}

/// Reads a run and makes everything of it that `report` makes.
fn digest(folder: &Path) -> Result<(), String> {
    let run = Run::read(folder).map_err(|error| error.to_string())?;
    let suite = autotune::report::suite_of(&run).map_err(|error| error.to_string())?;
    let analysis = analysis::analyse(&suite, &run);
    let style = emit::style::Style { width: 80, colour: true };
    assert!(!emit::table::render(&analysis, style).is_empty());
    emit::trials::csv(&suite, &analysis, &run.recordings).map_err(|error| error.to_string())?;
    let settings = emit::env::render(&suite.dialect, &analysis, &run.header, &run.started)
        .map_err(|error| error.to_string())?;
    // Charts take most of the time, so only every few readable journals get theirs.
    let plots = if run.entries.len() % 3 == 0 {
        emit::plots::draw(&analysis, &run.recordings, folder).map_err(|error| error.to_string())?
    } else {
        Vec::new()
    };
    emit::page(&analysis, &run, &plots, &settings).map_err(|error| error.to_string())?;
    Ok(())
}
