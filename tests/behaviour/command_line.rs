//! Verbs, flags, exit codes, and errors that say where and what was meant.

use serde_json::Value;

use crate::support::{CORPUS, Place, STAGE, autotune, suite, text, winner};

fn code_and_text(arguments: &[&str], place: &Place) -> (i32, String) {
    let output = autotune(arguments).current_dir(place.path()).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

#[test]
fn a_wrong_suite_is_one_clear_error_with_its_place_and_the_nearest_name() {
    let stage = |knobs: &str| format!("{STAGE}\n[stages.knobs]\n{knobs}\n");
    let script = "batch_ms = 1";
    let replaced = |old: &str, new: &str| suite(STAGE, script).replace(old, new);
    let with = |line: &str| format!("{line}\n{}", suite(STAGE, script));
    for (broken, at, wanted) in [
        (
            suite(&stage("bach_size = [1]"), script),
            "bach_size",
            vec!["no knob \"bach_size\"", "\"batch_size\"?"],
        ),
        (suite(&stage("batch_size = []"), script), "[]", vec!["the space is empty"]),
        (suite(&stage("batch_size = [0]"), script), "[0]", vec!["0 is not a whole number from 1"]),
        (suite(&stage("batch_size = [8, 8]"), script), "[8, 8]", vec!["twice"]),
        (suite(&stage("batch_size = {}"), script), "{}", vec!["expected a value"]),
        (suite(STAGE, "batch_mss = 1"), "batch_mss", vec!["`batch_mss`", "\"batch_ms\"?"]),
        (suite(STAGE, "batch_ms = \"x\""), "\"x\"", vec!["invalid type"]),
        (suite(STAGE, "batch_ms = -1"), "fake]", vec!["`batch_ms`", "from 0"]),
        (replaced("[\"fake\"]", "[\"fke\"]"), "\"fke\"", vec!["\"fke\"", "\"fake\"?"]),
        (replaced("\"embed\"", "\"embd\""), "\"embd\"", vec!["`embd`", "\"embed\"?"]),
        (replaced("model = \"m\"", ""), "[[stages]]", vec!["missing field `model`"]),
        (replaced("at_least = 0.99", "at_least = 9"), "9 }", vec!["from -1 to 1"]),
        (replaced("at_least", "metric = \"order\", at_least"), "\"order\"", vec!["doesn't apply"]),
        (replaced("synthetic", "sythetic"), "sythetic", vec!["\"synthetic\"?"]),
        (replaced("documents = 24", "documents = 0"), "{ documents", vec!["from 1"]),
        (
            replaced(CORPUS, "corpus = { file = \"none.jsonl\" }"),
            "\"none.jsonl\"",
            vec!["none.jsonl", "No such file"],
        ),
        (with("objective = \"throughputs\""), "\"throughputs\"", vec!["\"throughput\"?"]),
        (with("limits = [\"vrm <= 8GiB\"]"), "\"vrm", vec!["\"vram\"?"]),
        (with("budget = \"soon\""), "\"soon\"", vec!["10m"]),
        (with("search = \"gird\""), "\"gird\"", vec!["\"grid\"?"]),
        (with("dialect = \"tie\""), "\"tie\"", vec!["\"tei\"?"]),
        (with("rounds = 0"), "0", vec!["from 1"]),
        (
            suite(STAGE, "knobs.a/b = 1")
                .replace("a/b", "\"a/b\"")
                .replace("= 1\n", "= { applies = \"run\", default = 1 }\n"),
            "fake]",
            vec!["\"a/b\" is not a valid name"],
        ),
        (
            suite(&format!("{STAGE}exclude = [{{ when = {{ batch_size = 32 }}, because = \"x\" }}]"), script),
            "{ when",
            vec!["excludes the baseline"],
        ),
        (with("objective = \"cost\""), "", vec!["price_per_hour"]),
        ("corpus = ".to_owned(), "", vec!["suite.toml:1:10"]),
        (String::new(), "", vec!["suite.toml:1:1", "missing field"]),
    ] {
        let mut wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        if !at.is_empty() {
            let before = &broken[..broken.find(at).unwrap()];
            let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
            wanted.push(format!("suite.toml:{}:{column}: ", before.matches('\n').count() + 1));
        }
        let place = Place::with_suite(&broken);
        for arguments in [vec!["check", "suite.toml"], vec!["--suite", "suite.toml", "--out", "run"]] {
            let (code, message) = code_and_text(&arguments, &place);
            assert_eq!(code, 2, "{message}\n{broken}");
            assert_eq!(message.trim().lines().count(), 1, "{message}");
            for part in &wanted {
                assert!(message.contains(part.as_str()), "no {part:?} in: {message}\n{broken}");
            }
        }
        assert!(!place.run_folder().exists(), "nothing was begun");
    }
}

#[test]
fn a_wrong_command_line_is_bad_usage() {
    let place = Place::with_suite(&suite(STAGE, "batch_ms = 1"));
    for (arguments, wanted) in [
        (vec!["--suite", "demoo"], "did you mean \"demo\"?"),
        (vec!["--suite", "none.toml"], "none.toml"),
        (vec!["--suite", "suite.toml", "--set", "bach_size=1"], "did you mean \"batch_size\"?"),
        (vec!["--suite", "suite.toml", "--set", "batch_size"], "KNOB=value"),
        (vec!["--suite", "suite.toml", "--set", "batch_size=x"], "\"x\" is not a whole number"),
        (vec!["--suite", "suite.toml", "--backend", "fke"], "did you mean \"fake\"?"),
        (vec!["--suite", "suite.toml", "--objective", "speed"], "--objective"),
        (vec!["--suite", "suite.toml", "--limit", "vram<=big"], "--limit"),
        (vec!["--suite", "suite.toml", "--budget", "0trials"], "--budget"),
        (vec!["--suite", "suite.toml", "--dialect", "klingon"], "--dialect"),
        (vec!["--resume", "run", "--suite", "suite.toml"], "cannot be used with"),
        (vec!["--frobnicate"], "--frobnicate"),
    ] {
        let (code, message) = code_and_text(&arguments, &place);
        assert_eq!((code, message.contains(wanted)), (2, true), "{arguments:?}: {message}");
    }
}

#[test]
fn an_absent_target_has_its_own_code() {
    let place = Place::with_suite(
        "corpus = { synthetic = { documents = 2 } }\n[[stages]]\ntask = \"embed\"\nmodel = \"m\"\nbackends = [\"exec\"]\n\
         [backends.exec]\ncommand = [\"true\"]\n",
    );
    // Whatever card this machine may have, it has no twentieth one.
    let (code, message) = code_and_text(&["--suite", "suite.toml", "--gpu", "cuda:19"], &place);
    assert_eq!(code, 3, "{message}");
    assert!(message.contains("not in this machine"), "{message}");
    assert_eq!(code_and_text(&["--suite", "suite.toml", "--gpu", "rtx99"], &place).0, 2);
    let (code, message) = code_and_text(&["--suite", "demo", "--measured"], &place);
    assert_eq!((code, message.contains("simulated")), (3, true), "{message}");
}

#[test]
fn the_command_line_changes_the_suite() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [1, 2, 3]\nmax_tokens = [8, \"none\"]\n");
    let place = Place::with_suite(&suite(&stage, "batch_ms = 1"));
    let candidates = |more: &[&str]| {
        let arguments: Vec<&str> =
            ["check", "suite.toml", "--candidates"].iter().chain(more).copied().collect();
        let (code, text) = code_and_text(&arguments, &place);
        assert_eq!(code, 0, "{text}");
        text.lines().filter(|line| line.contains("batch_size=")).filter(|line| !line.contains("line")).count()
    };
    // The space, the default beside it, and the lines of baseline and reference.
    assert_eq!(candidates(&[]), 3 * 2 + 1 + 1);
    assert_eq!(candidates(&["--set", "batch_size=4,5", "--set", "embed.max_tokens=none"]), 2 + 1 + 1);
}

