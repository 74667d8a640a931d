//! No circle of files: whoever imports an item imports the file that defines it, wherever it's re-exported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's place in its package: `["suite", "parse", "stage"]`.
type Module = Vec<String>;

/// A package's files, without their tests and without what isn't code.
fn read(root: &Path) -> BTreeMap<Module, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("main.rs") {
                files.insert(
                    module(path.strip_prefix(root).unwrap()),
                    code(&fs::read_to_string(&path).unwrap()),
                );
            }
        }
    }
    files
}

fn module(path: &Path) -> Module {
    let mut parts: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

fn code(source: &str) -> String {
    let end = source.find("#[cfg(test)]\nmod tests").unwrap_or(source.len());
    let lines = source[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a `use`, its braces opened: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn opened(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((front, inner)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (place, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| opened(part).into_iter().map(|rest| format!("{front}{rest}"))).collect()
}

/// What a file imports: by `use`, each with whether others may see it by this file, and by paths in its code.
fn paths(code: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let begin = statement.rfind("\nuse ").or_else(|| statement.rfind(" use ")).map(|place| place + 1);
        let begin = begin.or_else(|| statement.starts_with("use ").then_some(0));
        match begin {
            Some(begin) => {
                let shared = statement[..begin].trim_end().ends_with("pub");
                let tree = statement[begin + 4..]
                    .trim_end_matches(';')
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ");
                found.extend(opened(&tree).into_iter().map(|path| (path, shared)));
                rest.push_str(&statement[..begin]);
            }
            None => rest.push_str(statement),
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = rest.split(|c| !is_path(c)).filter(|word| word.contains("::"));
    found.extend(words.map(|word| (word.to_owned(), false)));
    found
}

/// The modules that each module imports from.
fn imports(files: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let paths: BTreeMap<&Module, Vec<(String, bool)>> =
        files.iter().map(|(module, code)| (module, self::paths(code))).collect();
    // What a module has a name for without defining it.
    let mut names: BTreeMap<(&Module, String), Module> = BTreeMap::new();
    for (module, paths) in &paths {
        for (path, _) in paths {
            let (path, name) = match path.split_once(" as ") {
                Some((path, name)) => (path, name.to_owned()),
                None => (path.as_str(), path.rsplit("::").next().unwrap_or_default().to_owned()),
            };
            names.insert((module, name), path.split("::").map(str::to_owned).collect());
        }
    }
    let edges = paths.iter().map(|(module, paths)| {
        let targets = paths.iter().filter(|(_, shared)| !shared).filter_map(|(path, _)| {
            let path = path.split(" as ").next().unwrap_or_default();
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            resolve(files, &names, module, &path, 0)
        });
        ((*module).clone(), targets.filter(|target| target != *module).collect())
    });
    edges.collect()
}

/// The module that defines what a path names.
fn resolve(
    files: &BTreeMap<Module, String>,
    names: &BTreeMap<(&Module, String), Module>,
    from: &Module,
    path: &[String],
    depth: usize,
) -> Option<Module> {
    let child = |base: &Module, name: &String| {
        let mut below = base.clone();
        below.push(name.clone());
        files.contains_key(&below).then_some(below)
    };
    let (mut base, mut rest) = match path.first()?.as_str() {
        "crate" => (Module::new(), &path[1..]),
        "super" | "self" => (from.clone(), path),
        name => (child(from, &name.to_owned())?, &path[1..]),
    };
    while let Some(first) = rest.first().filter(|first| ["super", "self"].contains(&first.as_str())) {
        if first == "super" {
            base.pop();
        }
        rest = &rest[1..];
    }
    while let Some(below) = rest.first().and_then(|name| child(&base, name)) {
        base = below;
        rest = &rest[1..];
    }
    let named = rest.first().and_then(|name| names.get_key_value(&(&base, name.clone())));
    match named {
        Some(((module, _), path)) if depth < 8 => {
            resolve(files, names, module, path, depth + 1).or(Some(base.clone()))
        }
        _ => Some(base),
    }
}

/// Modules that can be reached from themselves, with what they import of one another.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reach = |start: &Module| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![start]);
        while let Some(module) = todo.pop() {
            for next in edges.get(module).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    todo.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        edges.keys().map(|module| (module, reach(module))).collect();
    let mut found = Vec::new();
    for (module, targets) in edges {
        for target in
            targets.iter().filter(|target| reached.get(target).is_some_and(|back| back.contains(module)))
        {
            found.push(format!("{} → {}", module.join("::"), target.join("::")));
        }
    }
    found
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages: [PathBuf; 2] = [root.join("worker/src"), root.join("src")];
    for package in packages {
        let files = read(&package);
        assert!(files.len() > 50);
        let edges = imports(&files);
        assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 100, "imports are seen");
        assert_eq!(circles(&edges), Vec::<String>::new(), "{}", package.display());
    }
}

#[test]
fn the_check_sees_circles_by_every_way_to_import() {
    let package = |files: &[(&str, &str)]| -> Vec<String> {
        let file = |(path, source): &(&str, &str)| (module(Path::new(path)), code(source));
        circles(&imports(&files.iter().map(file).collect()))
    };
    let circle = |left: &str, right: &str| {
        let shared = "mod left;\nmod right;\npub use left::Left;\npub use right::{Other, Right};";
        package(&[("room/mod.rs", shared), ("room/left.rs", left), ("room/right.rs", right)]).len()
    };
    for left in [
        "use super::right::Right;",
        "use super::Right;",
        "use super::{\n    Other,\n    Right,\n};",
        "use crate::room::Right as Wrong;",
        "fn f() { super::right::g() }",
        "use crate::room::{right::{Other, Right}};",
    ] {
        assert_eq!(circle(left, "use super::Left;"), 2, "{left}");
        assert_eq!(circle(left, "struct Right;"), 0, "{left}");
    }
    // Of a parent it's what the parent defines itself.
    let parent =
        [("room/mod.rs", "mod child;\nuse child::f;\nstruct Own;"), ("room/child.rs", "use super::Own;")];
    assert_eq!(package(&parent).len(), 2);
    let facade =
        [("room/mod.rs", "mod child;\npub use child::f;\nstruct Own;"), ("room/child.rs", "use super::Own;")];
    assert_eq!(package(&facade).len(), 0);
    assert_eq!(circle("// use super::Right;", "use super::Left;"), 0);
}
