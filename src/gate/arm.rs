//! One side of a gate: a program that serves a suite's workers, and what it needs for that.

use std::path::{Path, PathBuf};

use crate::runner::{Supplies, shell_line};
use crate::suite::{Engine, Problem, Suite};

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
}

impl Base {
    pub fn name(&self) -> String {
        match self {
            Base::Program(program) => program.name(),
            Base::Revision(reference) => format!("revision {reference}"),
        }
    }
}

/// A program with the suite that it runs and what it needs.
pub struct Arm {
    pub suite: Suite,
    pub supplies: Supplies,
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

    /// The arm of this program, given what this program itself would need.
    pub fn arm(&self, suite: &Suite, supplies: Supplies, device: Option<&str>) -> Result<Arm, Problem> {
        let mut arm = Arm { suite: suite.clone(), supplies };
        match self {
            Program::This => arm.supplies.program = own_program()?,
            Program::File(path) => {
                let path = executable(path)?;
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
                arm.supplies.program = path;
            }
            Program::Worker(command) => {
                arm.supplies.program = own_program()?;
                for backend in &mut arm.suite.backends {
                    let Engine::Command { command: own, .. } = &mut backend.engine else {
                        let why = format!(
                            "the backend {:?} of the suite is built in; a worker takes the place of a command (kind = \"exec\")",
                            backend.name
                        );
                        return Err(Problem::new(self.name(), why));
                    };
                    own.clone_from(command);
                }
            }
        }
        Ok(arm)
    }
}

fn own_program() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| Problem::new("this program", error.to_string()))
}

/// The absolute path of a file that can be run.
fn executable(path: &Path) -> Result<PathBuf, Problem> {
    use std::os::unix::fs::PermissionsExt;
    let wrong = |why: String| Problem::new(path.display().to_string(), why);
    let absolute = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
    let metadata = absolute.metadata().map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(wrong("this is no program that can be run".to_owned()));
    }
    Ok(absolute)
}
