//! A room uses only rooms before it, in the order of `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order in which `lib.rs` lists them.
fn rooms(lib: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    lib.lines().filter_map(name).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a source names after `crate::`, also in braces and over several lines.
fn imports(source: &str) -> Vec<String> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        // In a group the rooms stand at its first level.
        let mut depth = 0;
        let mut start = true;
        for (index, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                _ if start && character.is_alphabetic() => {
                    found.push(word(&group[index..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// The imports that go down, as `file: room → later room`.
fn violations(order: &[String], files: &[(String, String)]) -> Vec<String> {
    let rank = |room: &str| order.iter().position(|known| known == room);
    let mut wrong = Vec::new();
    for (file, source) in files {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let Some(own) = rank(room) else { continue };
        for import in imports(source) {
            if rank(&import).is_none_or(|used| used > own) {
                wrong.push(format!("{file}: {room} → {import}"));
            }
        }
    }
    wrong
}

#[test]
fn no_room_uses_a_later_one() {
    // The worker's rooms come before those of the program around it, whose `crate::` they are as well.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = [root.join("worker/src"), root.join("src")];
    let lib = |package: &PathBuf| rooms(&fs::read_to_string(package.join("lib.rs")).unwrap());
    let order: Vec<String> = packages.iter().flat_map(lib).collect();
    assert!(order.len() > 15, "{order:?}");
    let mut files = Vec::new();
    for package in &packages {
        let mut paths = Vec::new();
        sources(package, &mut paths);
        files.extend(paths.iter().map(|path| {
            let name = path.strip_prefix(package).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        }));
    }
    // Every room is in the list, so none can hide from it.
    for (file, _) in &files {
        let room = file.split(['/', '.']).next().unwrap();
        assert!(
            ["lib", "main"].contains(&room) || order.iter().any(|known| known == room),
            "{file} is no room"
        );
    }
    assert_eq!(violations(&order, &files), Vec::<String>::new());
}

#[test]
fn the_check_sees_every_way_to_import() {
    let order: Vec<String> = ["units", "suite", "cli"].map(String::from).into();
    let file = |source: &str| vec![("suite/mod.rs".to_owned(), source.to_owned())];
    for source in [
        "use crate::cli::Cli;",
        "use crate::{units::Bytes, cli};",
        "use crate::{\n    units::{Bytes, parse},\n    cli::Cli,\n};",
        "fn f() { crate::cli::run() }",
        "use crate::nowhere;",
    ] {
        assert_eq!(violations(&order, &file(source)).len(), 1, "{source}");
    }
    for source in ["use crate::units::Bytes;", "use crate::suite::Suite;", "// crate::cli", "use super::x;"] {
        assert!(violations(&order, &file(source)).is_empty(), "{source}");
    }
}
