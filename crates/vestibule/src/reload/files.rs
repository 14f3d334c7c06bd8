//! Prints of files: whether their content is another one than before.
//!
//! By content, not by time: a Kubernetes volume changes by a symbolic link to another directory, with any times, and a file
//! that was only touched has not changed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, digest};

/// Larger files are told apart by their size and time only, in bytes.
const LARGE: u64 = 4 << 20;

/// The digest of each file; `None` for what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prints(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Prints {
    /// Looks at files, and at directories with the files in them. Links are followed.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let print = |path: &PathBuf| (path.clone(), print(path));
        Self(paths.iter().map(print).collect())
    }
}

fn print(path: &Path) -> Option<[u8; 32]> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        return print_file(path, &metadata);
    }
    let mut inside: Vec<PathBuf> = fs::read_dir(path)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    inside.sort();
    let mut all = Context::new(&SHA256);
    for path in inside {
        let metadata = fs::metadata(&path).ok();
        if let Some(print) = metadata.and_then(|metadata| print_file(&path, &metadata)) {
            all.update(path.as_os_str().as_encoded_bytes());
            all.update(&[0]);
            all.update(&print);
        }
    }
    all.finish().as_ref().try_into().ok()
}

/// Only regular files: reading a pipe would wait for ever and take away what is in it.
fn print_file(path: &Path, metadata: &Metadata) -> Option<[u8; 32]> {
    if !metadata.is_file() {
        return None;
    }
    let seen = if metadata.len() > LARGE {
        let time = metadata.modified().ok();
        digest(&SHA256, format!("{} {time:?}", metadata.len()).as_bytes())
    } else {
        digest(&SHA256, &zeroize::Zeroizing::new(fs::read(path).ok()?))
    };
    seen.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::test_directory::TestDirectory;

    #[test]
    fn what_counts_is_what_is_in_the_file() {
        let directory = TestDirectory::new("prints");
        let file = directory.write("a", "one");
        let paths = [file.clone(), directory.path("none")];
        let before = Prints::of(&paths);
        directory.write("a", "one");
        assert_eq!(Prints::of(&paths), before, "written, but not changed");
        directory.write("a", "two");
        assert_ne!(Prints::of(&paths), before);
        directory.write("a", "one");
        assert_eq!(Prints::of(&paths), before);
        directory.write("none", "");
        assert_ne!(Prints::of(&paths), before, "there is one more");
    }

    #[test]
    fn a_config_map_changes_by_a_link_of_a_directory() {
        let directory = TestDirectory::new("prints");
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(directory.path(version)).unwrap();
            fs::write(directory.path(version).join("vestibule.toml"), text).unwrap();
        }
        symlink("v1", directory.path("..data")).unwrap();
        let file = directory.path("vestibule.toml");
        symlink("..data/vestibule.toml", &file).unwrap();
        let before = Prints::of(std::slice::from_ref(&file));
        symlink("v2", directory.path("..data_tmp")).unwrap();
        fs::rename(directory.path("..data_tmp"), directory.path("..data")).unwrap();
        assert_ne!(Prints::of(&[file]), before);
    }

    #[test]
    fn a_directory_changes_with_the_files_in_it_and_a_pipe_is_left_alone() {
        let directory = TestDirectory::new("prints");
        let inside = directory.path("documents");
        fs::create_dir(&inside).unwrap();
        let look = || Prints::of(std::slice::from_ref(&inside));
        let empty = look();
        fs::write(inside.join("a.json"), "{}").unwrap();
        let one = look();
        assert_ne!(one, empty);
        fs::rename(inside.join("a.json"), inside.join("b.json")).unwrap();
        assert_ne!(look(), one);
        assert_eq!(print(Path::new("/dev/zero")), None);
    }
}
