//! Another revision of this program, built beside it: a worktree of its own, which is taken away again, and a target folder that is
//! kept, so that the next base is compiled in a part of the time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Unended};
use crate::addon::Tell;

/// So much of what a failed build has said is shown.
const LINES: usize = 12;

/// A program that was built of a revision. Its worktree lives as long as this value.
pub struct Built {
    pub program: PathBuf,
    _worktree: Worktree,
}

/// Why there is no base to compare with.
#[derive(Debug, thiserror::Error)]
pub enum NoBase {
    #[error("--base-ref {reference}: {why}")]
    Unusable { reference: String, why: String },
    #[error("stopped while the base was built")]
    Stopped,
}

/// Builds a revision of the repository that the current folder is in.
pub fn build(reference: &str, tell: &dyn Tell) -> Result<Built, NoBase> {
    let unusable = |why: String| NoBase::Unusable { reference: reference.to_owned(), why };
    let root = git(Path::new("."), &["rev-parse", "--show-toplevel"])
        .map(PathBuf::from)
        .map_err(|why| unusable(format!("the current folder is in no git repository: {why}")))?;
    let commit = git(
        &root,
        &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{reference}^{{commit}}")],
    )
    .map_err(|_| unusable(absent(&root, reference)))?;
    if !is_own(&root, &commit) {
        let name = env!("CARGO_PKG_NAME");
        return Err(unusable(format!(
            "{} is no repository of {name}: its Cargo.toml has another name",
            root.display()
        )));
    }
    let worktree = Worktree::add(&root, &commit).map_err(unusable)?;
    let target = root.join("target/gate");
    tell.say(&format!("building {reference} ({}) in target/gate", &commit[..commit.len().min(10)]));
    seed(&root.join("target"), &target, tell);
    compile(worktree.path(), &target, tell).map_err(|why| why.map_or(NoBase::Stopped, unusable))?;
    let program = target.join("release").join(env!("CARGO_PKG_NAME"));
    if !program.is_file() {
        return Err(unusable(format!("it builds no program called {}", env!("CARGO_PKG_NAME"))));
    }
    Ok(Built { program, _worktree: worktree })
}

/// Whether a commit is one of this program's, before anything is built.
fn is_own(root: &Path, commit: &str) -> bool {
    let manifest = git(root, &["show", &format!("{commit}:Cargo.toml")]).unwrap_or_default();
    manifest.lines().any(|line| line.replace(' ', "") == concat!("name=\"", env!("CARGO_PKG_NAME"), "\""))
}

/// The revision that the current folder is at, as git abbreviates it; with a plus sign where something isn't committed.
pub fn here() -> Option<String> {
    let folder = Path::new(".");
    let commit = git(folder, &["rev-parse", "--short=10", "HEAD"]).ok()?;
    let changed = git(folder, &["status", "--porcelain", "--untracked-files=no"]).ok()?;
    Some(if changed.is_empty() { commit } else { commit + "+" })
}

/// Why git doesn't know a revision, and what to do.
fn absent(root: &Path, reference: &str) -> String {
    let shallow = git(root, &["rev-parse", "--is-shallow-repository"]).is_ok_and(|said| said == "true");
    match shallow {
        true => format!(
            "this clone is shallow and doesn't have it: run `git fetch --unshallow`, or `git fetch --depth=1 origin {reference}` and \
             name FETCH_HEAD"
        ),
        false => "the repository has no such revision".to_owned(),
    }
}

/// What git prints, or why it doesn't.
fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// Another working tree of a repository, which is taken away with the value.
struct Worktree {
    root: PathBuf,
    folder: tempfile::TempDir,
}

impl Worktree {
    fn add(root: &Path, commit: &str) -> Result<Worktree, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("a folder for it: {error}"))?;
        let worktree = Worktree { root: root.to_owned(), folder };
        let path = worktree.path().display().to_string();
        git(root, &["worktree", "add", "--detach", "--quiet", &path, commit])?;
        Ok(worktree)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("base")
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        // What can't be taken away is pruned by git once its folder is gone.
        let _ = git(&self.root, &["worktree", "remove", "--force", &self.path().display().to_string()]);
        let _ = git(&self.root, &["worktree", "prune"]);
    }
}

