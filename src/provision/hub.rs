//! Hugging Face's hub: snapshots that are on this machine, and new ones where the network allows.
//!
//! Snapshots lie where Hugging Face's own libraries keep them, so that what Python has fetched is found.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::model::arch::gliner;

/// Silence after which a download is given up. Without a network the first answer is an error, and comes at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a network needs besides its weights; some models have some of them.
const SMALL: [&str; 8] = [
    CONFIGS[0],
    CONFIGS[1],
    TOKENIZER,
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "sparse_linear.pt",
    "colbert_linear.pt",
];

/// What says which network it is: one of them.
const CONFIGS: [&str; 2] = ["config.json", gliner::CONFIG];
const TOKENIZER: &str = "tokenizer.json";

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";

/// The folder in which Hugging Face's libraries keep what they fetched.
pub fn folder() -> Option<PathBuf> {
    folder_named_by(|name| std::env::var_os(name))
}

fn folder_named_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || folder("HF_HOME").map(|home| home.join("hub"));
    let cache = || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    folder("HF_HUB_CACHE").or_else(home).or_else(|| Some(cache()?.join("huggingface/hub")))
}

/// The snapshot of a repository, if it's here and whole.
pub fn find(folder: &Path, repository: &str, revision: &str) -> Option<PathBuf> {
    let cached = Cache::new(folder.to_owned()).repo(repo(repository, revision));
    // A commit has no entry among the names of revisions.
    let config = CONFIGS.iter().find_map(|config| cached.get(config));
    let snapshot = config.and_then(|config| config.parent().map(Path::to_owned));
    snapshot.or_else(|| Some(cached.pointer_path(revision))).filter(|snapshot| is_whole(snapshot))
}

/// Whether a folder has all that a network needs.
pub fn is_whole(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).is_file();
    let shards = || {
        let index = std::fs::read(folder.join(INDEX)).ok()?;
        Some(shards(&index).ok()?.iter().all(|shard| has(shard)))
    };
    let weights = has(WEIGHTS) || has(PICKLE) || shards().unwrap_or(false);
    weights && CONFIGS.iter().any(|config| has(config)) && has(TOKENIZER)
}

/// Fetches a snapshot. An error is what people should know of it.
pub fn fetch(folder: &Path, repository: &str, revision: &str) -> Result<PathBuf, String> {
    if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|value| value == "1") {
        return Err("HF_HUB_OFFLINE is set".to_owned());
    }
    log::info!("fetching {repository} from Hugging Face");
    let (news, heard) = mpsc::channel();
    let (folder, repo) = (folder.to_owned(), repo(repository, revision));
    // In a thread of its own, because hf-hub waits for ever where packets are dropped.
    std::thread::spawn(move || {
        let done = download(&folder, repo, &news);
        let _ = news.send(News::Done(done));
    });
    loop {
        match heard.recv_timeout(PATIENCE) {
            Ok(News::Bytes) => {}
            Ok(News::Done(done)) => return done,
            Err(RecvTimeoutError::Timeout) => return Err(format!("no answer in {} s", PATIENCE.as_secs())),
            Err(RecvTimeoutError::Disconnected) => return Err("hf-hub failed".to_owned()),
        }
    }
}

enum News {
    Bytes,
    Done(Result<PathBuf, String>),
}

/// Tells whoever waits that bytes still come.
struct Pulse(Sender<News>);

impl Progress for Pulse {
    fn init(&mut self, _size: usize, _file: &str) {}

    fn update(&mut self, _bytes: usize) {
        let _ = self.0.send(News::Bytes);
    }

    fn finish(&mut self) {}
}