#[test]
fn json_is_one_document_on_stdout_and_nothing_else() {
    let place = Place::with_suite(&suite(STAGE, "batch_ms = 1"));
    let output = place.tune(&["--json", "--env-file", "settings.env"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document, place.best_json());
    let settings = std::fs::read_to_string(place.path().join("settings.env")).unwrap();
    assert!(settings.contains("EMBEDDING_BATCH=32"), "{settings}");
    assert!(!String::from_utf8_lossy(&place_quiet(&place).stderr).contains('\n'), "quiet is quiet");
    for verb in [
        vec!["list", "--json"],
        vec!["doctor", "--json"],
        vec!["report", "run", "--json"],
        vec!["compare", "run", "run", "--json"],
    ] {
        let output = autotune(&verb).current_dir(place.path()).output().unwrap();
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{verb:?}: {error}"));
        assert!(!document.is_null());
    }
}

fn place_quiet(place: &Place) -> std::process::Output {
    autotune(&["report", "run", "--quiet"]).current_dir(place.path()).output().unwrap()
}

#[test]
fn a_run_leaves_everything_that_is_promised() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [2, 8]\nmax_tokens = [4, \"none\"]\n");
    let place =
        Place::with_suite(&suite(&stage, "batch_ms = 1\ntoken_us = 10\nmemory_mib = 10\ntoken_kib = 4\n"));
    place.best(&[], 0);
    let mut files =
        vec!["run.json", "journal.jsonl", "trials.csv", "best.json", ".env.optimized", "report.html"]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
    for plot in [
        "throughput-by-batch_size",
        "memory-by-batch_size",
        "throughput-by-max_tokens",
        "memory-by-max_tokens",
        "pareto",
        "stage-split",
        "search-progress",
    ] {
        files.extend(["svg", "png"].map(|ending| format!("plots/embed-{plot}.{ending}")));
    }
    for file in &files {
        let bytes =
            std::fs::read(place.run_folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        match file.rsplit('.').next().unwrap() {
            "png" => assert_eq!(&bytes[1..4], b"PNG", "{file}"),
            "svg" => assert!(bytes.starts_with(b"<svg") && bytes.len() > 1000, "{file}"),
            _ => assert!(!bytes.is_empty(), "{file}"),
        }
    }
    let left: Vec<_> =
        walk(&place.run_folder()).into_iter().filter(|name| name.contains("unfinished")).collect();
    assert!(left.is_empty(), "{left:?}");
    // The page needs no network: it names no other file and no server.
    let page = std::fs::read_to_string(place.run_folder().join("report.html")).unwrap();
    for outside in ["<link", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    // From the journal alone everything comes out the same again.
    let before: Vec<_> =
        files.iter().map(|file| std::fs::read(place.run_folder().join(file)).unwrap()).collect();
    let output = autotune(&["report", "run"]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for (file, before) in files.iter().zip(before) {
        assert!(std::fs::read(place.run_folder().join(file)).unwrap() == before, "{file} differs");
    }
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[test]
fn two_runs_are_put_side_by_side() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [2, 8]\n");
    let place = Place::with_suite(&suite(&stage, "batch_ms = 2"));
    place.best(&[], 0);
    std::fs::rename(place.run_folder(), place.path().join("then")).unwrap();
    // The same machine, half as fast.
    std::fs::write(place.path().join("suite.toml"), suite(&stage, "batch_ms = 4")).unwrap();
    place.best(&[], 0);
    let output = autotune(&["compare", "then", "run", "--json"]).current_dir(place.path()).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ratio = document["stages"][0]["winners"]["value"].as_f64().unwrap();
    assert!((ratio - 0.5).abs() < 1e-9, "{document}");
    assert!(document["cautions"][0].as_str().unwrap().contains("not measured at the same time"));
    let (_, text) = code_and_text(&["compare", "then", "run"], &place);
    assert!(text.contains("0.500"), "{text}");
}

#[test]
fn every_dialect_speaks_the_keys_of_its_service() {
    let stage = |task: &str| {
        format!(
            "[[stages]]\ntask = \"{task}\"\nmodel = \"org/{task}\"\nbackends = [\"fake\"]\n[stages.knobs]\ndtype = [\"fp16\"]\nbatch_size = [16]\nmax_tokens = [128]\n"
        )
    };
    let script = "token_us = 100\ndevice = \"cuda:0\"\nknobs.dtype = { applies = \"load\", default = \"fp32\", values = [\"fp32\", \"fp16\"] }\n\
                  [[backends.fake.rules]]\nwhen = { dtype = \"fp16\" }\ncompute = 0.5\n";
    let stages = ["embed", "rerank", "entities"].map(stage).concat();
    let suite = suite(&stages, script).replace("most_words = 60", "most_words = 60, queries = 4");
    let place = Place::with_suite(&suite);
    place.best(&[], 0);
    let settings = |dialect: &str| {
        let (code, message) = code_and_text(&["report", "run", "--dialect", dialect], &place);
        assert_eq!(code, 0, "{message}");
        std::fs::read_to_string(place.run_folder().join(".env.optimized")).unwrap()
    };
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    let plugin = settings("retrieval-plugin");
    assert_eq!(
        keys(&plugin),
        [
            "EMBEDDING_DEVICE=cuda:0",
            "EMBEDDING_BATCH=16",
            "EMBEDDING_FP16=true",
            "EMBEDDING_MAX_LEN=128",
            "RERANK_DEVICE=cuda:0",
        ]
    );
    // What nobody measured is there and not set.
    for line in ["# EMBEDDING_CACHE_SIZE=2000", "# RERANK_ENABLE=true", "# RERANK_K=10", "# RERANK_FINAL_N=5"]
    {
        assert!(plugin.lines().any(|given| given == line), "no {line:?} in {plugin}");
    }
    // Its reranker can't be set to fp16, and what the plugin has no key for is not lost without a word.
    assert!(plugin.contains("not set: this service doesn't accept dtype=fp16"), "{plugin}");
    // The service doesn't accept fp16, so that it gets what is best in fp32: the default configuration.
    assert_eq!(keys(&settings("gliner-service")), ["GLINER_MODEL=org/entities", "GLINER_BATCH_SIZE=32"]);
    assert_eq!(
        keys(&settings("tei")),
        [
            "MODEL_ID=org/embed",
            "DTYPE=float16",
            "MAX_BATCH_REQUESTS=16",
            "MAX_BATCH_TOKENS=2048",
            "AUTO_TRUNCATE=true",
        ]
    );
    assert_eq!(
        keys(&settings("infinity")),
        [
            "INFINITY_MODEL_ID=org/embed;org/rerank;org/entities;",
            "INFINITY_BATCH_SIZE=16;16;16;",
            "INFINITY_DTYPE=float16;float16;float16;",
            "INFINITY_DEVICE=cuda;cuda;cuda;",
        ]
    );
    let compose = settings("compose");
    for line in ["services:", "  rerank:", "      BATCH_SIZE: \"16\"", "              device_ids: [\"0\"]"] {
        assert!(compose.lines().any(|given| given == line), "no {line:?} in {compose}");
    }
    // Evidence stands above the settings, and says what the figures are.
    for text in [plugin, compose] {
        assert!(text.starts_with("# Settings for ") && text.contains("# Simulated: "), "{text}");
    }
}

#[test]
fn a_service_gets_the_best_that_it_accepts() {
    let stage = "[[stages]]\ntask = \"embed\"\nmodel = \"org/embed\"\nbackends = [\"fake\"]\n[stages.knobs]\n\
                 dtype = [\"fp32\", \"fp16\", \"int8\"]\nbatch_size = [16]\n";
    let script = "token_us = 100\nknobs.dtype = { applies = \"load\", default = \"fp32\", values = [\"fp32\", \"fp16\", \"int8\"] }\n\
                  [[backends.fake.rules]]\nwhen = { dtype = \"fp16\" }\ncompute = 0.5\n\
                  [[backends.fake.rules]]\nwhen = { dtype = \"int8\" }\ncompute = 0.25\n";
    let place = Place::with_suite(&suite(stage, script));
    assert_eq!(winner(&place.best(&[], 0))["candidate"]["knobs"]["dtype"], "int8");
    let settings = |dialect: &str| {
        let (code, message) = code_and_text(&["report", "run", "--dialect", dialect], &place);
        assert_eq!(code, 0, "{message}");
        std::fs::read_to_string(place.run_folder().join(".env.optimized")).unwrap()
    };
    let plugin = settings("retrieval-plugin");
    assert!(plugin.lines().any(|line| line == "EMBEDDING_FP16=true"), "{plugin}");
    for said in [
        "not set: this service doesn't accept dtype=int8",
        "2.00 × the throughput of these settings",
        "#   settings   batch_size=16 dtype=fp16",
        "The service runs PyTorch, by FlagEmbedding",
        "neither confirmed, nor checked",
    ] {
        assert!(plugin.contains(said), "no {said:?} in {plugin}");
    }
    // Whoever accepts the winner gets it.
    let infinity = settings("infinity");
    assert!(infinity.contains("INFINITY_DTYPE=int8;") && !infinity.contains("not set"), "{infinity}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = autotune(&["list"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
