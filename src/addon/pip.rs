//! pip: which one there is, and what it's asked. Knows nothing of what the wheels are for.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::cache::bytes_in;
use super::version;

/// The python's own pip first: `pip` alone may belong to another python, or to none any more.
const PLACES: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];

/// Seconds without an answer, and how often it asks again: without a network that is soon over.
const PATIENCE: [&str; 4] = ["--timeout", "30", "--retries", "1"];

/// How often a download is looked at.
const WATCHED_EVERY: Duration = Duration::from_millis(200);

/// What a wheel for every python is asked for as, since the one at hand may be older than the wheel likes.
const ANY_PYTHON: &str = "311";

#[derive(Debug, Clone)]
pub struct Pip {
    command: Vec<String>,
    pub version: String,
}

impl Pip {
    /// The first pip that states its version.
    pub fn find() -> Option<Pip> {
        PLACES.iter().find_map(|place| Pip::at(place.iter().map(|&word| word.to_owned()).collect()))
    }

    fn at(command: Vec<String>) -> Option<Pip> {
        let stated = version::stated(self::command(&command, &[]).ok()?).ok()?;
        let version = stated.strip_prefix("pip ")?.split_whitespace().next()?.to_owned();
        Some(Pip { command, version })
    }

    /// How a person would call it.
    pub fn name(&self) -> String {
        self.command.join(" ")
    }

    /// Downloads the wheel that is called `file` into `folder`, whatever python and machine this is. An error is what
    /// pip said last. `told` hears how many megabytes have come.
    pub fn download(
        &self,
        requirement: &str,
        file: &str,
        folder: &Path,
        told: &dyn Fn(u64),
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let mut arguments = download_arguments(requirement, file);
        arguments.extend(
            ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--quiet"].map(String::from),
        );
        arguments.extend(PATIENCE.map(String::from));
        arguments.extend(["--dest".to_owned(), folder.to_string_lossy().into_owned()]);
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let mut command = command(&self.command, &arguments).map_err(|error| error.to_string())?;
        // What has come so far lies there until it's whole, so it can be watched.
        super::process::ends_with_us(&mut command);
        let child = command.env("TMPDIR", folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let stderr = child.stderr.take();
        let reader = std::thread::spawn(move || {
            let mut said = Vec::new();
            stderr.map(|mut stderr| stderr.read_to_end(&mut said));
            said
        });
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if is_stopped() => {
                    let _ = child.kill();
                }
                None => {
                    told(bytes_in(folder) / 1_000_000);
                    std::thread::sleep(WATCHED_EVERY);
                }
            }
        };
        let said = reader.join().unwrap_or_default();
        if status.success() { Ok(()) } else { Err(gist(&said)) }
    }
}

/// What asks for exactly this file: its name says for which python and which machines it is.
pub fn download_arguments(requirement: &str, file: &str) -> Vec<String> {
    let mut arguments = vec!["download", "--no-deps", "--only-binary=:all:"];
    let tags: Vec<&str> = file.trim_end_matches(".whl").rsplit('-').take(3).collect();
    if let [platform, abi, python] = tags[..] {
        arguments.extend(["--python-version", python.strip_prefix("cp").unwrap_or(ANY_PYTHON)]);
        if platform != "any" {
            arguments.extend(["--implementation", "cp", "--abi", abi]);
            // Several of them in one name are different names of the same.
            arguments.extend(platform.split('.').flat_map(|platform| ["--platform", platform]));
        }
    }
    arguments.push(requirement);
    arguments.into_iter().map(str::to_owned).collect()
}

fn command(words: &[String], arguments: &[String]) -> std::io::Result<Command> {
    let (program, first) = words.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(first).args(arguments);
    // Nothing is installed, so a person's wish to install into virtual environments only doesn't apply.
    command.env("PIP_REQUIRE_VIRTUALENV", "0").stdin(Stdio::null());
    Ok(command)
}

/// The gist of what pip said.
fn gist(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let count = lines.len();
    lines.retain(|line| !line.starts_with("WARNING: Retrying"));
    // Without an answer it goes on to say that there is no such version, which isn't so.
    if lines.len() < count && text.contains("(from versions: none)") {
        return "no package index answered".to_owned();
    }
    lines[lines.len().saturating_sub(2)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_very_file_is_asked_for_whatever_python_this_is() {
        let arguments = |file: &str| download_arguments("a==1", file).join(" ");
        assert_eq!(
            arguments("a-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
            "download --no-deps --only-binary=:all: --python-version 312 --implementation cp --abi cp312 \
             --platform manylinux_2_28_x86_64 a==1"
        );
        assert_eq!(
            arguments("a-1-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"),
            "download --no-deps --only-binary=:all: --python-version 311 --implementation cp --abi none \
             --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 a==1"
        );
        let any = "download --no-deps --only-binary=:all: --python-version 311 a==1";
        assert_eq!(arguments("a-1-py3-none-any.whl"), any);
    }

    #[test]
    fn a_program_that_is_no_pip_is_none() {
        let pip = |words: &[&str]| Pip::at(words.iter().map(|&word| word.to_owned()).collect());
        assert!(pip(&["autotune-no-such-program"]).is_none());
        assert!(pip(&["sh", "-c", "echo shim; exit 0"]).is_none());
        assert!(pip(&["sh", "-c", "echo pip 9; exit 1"]).is_none());
        assert_eq!(pip(&["sh", "-c", "echo pip 23.2.1 from here"]).unwrap().version, "23.2.1");
    }

    #[test]
    fn what_it_said_last_is_kept() {
        assert_eq!(
            gist(b"Looking\nERROR: no version\n\nERROR: no match\n"),
            "ERROR: no version / ERROR: no match"
        );
        let offline = b"WARNING: Retrying (x)\nERROR: no version (from versions: none)\nERROR: no match\n";
        assert_eq!(gist(offline), "no package index answered");
        assert_eq!(gist(b""), "");
    }
}