fn download(folder: &Path, repo: Repo, news: &Sender<News>) -> Result<PathBuf, String> {
    let mut builder = ApiBuilder::from_cache(Cache::new(folder.to_owned()));
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().map_err(|error| reason(&error))?;
    let info = api.repo(repo.clone()).info().map_err(|error| reason(&error))?;
    let there: Vec<&str> = info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    let has = |file: &&str| there.contains(file);
    for needed in [&CONFIGS[..], &[TOKENIZER]] {
        if !needed.iter().any(has) {
            return Err(format!("the repository has no {}", needed[0]));
        }
    }
    // The commit and not the branch, so that all files are of one state.
    let commit = api.repo(Repo::with_revision(repo.url(), RepoType::Model, info.sha.clone()));
    let snapshot = Cache::new(folder.to_owned()).repo(repo.clone()).pointer_path(&info.sha);
    let get = |file: &str| {
        let path = snapshot.join(file);
        if path.is_file() {
            return Ok(path);
        }
        commit.download_with_progress(file, Pulse(news.clone())).map_err(|error| reason(&error))
    };
    for file in SMALL.into_iter().filter(has) {
        get(file)?;
    }
    // Weights last: where they are, all is.
    match [WEIGHTS, INDEX, PICKLE].into_iter().find(has) {
        None => return Err(format!("the repository has neither {WEIGHTS} nor {PICKLE}")),
        Some(INDEX) => {
            let index = get(INDEX)?;
            for shard in shards(&std::fs::read(index).map_err(|error| error.to_string())?)? {
                // An index is anybody's, and a name such as ../x would lead out of the cache.
                if !has(&shard.as_str()) {
                    return Err(format!("its index names {shard:?}, which is not in the repository"));
                }
                get(&shard)?;
            }
        }
        Some(whole) => drop(get(whole)?),
    }
    // The branch's name for the commit comes last: by it the snapshot is found.
    Cache::new(folder.to_owned()).repo(repo).create_ref(&info.sha).map_err(|error| error.to_string())?;
    Ok(snapshot)
}

/// The files that an index names, each once.
fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    let index: serde_json::Value = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let map = index["weight_map"].as_object().ok_or("its index has no weight_map")?;
    let mut files: Vec<String> = map.values().filter_map(|file| file.as_str()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn repo(repository: &str, revision: &str) -> Repo {
    Repo::with_revision(repository.to_owned(), RepoType::Model, revision.to_owned())
}

fn reason(error: &ApiError) -> String {
    let text = error.to_string();
    // A repository that isn't there is answered like one that isn't for everybody.
    if text.contains("401") || text.contains("404") {
        format!("no such public repository ({text})")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_folder_is_where_pythons_libraries_have_it() {
        let folder = |variables: &[(&str, &str)]| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
            folder_named_by(|name| value(name).map(|(_, value)| value.into()))
        };
        assert_eq!(folder(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Some("/c".into()));
        assert_eq!(folder(&[("HF_HOME", "/h"), ("HOME", "/u")]), Some("/h/hub".into()));
        assert_eq!(folder(&[("HOME", "/u")]), Some("/u/.cache/huggingface/hub".into()));
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn a_snapshot_counts_when_it_is_whole() {
        let hub = tempfile::tempdir().unwrap();
        let repository = hub.path().join("models--a--b");
        let snapshot = repository.join("snapshots/c0ffee");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), "c0ffee").unwrap();
        for file in ["config.json", "tokenizer.json"] {
            fs::write(snapshot.join(file), "{}").unwrap();
            assert_eq!(find(hub.path(), "a/b", "main"), None);
        }
        fs::write(snapshot.join(INDEX), r#"{"weight_map":{"x":"1.safetensors","y":"2.safetensors"}}"#)
            .unwrap();
        fs::write(snapshot.join("1.safetensors"), "").unwrap();
        assert_eq!(find(hub.path(), "a/b", "main"), None);
        fs::write(snapshot.join("2.safetensors"), "").unwrap();
        assert_eq!(find(hub.path(), "a/b", "main"), Some(snapshot.clone()));
        assert_eq!(find(hub.path(), "a/b", "c0ffee"), Some(snapshot));
        assert_eq!(find(hub.path(), "a/c", "main"), None);
    }
}
