//! Model folders that are wrong, cut short or meant ill: a clear error, never a panic, and never code run.

use std::fs;
use std::path::{Path, PathBuf};

use autotune::model::Model;
use autotune::task::Task;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

/// A copy of a fixture to spoil.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(fixture: &str) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        copy(&fixture_folder(fixture), folder.path());
        Folder(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(file), bytes).unwrap();
    }

    fn config(&self, change: impl FnOnce(&mut Value)) {
        let mut config: Value = serde_json::from_slice(&fs::read(self.path("config.json")).unwrap()).unwrap();
        change(&mut config);
        self.write("config.json", config.to_string());
    }

    fn open(&self, task: Task) -> Result<(), String> {
        Model::open(self.0.path(), task, None).map(|_| ()).map_err(|error| error.to_string())
    }

    /// What is said of it.
    fn error(&self) -> String {
        self.open(Task::Embed).expect_err("the folder is spoilt")
    }
}

fn fixture_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

const MODEL: &str = "bert-embed-mean";

/// A model with this change in its configuration can't be opened, and the error has these words.
fn says(model: &str, change: fn(&mut Value), words: &str) {
    let folder = Folder::of(model);
    folder.config(change);
    let said = folder.error();
    assert!(said.contains(words), "{said:?} doesn't say {words:?}");
}

#[test]
fn distances_that_a_network_can_not_have_are_named() {
    for (change, words) in [
        ((|config| config["position_buckets"] = json!(3)) as fn(&mut Value), "`position_buckets` is 3"),
        (|config| config["position_buckets"] = json!(1u64 << 40), "`position_buckets` is 1099511627776"),
        (|config| config["max_relative_positions"] = json!(5), "twice the 5 positions"),
        (|config| config["position_buckets"] = json!(10), "encoder.rel_embeddings.weight"),
        (|config| config["position_buckets"] = json!(0), "encoder.rel_embeddings.weight"),
        (|config| config["max_position_embeddings"] = json!(1 << 18), "the maximum is 131072"),
        (|config| config["pos_att_type"] = json!("c2p"), "`pos_att_type` is \"c2p\""),
        (|config| config["pos_att_type"] = json!(null), "`pos_att_type` is null"),
        (|config| config["share_att_key"] = json!(false), "`share_att_key` is false"),
        (|config| config["relative_attention"] = json!(false), "`relative_attention` is false"),
        (|config| config["norm_rel_ebd"] = json!("rms"), "`norm_rel_ebd` is \"rms\""),
        (|config| config["conv_kernel_size"] = json!(3), "`conv_kernel_size` is 3"),
        (|config| config["embedding_size"] = json!(16), "`embedding_size` is 16"),
    ] {
        says("deberta-embed", change, words);
    }
}

#[test]
fn a_wrong_config_is_named_with_its_key() {
    for (change, words) in [
        ((|config| config["num_hidden_layers"] = json!(0)) as fn(&mut Value), "`num_hidden_layers` is 0"),
        (|config| config["hidden_size"] = json!(1u64 << 60), "`hidden_size` is 1152921504606846976"),
        (|config| config["hidden_size"] = json!("32"), "`hidden_size` is \"32\""),
        (|config| config["num_attention_heads"] = json!(5), "the width 32 is not divisible by 5 heads"),
        (|config| config["layer_norm_eps"] = json!(-1.0), "`layer_norm_eps` is -1.0"),
        (|config| config["hidden_act"] = json!("swiglu"), "`hidden_act` is \"swiglu\"; supported: gelu"),
        (
            |config| config["model_type"] = json!("mamba"),
            "unsupported architecture \"mamba\"; supported: bert, ",
        ),
        (|config| config["vocab_size"] = json!(7), "embeddings.word_embeddings.weight"),
        (|config| config["num_hidden_layers"] = json!(9), "the checkpoint has no tensor \"encoder.layer.2."),
        (|config| config["position_embedding_type"] = json!("relative_key"), "\"relative_key\""),
        (|config| *config = json!([]), "no `model_type`"),
    ] {
        says(MODEL, change, words);
    }
    let folder = Folder::of(MODEL);
    folder.write("config.json", "{\"model_type\": \"bert\",");
    assert!(folder.error().contains("config.json: EOF while parsing"), "{}", folder.error());
}