/// Gives a new target folder what was compiled here already: packages are the same in most revisions, and cargo looks for itself
/// which aren't. Without it everything is compiled again, which is all that a failure costs.
fn seed(from: &Path, target: &Path, tell: &dyn Tell) {
    let (own, seeded) = (from.join("release"), target.join("release"));
    // Half of it would be worse than nothing: it gets its name once it's whole.
    let unfinished = target.join(format!(".seed-{}", std::process::id()));
    if seeded.exists() || !own.is_dir() || std::fs::create_dir_all(&unfinished).is_err() {
        return;
    }
    let copied = [".fingerprint", "build", "deps"].iter().all(|part| {
        // With their times, which cargo goes by.
        let mut copy = Command::new("cp");
        copy.arg("-pR").arg(own.join(part)).arg(&unfinished);
        child::run(&mut copy, Duration::MAX, || tell.is_stopped()).is_ok_and(|said| said.status.success())
    });
    if !copied || std::fs::rename(&unfinished, &seeded).is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
}

/// Compiles what is in a folder. The error is what cargo said last; nothing where somebody stopped it.
fn compile(folder: PathBuf, target: &Path, tell: &dyn Tell) -> Result<(), Option<String>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked"]).current_dir(&folder);
    cargo.env("CARGO_TARGET_DIR", target).env("CARGO_TERM_COLOR", "never");
    let stopped = || {
        tell.step("building the base");
        tell.is_stopped()
    };
    let said = child::run(&mut cargo, Duration::MAX, stopped).map_err(|unended| match unended {
        Unended::NotStarted(error) => Some(format!("cargo: {error}")),
        Unended::TooLong | Unended::Stopped => None,
    })?;
    if said.status.success() {
        return Ok(());
    }
    let errors = said.err.lines().skip_while(|line| !line.starts_with("error"));
    let shown: Vec<&str> = errors.take(LINES).collect();
    Err(Some(format!("it doesn't build:\n{}", shown.join("\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Tell for Silent {
        fn say(&self, _: &str) {}
        fn step(&self, _: &str) {}
    }

    /// A repository with one commit, in which is what cargo would build.
    fn repository(main: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "Cargo.toml",
            "[package]\nname = \"autotune\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[[bin]]\nname = \"autotune\"\npath = \"main.rs\"\n",
        );
        write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"autotune\"\nversion = \"0.0.0\"\n");
        write("main.rs", main);
        let run = |arguments: &[&str]| git(folder.path(), arguments).unwrap();
        run(&["init", "--quiet"]);
        run(&["add", "."]);
        run(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "one"]);
        folder
    }

    #[test]
    fn a_worktree_is_added_built_and_taken_away() {
        let folder = repository("fn main() {}");
        let commit = git(folder.path(), &["rev-parse", "HEAD"]).unwrap();
        let before = std::fs::read_dir(folder.path()).unwrap().count();
        let worktree = Worktree::add(folder.path(), &commit).unwrap();
        let target = tempfile::tempdir().unwrap();
        compile(worktree.path(), target.path(), &Silent).unwrap();
        assert!(target.path().join("release/autotune").is_file());
        drop(worktree);
        let left = git(folder.path(), &["worktree", "list"]).unwrap();
        assert_eq!(
            (left.lines().count(), std::fs::read_dir(folder.path()).unwrap().count()),
            (1, before),
            "{left}"
        );
        assert_eq!(git(folder.path(), &["status", "--porcelain"]).unwrap(), "");
    }

    #[test]
    fn what_does_not_build_says_so_and_what_is_not_there_too() {
        let folder = repository("fn main() { nonsense }");
        let commit = git(folder.path(), &["rev-parse", "HEAD"]).unwrap();
        let worktree = Worktree::add(folder.path(), &commit).unwrap();
        let target = tempfile::tempdir().unwrap();
        let why = compile(worktree.path(), target.path(), &Silent).unwrap_err().unwrap();
        assert!(why.contains("cannot find value `nonsense`"), "{why}");
        assert_eq!(absent(folder.path(), "nowhere"), "the repository has no such revision");
        assert!(is_own(folder.path(), &commit));
        let shallow = tempfile::tempdir().unwrap();
        let from = format!("file://{}", folder.path().display());
        let run = |arguments: &[&str]| git(folder.path(), arguments).unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"another\"\n").unwrap();
        run(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-am", "two"]);
        assert!(!is_own(folder.path(), "HEAD"));
        git(shallow.path(), &["clone", "--quiet", "--depth=1", &from, "."]).unwrap();
        assert!(absent(shallow.path(), "main").contains("git fetch --unshallow"));
    }
}
