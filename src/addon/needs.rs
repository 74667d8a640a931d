//! What a library is linked against: found by the system's loader, in a folder that the user names, or in pinned wheels.

use std::path::{Path, PathBuf};

use super::Missing;
use super::wheel::Wheel;

/// The variable that names a folder with CUDA's libraries.
pub const CUDA_LIBRARIES: &str = "AUTOTUNE_CUDA_LIBRARIES";

/// The paths of all members of `wheels` that must be loaded by hand, in their order; `None` if `get` doesn't have one.
/// `folder` is the user's, and `toolkits` are those that are here anyway. `loads` says of a name whether the system's loader
/// finds it by itself.
pub fn find(
    wheels: &[Wheel],
    folder: Option<&Path>,
    toolkits: &[PathBuf],
    loads: impl Fn(&str) -> bool,
    get: impl Fn(&Wheel) -> Result<Option<PathBuf>, Missing>,
) -> Result<Option<Vec<PathBuf>>, Missing> {
    let mut paths = Vec::new();
    for wheel in wheels {
        if let Some(folder) = folder {
            // What the user names counts, and is not replaced in silence if it's wrong.
            let given = wheel.members.iter().map(|member| folder.join(member));
            paths.extend(given.map(is_there).collect::<Result<Vec<_>, _>>()?);
            continue;
        }
        let lacking: Vec<&String> = wheel.members.iter().filter(|member| !loads(member)).collect();
        if lacking.is_empty() {
            continue;
        }
        let in_toolkit = |toolkit: &&PathBuf| lacking.iter().all(|member| toolkit.join(member).is_file());
        if let Some(toolkit) = toolkits.iter().find(in_toolkit) {
            paths.extend(lacking.into_iter().map(|member| toolkit.join(member)));
            continue;
        }
        match get(wheel)? {
            Some(folder) => paths.extend(lacking.into_iter().map(|member| folder.join(member))),
            None => return Ok(None),
        }
    }
    Ok(Some(paths))
}

fn is_there(path: PathBuf) -> Result<PathBuf, Missing> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Missing {
        why: format!("{CUDA_LIBRARIES} is set, and there is no {}", path.display()),
        remedy: format!(
            "correct {CUDA_LIBRARIES}, or unset it so that autotune finds or fetches the libraries"
        ),
    })
}

/// Whether the system's loader finds a library, and all that this one needs. It's let go of again.
pub fn loads(name: &str) -> bool {
    // SAFETY: NVIDIA's libraries touch nothing of ours when they're loaded and let go of.
    unsafe { libloading::Library::new(name) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(package: &str, members: &[&str]) -> Wheel {
        Wheel {
            package: package.into(),
            version: "1".into(),
            sha256: String::new(),
            file: String::new(),
            megabytes: 0,
            folder: String::new(),
            beside: vec![],
            members: members.iter().map(|member| member.to_string()).collect(),
        }
    }

    #[test]
    fn only_what_the_system_lacks_is_taken_from_wheels() {
        let wheels = [wheel("runtime", &["r"]), wheel("blas", &["lt", "b"])];
        let get = |wheel: &Wheel| Ok(Some(PathBuf::from(format!("/{}", wheel.package))));
        let find = |loads: &dyn Fn(&str) -> bool| find(&wheels, None, &[], loads, get).unwrap().unwrap();
        assert_eq!(find(&|_| true), Vec::<PathBuf>::new());
        assert_eq!(find(&|_| false), ["/runtime/r", "/blas/lt", "/blas/b"].map(PathBuf::from));
        assert_eq!(find(&|name| name != "b"), [PathBuf::from("/blas/b")]);
        let nowhere = super::find(&wheels, None, &[], |_| false, |_| Ok(None));
        assert_eq!(nowhere, Ok(None));

        // A toolkit that has some of them saves their download.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("r"), b"").unwrap();
        std::fs::write(folder.path().join("b"), b"").unwrap();
        let toolkits = [folder.path().to_owned()];
        let found = super::find(&wheels, None, &toolkits, |_| false, get).unwrap().unwrap();
        assert_eq!(found, [folder.path().join("r"), "/blas/lt".into(), "/blas/b".into()]);
    }

    #[test]
    fn a_folder_of_the_user_counts_and_is_said_if_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let get = |_: &Wheel| -> Result<Option<PathBuf>, Missing> { panic!("nothing is fetched") };
        let find = || find(&[wheel("blas", &["lt", "b"])], Some(folder.path()), &[], |_| true, get);
        std::fs::write(folder.path().join("lt"), b"").unwrap();
        let missing = find().unwrap_err();
        assert!(missing.why.contains("there is no") && missing.why.ends_with("/b"), "{missing}");
        std::fs::write(folder.path().join("b"), b"").unwrap();
        assert_eq!(find().unwrap().unwrap(), ["lt", "b"].map(|name| folder.path().join(name)));
    }

    #[test]
    fn the_loader_is_asked() {
        assert!(!loads("libautotune-no-such-library.so.13"));
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        assert!(loads("libc.so.6"));
    }
}