#[test]
fn a_spoilt_checkpoint_is_named() {
    let folder = Folder::of(MODEL);
    let whole = fs::read(folder.path("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // Cut short, in the numbers and in the header; a header longer than the file, or than memory.
    for bytes in [&whole[..whole.len() - 1], &whole[..header], &whole[..4], &[]] {
        folder.write("model.safetensors", bytes);
        assert!(folder.error().contains("model.safetensors: "), "{}", folder.error());
    }
    for length in [whole.len() as u64, u64::MAX] {
        let mut longer = whole.clone();
        longer[..8].copy_from_slice(&length.to_le_bytes());
        folder.write("model.safetensors", longer);
        assert!(folder.error().contains("model.safetensors: "), "{}", folder.error());
    }
    // A tensor beyond the file's end.
    let text = String::from_utf8(whole[8..8 + header].to_vec()).unwrap();
    let mut tensors: Value = serde_json::from_str(&text).unwrap();
    tensors["embeddings.LayerNorm.bias"]["data_offsets"] = json!([0, 1u64 << 50]);
    let changed = tensors.to_string();
    let mut beyond = (changed.len() as u64).to_le_bytes().to_vec();
    beyond.extend(changed.as_bytes());
    beyond.extend(&whole[8 + header..]);
    folder.write("model.safetensors", beyond);
    assert!(folder.error().contains("model.safetensors: "), "{}", folder.error());
    // None at all.
    fs::remove_file(folder.path("model.safetensors")).unwrap();
    assert!(folder.error().contains("no model.safetensors"), "{}", folder.error());
}

#[test]
fn an_index_leads_nowhere_else() {
    let folder = Folder::of("bert-sharded");
    let index = "model.safetensors.index.json";
    for shard in ["../elsewhere.safetensors", "/etc/passwd", "", "sub/shard.safetensors"] {
        folder.write(index, json!({ "weight_map": { "a": shard } }).to_string());
        assert!(folder.error().contains("is not a file beside it"), "{}", folder.error());
    }
    folder.write(index, json!({ "weight_map": { "a": "gone.safetensors" } }).to_string());
    assert!(folder.error().contains("gone.safetensors"), "{}", folder.error());
    folder.write(index, "{}");
    assert!(folder.error().contains("weight_map"), "{}", folder.error());
}

#[test]
fn a_missing_or_foreign_tokenizer_is_named() {
    let folder = Folder::of(MODEL);
    folder.write("tokenizer.json", "{}");
    assert!(folder.error().contains("tokenizer.json: "), "{}", folder.error());
    fs::copy(fixture_folder("modernbert-embed").join("tokenizer.json"), folder.path("tokenizer.json"))
        .unwrap();
    folder.config(|config| config["vocab_size"] = json!(300));
    assert!(folder.open(Task::Embed).is_err());
    let folder = Folder::of(MODEL);
    fs::remove_file(folder.path("tokenizer.json")).unwrap();
    assert!(folder.error().contains("save_pretrained"), "{}", folder.error());
}

#[test]
fn a_tokenizer_with_more_words_than_the_model_is_refused() {
    let folder = Folder::of(MODEL);
    let mut tokenizer: Value =
        serde_json::from_slice(&fs::read(folder.path("tokenizer.json")).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["extravagant"] = json!(1_000_000);
    folder.write("tokenizer.json", tokenizer.to_string());
    assert!(folder.error().contains("an id 1000000, and the model's word table has"), "{}", folder.error());
}

#[test]
fn a_task_that_the_model_has_no_head_for_is_refused() {
    let folder = Folder::of(MODEL);
    for (task, words) in [
        (Task::Entities, "classifier.weight"),
        (Task::Rerank, "classifier.weight"),
        (Task::Sparse, "sparse_linear.weight"),
    ] {
        let said = folder.open(task).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
    let said = Folder::of("bert-classify").open(Task::Rerank).unwrap_err();
    assert!(said.contains("a reranker gives one score, and this model has 5 labels"), "{said}");
}

#[test]
fn modules_that_are_not_here_are_named() {
    let folder = Folder::of(MODEL);
    let module =
        |path: &str, kind: &str| json!([{ "idx": 0, "name": "0", "path": path, "type": kind }]).to_string();
    folder.write("modules.json", module("2_Dense", "sentence_transformers.models.Dense"));
    assert!(folder.error().contains("unsupported module \"Dense\""), "{}", folder.error());
    folder.write("modules.json", module("../../etc", "sentence_transformers.models.Pooling"));
    assert!(folder.error().contains("is not a folder beside it"), "{}", folder.error());
}

/// A zip as torch writes it, with a pickle in it.
fn pickled(pickle: &[u8]) -> Vec<u8> {
    let name = b"archive/data.pkl";
    let crc = crc32fast::hash(pickle);
    let sizes = [pickle.len() as u32, pickle.len() as u32].map(u32::to_le_bytes).concat();
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0], &crc.to_le_bytes()[..], &sizes, &[16, 0, 0, 0]].concat();
    let local = [b"PK\x03\x04", &common[..], name, pickle].concat();
    let central = [b"PK\x01\x02", &[20u8, 0][..], &common, &[0; 14], name].concat();
    let ends = [central.len() as u32, local.len() as u32].map(u32::to_le_bytes).concat();
    [&local[..], &central, b"PK\x05\x06", &[0, 0, 0, 0, 1, 0, 1, 0], &ends, &[0, 0]].concat()
}

#[test]
fn a_pickle_with_code_runs_none_of_it() {
    let folder = Folder::of("bert-pickled");
    assert_eq!(folder.open(Task::Embed), Ok(()));
    let witness = folder.path("witness");
    let call = format!("cposix\nsystem\n(S'touch {}'\ntR.", witness.display());
    folder.write("pytorch_model.bin", pickled(call.as_bytes()));
    assert!(folder.error().contains("pytorch_model.bin: "), "{}", folder.error());
    assert!(!witness.exists());
    for bytes in [&b"cposix\nsystem\n"[..], b"", b"not a zip at all", b"\x80\x02."] {
        folder.write("pytorch_model.bin", bytes);
        assert!(folder.error().contains("pytorch_model.bin: "), "{}", folder.error());
        folder.write("pytorch_model.bin", pickled(bytes));
        assert!(folder.open(Task::Embed).is_err());
    }
}

#[test]
fn five_hundred_mutated_folders_give_an_error_or_a_model() {
    let mut random = Pcg64::seed_from_u64(11);
    let fixtures = ["bert-embed-mean", "bert-pickled", "xlm-roberta-embed", "deberta-embed", "bert-sharded"];
    let mut refused = 0;
    for round in 0..500 {
        let folder = Folder::of(fixtures[round % fixtures.len()]);
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.is_file() && !file.ends_with("expected.json"));
        files.sort();
        let file = &files[random.random_range(0..files.len())];
        let mut bytes = fs::read(file).unwrap();
        // Where the structure is: the start of a file, or its end, which is where a zip has its table.
        for _ in 0..random.random_range(1..6) {
            let near = bytes.len().min(600);
            let place = random.random_range(0..near);
            let place = if random.random_bool(0.3) { bytes.len() - 1 - place } else { place };
            match random.random_range(0..3) {
                0 => bytes[place] = random.random(),
                1 => bytes.truncate(place.max(1)),
                _ => bytes.insert(place, random.random()),
            }
        }
        fs::write(file, bytes).unwrap();
        match folder.open(Task::Embed) {
            Ok(()) => {}
            Err(said) => {
                refused += 1;
                assert!(!said.trim().is_empty());
            }
        }
    }
    assert!(refused > 100, "only {refused} were refused");
}
