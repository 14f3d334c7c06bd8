//! The key ring file: mode 0600, written in one step, never replaced by accident, changed by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vestibule_oauth::secret::Secret;
use zeroize::Zeroizing;

use super::{KeyRing, KeyRingError};

/// How often, and with what pause, a lock that somebody else holds is tried.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

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
            return Err(KeyRingError::Exists(path.display().to_string()));
        }
        other => other.map_err(|source| failed(path, source))?,
    }
    sync_directory_of(path);
    Ok(())
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

/// A ring file that nobody else changes in the meantime: it is locked (`flock`) until this is dropped.
#[derive(Debug)]
pub struct LockedRing {
    /// Where the file really is, behind symbolic links.
    path: PathBuf,
    file: File,
    text: Secret,
}

impl LockedRing {
    /// Reads the file and keeps others from changing it. Waits up to ten seconds for somebody who does.
    pub fn open(path: &Path) -> Result<Self, KeyRingError> {
        let path = fs::canonicalize(path).map_err(|source| failed(path, source))?;
        check_file(&path)?;
        let file = lock(&path)?;
        let mut text = Zeroizing::new(String::new());
        (&file)
            .read_to_string(&mut text)
            .map_err(|source| failed(&path, source))?;
        Ok(Self {
            file,
            text: Secret::new(text.as_str()),
            path,
        })
    }

    /// The text as it is.
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// Puts another text in its place in one step, with the owner and the mode of before.
    pub fn replace(self, text: &Secret) -> Result<(), KeyRingError> {
        let path = &self.path;
        // Kubernetes swaps a link to a directory `..TIME`; what is written there is lost, if it can be written at all.
        let mounted = path.components().any(|part| {
            let name = part.as_os_str().as_encoded_bytes();
            name.len() > 2 && name.starts_with(b"..")
        });
        if mounted {
            return Err(KeyRingError::Refused(format!(
                "{} is mounted by Kubernetes and cannot be changed here; write the new ring elsewhere with --out, and \
                 update the Secret",
                path.display()
            )));
        }
        let temporary = temporary_beside(path).map_err(|source| failed(path, source))?;
        let result = self.swap(&temporary, text);
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result.map_err(|source| failed(path, source))
    }

    fn swap(&self, temporary: &Path, text: &Secret) -> io::Result<()> {
        let before = self.file.metadata()?;
        write_new(temporary, text)?;
        let after = fs::metadata(temporary)?;
        if (after.uid(), after.gid()) != (before.uid(), before.gid()) {
            // Run by root, for a server that is not: it must still be able to read its ring.
            chown(temporary, Some(before.uid()), Some(before.gid()))?;
        }
        let mode = fs::Permissions::from_mode(before.mode() & 0o777);
        fs::set_permissions(temporary, mode)?;
        fs::rename(temporary, &self.path)?;
        sync_directory_of(&self.path);
        Ok(())
    }
}

/// Locks the file that the name stands for once the lock is held: another process may have put a new one there.
fn lock(path: &Path) -> Result<File, KeyRingError> {
    let mut options = OpenOptions::new();
    // For writing too: over a network, a lock for one needs that.
    let options = options.read(true).write(true);
    for _ in 0..LOCK_ATTEMPTS {
        let file = options.open(path).map_err(|source| failed(path, source))?;
        match file.try_lock() {
            Ok(()) => {
                let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
                let there = fs::metadata(path).map(id).ok();
                if there.is_some() && file.metadata().map(id).ok() == there {
                    return Ok(file);
                }
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(failed(path, source)),
        }
    }
    Err(KeyRingError::Refused(format!(
        "another process is changing {}",
        path.display()
    )))
}

/// So that the new name outlives a power cut. Not every file system can do it.
fn sync_directory_of(path: &Path) {
    if let Some(directory) = path.parent() {
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
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

    fn text(second: u64) -> Secret {
        let ring = KeyRing::generate(&[], UnixTime(second), &SystemRandom);
        ring.unwrap().to_toml()
    }

    #[test]
    fn a_ring_is_replaced_in_one_step_behind_its_link_and_keeps_its_mode() {
        let directory = TestDirectory::new("replace");
        let (path, link) = (directory.path("keys.toml"), directory.path("link.toml"));
        write(&path, &text(1), false).unwrap();
        set_mode(&path, 0o640);
        std::os::unix::fs::symlink("keys.toml", &link).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        let new = text(2);
        LockedRing::open(&link).unwrap().replace(&new).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), new.expose());
        let after = fs::metadata(&path).unwrap();
        assert_ne!(after.ino(), before, "written in place");
        assert_eq!(after.mode() & 0o777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path("")).unwrap().count(), 2);
    }

    #[test]
    fn two_who_change_a_ring_at_once_do_not_lose_each_others_keys() {
        let directory = TestDirectory::new("lock");
        let path = directory.path("keys.toml");
        write(&path, &text(1), false).unwrap();
        let adds = || {
            for _ in 0..5 {
                let locked = LockedRing::open(&path).unwrap();
                let mut ring = KeyRing::parse(locked.text().expose()).unwrap();
                let mut key = super::super::SealingKey::generate(UnixTime(1), &SystemRandom);
                key.life.state = super::super::KeyState::Previous;
                ring.sealing.push(key);
                locked.replace(&ring.to_toml()).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(adds);
            scope.spawn(adds);
        });
        assert_eq!(KeyRing::load(&path).unwrap().sealing.len(), 11);
    }

    #[test]
    fn a_ring_that_kubernetes_mounted_is_not_changed() {
        let directory = TestDirectory::new("mounted");
        fs::create_dir(directory.path("..2026")).unwrap();
        let path = directory.path("..2026/keys.toml");
        write(&path, &text(1), false).unwrap();
        std::os::unix::fs::symlink("..2026", directory.path("..data")).unwrap();
        let link = directory.path("keys.toml");
        std::os::unix::fs::symlink("..data/keys.toml", &link).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let error = LockedRing::open(&link).unwrap().replace(&text(2));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("Kubernetes") && error.contains("--out"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
}
