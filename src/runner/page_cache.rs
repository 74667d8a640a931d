//! Files out of the page cache, so that whoever reads them next waits for the disk.

use std::fs::File;
use std::path::{Path, PathBuf};

/// Drops the pages of all files in a folder. An error says why the next to read them won't wait for the disk.
pub fn drop_folder(folder: &Path) -> Result<(), String> {
    let mut files = Vec::new();
    collect(folder, &mut files, DEEPEST).map_err(|error| format!("{}: {error}", folder.display()))?;
    files.iter().try_for_each(|file| drop_file(file).map_err(|why| format!("{}: {why}", file.display())))
}

/// A model's folder has folders in it (`1_Pooling`, `onnx`), and they have none. Links may lead in circles.
const DEEPEST: usize = 4;

fn collect(folder: &Path, files: &mut Vec<PathBuf>, deep: usize) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Hugging Face's cache is links to the files, which this follows.
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => files.push(path),
            Ok(meta) if meta.is_dir() && deep > 0 => collect(&path, files, deep - 1)?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn drop_file(path: &Path) -> Result<(), String> {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Pages that aren't on the disk yet would stay; a replica has just been written.
    file.sync_all().map_err(|error| error.to_string())?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(|error| error.to_string())?;
    match resident_share(&file)? {
        // Readahead of a neighbouring file, or a page that somebody is looking at right now.
        share if share <= MOST_LEFT => Ok(()),
        share => Err(format!(
            "{:.0}% of it stays in the page cache: another process maps it, its file system is in memory, or \
             another user owns it",
            share * 100.0
        )),
    }
}

/// A file of which no more than this share is in the page cache is cold.
#[cfg(target_os = "linux")]
const MOST_LEFT: f64 = 0.02;

/// The share of a file's pages that are in the page cache. The kernel tells it of our own files only, and of others says
/// that all of them are.
#[cfg(target_os = "linux")]
fn resident_share(file: &File) -> Result<f64, String> {
    use nix::libc;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length == 0 {
        return Ok(0.0);
    }
    // SAFETY: the mapping is asked which of its pages are there, and never read: a file cut short harms nobody.
    let map = unsafe { memmap2::Mmap::map(file) }.map_err(|error| error.to_string())?;
    // SAFETY: it takes a name that is known and gives a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let mut pages = vec![0u8; map.len().div_ceil(page)];
    // SAFETY: the mapping is whole, and there's a byte for each of its pages.
    let asked = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
    if asked != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    Ok(pages.iter().filter(|page| **page & 1 == 1).count() as f64 / pages.len() as f64)
}

#[cfg(not(target_os = "linux"))]
fn drop_file(_: &Path) -> Result<(), String> {
    Err("this operating system can't drop a file from the page cache".to_owned())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn files_are_dropped_also_behind_links_and_in_folders_and_what_stays_is_told() {
        // Not in the system's folder for temporary files, which may lie in memory.
        let place = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (model, inner) = (place.path().join("model"), place.path().join("model/1_Pooling"));
        std::fs::create_dir_all(&inner).unwrap();
        let weights = place.path().join("weights");
        std::fs::write(&weights, vec![7; 8 << 20]).unwrap();
        std::os::unix::fs::symlink(&weights, model.join("model.safetensors")).unwrap();
        std::fs::write(inner.join("config.json"), "{}").unwrap();
        let share = |path: &Path| resident_share(&File::open(path).unwrap()).unwrap();
        assert!(share(&weights) > 0.5);
        drop_folder(&model).unwrap();
        assert!(share(&weights) <= MOST_LEFT && share(&inner.join("config.json")) <= MOST_LEFT);
        // A page that somebody has mapped and read stays.
        let file = File::open(&weights).unwrap();
        // SAFETY: nobody changes the file.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        assert_eq!(map.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 7 * (8 << 20));
        let why = drop_folder(&model).unwrap_err();
        assert!(why.contains("model.safetensors: ") && why.contains("stays in the page cache"), "{why}");
        assert!(drop_folder(&place.path().join("nothing")).unwrap_err().contains("nothing: "));
    }
}
