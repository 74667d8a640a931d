//! What a short time is spent on: a part of a large corpus, and several stages in turn.

use std::path::Path;

use autotune::record::Part;
use autotune::store::Entry;

use crate::support::{Place, autotune, suite, text};

/// A corpus that no pass is through in a fortieth of a second or two.
fn large() -> Place {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/bert-embed-mean");
    Place::with_suite(&format!(
        "corpus = {{ synthetic = {{ documents = 30000, median_words = 8, spread = 0.6, most_words = 24 }} }}\n\
         measure = {{ time = \"20ms\", passes = 1 }}\n\
         [[stages]]\nname = \"embed\"\ntask = \"embed\"\nmodel = \"{}\"\nbackends = [\"candle\"]\n\
         [stages.knobs]\nbatch_size = [8, 16]\norder = [\"arrival\", \"length\"]\n",
        model.display()
    ))
}

fn shortened(place: &Place) -> Option<Part> {
    place.run().entries.into_iter().find_map(|stamped| match stamped.entry {
        Entry::Shortened { part, .. } => Some(part),
        _ => None,
    })
}

#[test]
fn a_corpus_whose_passes_would_use_up_the_time_is_measured_in_part() {
    let place = large();
    let best = place.best(&["--gpu", "cpu", "--budget", "2s"], 0);
    let part = shortened(&place).expect("a part of the corpus");
    assert!((64..=15_000).contains(&part.documents) && part.of == 30_000, "{part:?}");
    let passes = |place: &Place| -> Vec<u64> {
        let recordings = place.run().recordings;
        let measured = recordings.iter().filter_map(|recording| recording.measured());
        measured.flat_map(|measured| &measured.passes).map(|pass| pass.documents).collect()
    };
    let counts = passes(&place);
    assert!(!counts.is_empty() && counts.iter().all(|count| *count == part.documents as u64), "{counts:?}");
    let doubts = best["stages"][0]["doubts"].as_array().unwrap();
    assert!(doubts.iter().any(|doubt| doubt["doubt"] == "shortened"), "{doubts:?}");
    assert_eq!(best["stages"][0]["part"]["documents"].as_u64(), Some(part.documents as u64));

    // Figures of different parts aren't mixed: whoever goes on measures the same.
    let arguments = ["--resume", "run", "--budget", "4s"];
    let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains(&format!("measured on {} of 30000 documents", part.documents)));
    let more = passes(&place);
    assert!(more.len() >= counts.len());
    assert!(more.iter().all(|count| *count == part.documents as u64), "{more:?}");
}

#[test]
fn without_a_limit_of_time_all_documents_are_measured() {
    let place = large();
    place.best(&["--gpu", "cpu", "--budget", "2trials", "--rounds", "1"], 0);
    assert_eq!(shortened(&place), None);
    assert_eq!(place.run().recordings[0].measured().unwrap().passes[0].documents, 30_000);
    assert!(!place.run_folder().join("part-embed.jsonl").exists());
}

#[test]
fn stages_share_a_time_by_what_they_have_to_gain() {
    // In the first stage nothing makes a difference; in the second, larger batches do.
    let knobs = "batch_size = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 23, 24]\n\
                 order = [\"arrival\", \"length\"]\nmax_tokens = [\"none\", 200, 199, 198, 197, 196]\n";
    let stage = |name: &str, backend: &str| {
        format!(
            "[[stages]]\nname = \"{name}\"\ntask = \"embed\"\nmodel = \"any\"\nbackends = [\"{backend}\"]\n\
             [stages.knobs]\n{knobs}"
        )
    };
    let stages = [stage("flat", "flat"), stage("steep", "fake")].concat();
    let flat = "\n[backends.flat]\nkind = \"fake\"\nbatch_ms = 0\ntoken_us = 10\nnoise = 0.001\n";
    let place = Place::with_suite(&(suite(&stages, "batch_ms = 8\nnoise = 0.01\n") + flat));
    let best = place.best(&["--budget", "2s"], 0);
    // Each has had a first look, and its part of the rest.
    let looks = |name: &str| {
        let entries = place.run().entries.into_iter();
        entries
            .filter(|stamped| matches!(&stamped.entry, Entry::Stopped { stage, .. } if stage == name))
            .count()
    };
    assert_eq!((looks("flat"), looks("steep")), (2, 2));
    let winner = &best["stages"][1]["candidates"][0];
    assert_eq!(winner["verdict"], "won", "{winner}");
    assert!(winner["candidate"]["knobs"]["batch_size"].as_u64().unwrap() >= 18, "{winner}");
    let names: Vec<_> = best["stages"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(names, ["flat", "steep"]);
}
