//! One side of a gate: a program that serves a suite's workers, and what it needs for that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Unended};
use crate::runner::{Supplies, shell_line};
use crate::suite::{Engine, Folder, Problem, Suite};

/// A program says what it is within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured on one side.
#[derive(Debug, Clone, PartialEq)]
pub enum Program {
    /// This one.
    This,
    /// Another build of it.
    File(PathBuf),
    /// Any program that speaks the worker protocol, in place of the command in the suite.
    Worker(Vec<String>),
}

/// What the new arm is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    Program(Program),
    /// A revision of this program, which is built first.
    Revision(String),
    /// What was kept of a program in a file.
    Kept(PathBuf),
    /// Nothing: figures are only kept.
    Nothing,
}

impl Base {
    pub fn name(&self) -> String {
        match self {
            Base::Program(program) => program.name(),
            Base::Revision(reference) => format!("revision {reference}"),
            Base::Kept(path) => path.display().to_string(),
            Base::Nothing => "nothing".to_owned(),
        }
    }

    /// That it can be an arm of this suite, as far as that is known without running it.
    pub fn check(&self, suite: &Suite) -> Result<(), Problem> {
        match self {
            Base::Program(program) => program.check(suite),
            Base::Revision(_) => has_built_in(suite, &self.name()),
            Base::Kept(_) | Base::Nothing => Ok(()),
        }
    }
}

/// A program with the suite that it runs and what it needs.
pub struct Arm {
    pub suite: Suite,
    pub supplies: Supplies,
    /// Where its workers are started, if not in the suite's folder.
    pub folder: Option<Folder>,
}

impl Program {
    /// As people call it.
    pub fn name(&self) -> String {
        match self {
            Program::This => "this program".to_owned(),
            Program::File(path) => path.display().to_string(),
            Program::Worker(command) => shell_line(command),
        }
    }

    /// That it can be an arm of this suite, as far as that is known without running the suite.
    pub fn check(&self, suite: &Suite) -> Result<(), Problem> {
        let wrong = |why: String| Problem::new(self.name(), why);
        match self {
            Program::This => Ok(()),
            Program::File(path) => {
                is_a_build(&executable(path)?).map_err(wrong)?;
                has_built_in(suite, &self.name())
            }
            Program::Worker(command) => {
                let built_in =
                    |backend: &&crate::suite::ChosenBackend| matches!(backend.engine, Engine::BuiltIn { .. });
                if let Some(backend) = suite.backends.iter().find(built_in) {
                    return Err(wrong(format!(
                        "the backend {:?} of the suite is built in; a worker takes the place of a command (kind = \"exec\")",
                        backend.name
                    )));
                }
                match command.first() {
                    Some(program) if can_be_started(program) => Ok(()),
                    program => Err(wrong(format!(
                        "{}: there is no such program",
                        program.map(String::as_str).unwrap_or_default()
                    ))),
                }
            }
        }
    }

    /// The arm of this program, given what this program itself would need.
    pub fn arm(&self, suite: &Suite, supplies: Supplies, device: Option<&str>) -> Result<Arm, Problem> {
        let mut arm = Arm { suite: suite.clone(), supplies, folder: None };
        match self {
            Program::This => arm.supplies.program = own_program()?,
            Program::File(path) => {
                // candle's workers for NVIDIA's GPUs are a program of their own, which the other build would have to provide.
                let own = |engine: &crate::runner::Engine| engine.program.is_some();
                let needs_other = suite
                    .backends
                    .iter()
                    .any(|backend| arm.supplies.engine(&backend.kind, device).is_some_and(own));
                if needs_other {
                    let why = "on a GPU candle's worker is a program of its own: name it with --base-worker and --new-worker";
                    return Err(Problem::new(path.display().to_string(), why));
                }
                arm.supplies.program = executable(path)?;
            }
            Program::Worker(command) => {
                arm.supplies.program = own_program()?;
                // A command that was typed is meant where it was typed.
                let here = std::env::current_dir();
                arm.folder = here.ok().map(Folder::Disk);
                for backend in &mut arm.suite.backends {
                    if let Engine::Command { command: own, .. } = &mut backend.engine {
                        own.clone_from(command);
                    }
                }
            }
        }
        Ok(arm)
    }
}

/// A build of this program serves the engines that are built in; of a suite of commands it would serve none.
fn has_built_in(suite: &Suite, name: &str) -> Result<(), Problem> {
    let built_in = |backend: &crate::suite::ChosenBackend| matches!(backend.engine, Engine::BuiltIn { .. });
    if suite.backends.iter().any(built_in) {
        return Ok(());
    }
    let why = format!(
        "the suite {} runs commands only, so this program would never be started: compare commands with --base-worker and --new-worker",
        suite.name
    );
    Err(Problem::new(name.to_owned(), why))
}

fn own_program() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| Problem::new("this program", error.to_string()))
}

/// The absolute path of a file that can be run.
pub fn executable(path: &Path) -> Result<PathBuf, Problem> {
    let wrong = |why: String| Problem::new(path.display().to_string(), why);
    let absolute = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
    absolute.metadata().map_err(|error| wrong(error.to_string()))?;
    if !is_executable(&absolute) {
        return Err(wrong("this is no program that can be run".to_owned()));
    }
    Ok(absolute)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Whether a shell would find this program from here.
fn can_be_started(program: &str) -> bool {
    if program.contains('/') {
        return is_executable(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    !program.is_empty() && std::env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
}

/// That a program is a build of this one, in its own words.
pub fn is_a_build(program: &Path) -> Result<(), String> {
    let name = env!("CARGO_PKG_NAME");
    let said = match child::run(Command::new(program).arg("--version"), PATIENCE, || false) {
        Ok(said) => said.out,
        Err(Unended::NotStarted(error)) => return Err(format!("it can't be started: {error}")),
        Err(Unended::TooLong | Unended::Stopped) => String::new(),
    };
    let first = said.lines().next().unwrap_or_default();
    if first.starts_with(&format!("{name} ")) {
        return Ok(());
    }
    Err(format!("this is no build of {name}: to `--version` it says {first:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_what_it_is() {
        let other = is_a_build(Path::new("/bin/true")).unwrap_err();
        assert!(other.contains("this is no build of autotune"), "{other}");
        assert!(can_be_started("sh") && can_be_started("/bin/sh"));
        assert!(!can_be_started("no-such-program") && !can_be_started("./nowhere") && !can_be_started(""));
    }
}
