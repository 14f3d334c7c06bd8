//! The key ring file: mode 0600, written in one step, never replaced by accident.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use vestibule_oauth::secret::Secret;
use zeroize::Zeroizing;

use super::{KeyRing, KeyRingError};

impl KeyRing {
    /// Reads the ring from a file. Refuses one that others can write.
    pub fn load(path: &Path) -> Result<Self, KeyRingError> {
        check_file(path)?;
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|source| failed(path, source))?;
        Self::parse(&text).map_err(|error| match error {
            KeyRingError::Malformed { line, message } => {
                KeyRingError::Content(format!("{}:{line}: {message}", path.display()))
            }
            KeyRingError::Content(message) => {
                KeyRingError::Content(format!("{}: {message}", path.display()))
            }
            other => other,
        })
    }
}

/// Checks that the file is there and who can touch it: an error when others can write it, a warning when others can
/// read it.
pub fn check_file(path: &Path) -> Result<Option<String>, KeyRingError> {
    let metadata = fs::metadata(path).map_err(|source| failed(path, source))?;
    if !metadata.is_file() {
        return Err(failed(path, io::Error::other("is not a file")));
    }
    let shown = path.display();
    let mode = metadata.mode();
    if mode & 0o022 != 0 {
        return Err(KeyRingError::WritableByOthers(shown.to_string()));
    }
    let warning = format!(
        "{shown} can be read by other users of this computer (mode {:03o}); run `chmod 600 {shown}`",
        mode & 0o777
    );
    Ok((mode & 0o044 != 0).then_some(warning))
}

/// Writes a ring's text to `path` with mode 0600, in one step. An existing file is replaced only with `force`.
pub fn write(path: &Path, text: &Secret, force: bool) -> Result<(), KeyRingError> {
    let temporary = temporary_beside(path).map_err(|source| failed(path, source))?;
    let result = write_new(&temporary, text).and_then(|()| {
        if force {
            fs::rename(&temporary, path)
        } else {
            link(&temporary, path)
        }
    });
    if result.is_err() || !force {
        // With `rename` the temporary name is gone by itself.
        let _ = fs::remove_file(&temporary);
    }
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(KeyRingError::Exists(path.display().to_string()))
        }
        other => other.map_err(|source| failed(path, source)),
    }
}

/// Gives `temporary` its real name unless that name is taken.
fn link(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // Some file systems have no links: look first, then rename.
            if path.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(temporary, path)
        }
        other => other,
    }
}

fn write_new(path: &Path, text: &Secret) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.expose().as_bytes())?;
    file.sync_all()
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("is not a file name"))?;
    Ok(path.with_file_name(format!(
        ".{}.{}.new",
        name.to_string_lossy(),
        std::process::id()
    )))
}

fn failed(path: &Path, source: io::Error) -> KeyRingError {
    KeyRingError::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use vestibule_oauth::random::SystemRandom;
    use vestibule_oauth::time::UnixTime;

    use super::*;
    use crate::test_directory::TestDirectory;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_ring_is_private_and_is_not_replaced_by_accident() {
        let directory = TestDirectory::new("keys");
        let path = directory.path("keys.toml");
        let ring = KeyRing::generate(&[], UnixTime(1), &SystemRandom).unwrap();
        write(&path, &ring.to_toml(), false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            KeyRing::load(&path).unwrap().sealing[0].id,
            ring.sealing[0].id
        );

        let other = KeyRing::generate(&[], UnixTime(2), &SystemRandom).unwrap();
        assert!(matches!(
            write(&path, &other.to_toml(), false),
            Err(KeyRingError::Exists(_))
        ));
        assert_eq!(
            KeyRing::load(&path).unwrap().sealing[0].id,
            ring.sealing[0].id
        );
        write(&path, &other.to_toml(), true).unwrap();
        assert_eq!(
            KeyRing::load(&path).unwrap().sealing[0].id,
            other.sealing[0].id
        );
        assert_eq!(
            fs::read_dir(directory.path("")).unwrap().count(),
            1,
            "no temporary file stays behind"
        );
    }

    #[test]
    fn a_ring_that_everybody_can_write_is_refused_and_one_they_can_read_is_remarked_on() {
        let directory = TestDirectory::new("modes");
        let path = directory.path("keys.toml");
        write(
            &path,
            &KeyRing::generate(&[], UnixTime(1), &SystemRandom)
                .unwrap()
                .to_toml(),
            false,
        )
        .unwrap();
        assert_eq!(check_file(&path).unwrap(), None);
        set_mode(&path, 0o644);
        assert!(check_file(&path).unwrap().unwrap().contains("644"));
        set_mode(&path, 0o666);
        assert!(matches!(
            KeyRing::load(&path),
            Err(KeyRingError::WritableByOthers(_))
        ));
        assert!(matches!(
            check_file(&directory.path("none.toml")),
            Err(KeyRingError::File { .. })
        ));
    }
}
