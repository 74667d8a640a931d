// The revision of the worker's sources, for the build scripts of both packages (`include!`): twelve digits of a digest of
// every file that the worker is built from, the lock file among them.

fn worker_revision(worker: &std::path::Path, lock: &std::path::Path) -> String {
    use sha2::{Digest, Sha256};
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the worker's sources").flatten() {
            let path = entry.path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut paths = vec![worker.join("Cargo.toml"), worker.join("build.rs")];
    files(&worker.join("src"), &mut paths);
    files(&worker.join("build"), &mut paths);
    paths.sort();
    let mut digest = Sha256::new();
    for path in &paths {
        // Names are those below the folder, wherever that lies.
        digest.update(path.strip_prefix(worker).expect("below it").to_string_lossy().as_bytes());
        digest.update([0]);
        digest.update(std::fs::read(path).expect("a source file"));
    }
    digest.update(std::fs::read(lock).expect("Cargo.lock is committed"));
    digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
