//! The secret that opens the API: whoever can read the file may command the node.
//!
//! The file appears whole, readable by its owner alone from its first moment; it is never
//! rewritten. The token is compared in constant time, cleared on drop and printed by nothing.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use rand::TryRng;
use rand::rngs::SysRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 32 bytes in base32.
const TOKEN_CHARS: usize = 52;
const TOKEN_BYTES: usize = 32;
const OWNER_ONLY: u32 = 0o600;
/// A longer file is not a token.
const FILE_MAX_BYTES: u64 = 256;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file is not there: no node ran at this home yet.
    #[error("there is no API token at {}: start the node once with `junto up`", .0.display())]
    Missing(PathBuf),
    /// The file holds something else.
    #[error(
        "{} does not hold an API token: remove the file and start the node again to get a new one",
        .0.display()
    )]
    Damaged(PathBuf),
    /// The file, or its folder, cannot be used.
    #[error("the API token at {} cannot be used: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes for the API token")]
    NoRandomness,
}

/// The API's bearer token: 32 random bytes as 52 lower-case base32 characters.
#[derive(Clone)]
pub struct ApiToken(Zeroizing<String>);

impl ApiToken {
    /// A fresh token from the operating system's generator.
    ///
    /// # Errors
    /// [`TokenError::NoRandomness`].
    pub fn generate() -> Result<ApiToken, TokenError> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        SysRng
            .try_fill_bytes(&mut bytes[..])
            .map_err(|_| TokenError::NoRandomness)?;
        let mut text = Zeroizing::new(BASE32_NOPAD.encode(&bytes[..]));
        text.make_ascii_lowercase();
        Ok(ApiToken(text))
    }

    /// Reads the token of a node that ran before.
    ///
    /// A file that others can read is closed to them, with a warning.
    ///
    /// # Errors
    /// When the file is missing, damaged, a link, or cannot be read or closed to others.
    pub fn load(path: &Path) -> Result<ApiToken, TokenError> {
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => TokenError::Missing(path.to_owned()),
            _ => TokenError::Io {
                path: path.to_owned(),
                source,
            },
        };
        // Neither a link to somewhere else nor a pipe that would hold us up.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(TokenError::Damaged(path.to_owned()));
        }
        close_to_others(&file, path).map_err(failed)?;
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_CHARS + 1));
        match file.take(FILE_MAX_BYTES).read_to_string(&mut text) {
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(TokenError::Damaged(path.to_owned()));
            }
            read => read.map_err(failed)?,
        };
        parse(text.trim_end()).ok_or_else(|| TokenError::Damaged(path.to_owned()))
    }

    /// Reads the token, or makes one where there is none. The folder must exist.
    ///
    /// # Errors
    /// As [`ApiToken::load`], or when the file cannot be written.
    pub fn load_or_create(path: &Path) -> Result<ApiToken, TokenError> {
        match ApiToken::load(path) {
            Err(TokenError::Missing(_)) => {}
            loaded => return loaded,
        }
        let token = ApiToken::generate()?;
        match token.write_new(path) {
            Ok(()) => Ok(token),
            // Another process was faster: its token is the one.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => ApiToken::load(path),
            Err(source) => Err(TokenError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Writes beside the path and renames, so that nobody ever sees half a token.
    fn write_new(&self, path: &Path) -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new()
            .prefix(".api-token-")
            .permissions(Permissions::from_mode(OWNER_ONLY))
            .tempfile_in(folder)?;
        file.write_all(self.0.as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }

    /// Whether `offered` is this token, in a time that does not tell how much of it is right.
    pub fn matches(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }

    /// The secret itself, for the header of a request. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

fn parse(text: &str) -> Option<ApiToken> {
    let ours = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
    (text.len() == TOKEN_CHARS && text.bytes().all(ours))
        .then(|| ApiToken(Zeroizing::new(text.to_owned())))
}

/// Takes the file's rights from everybody but its owner.
fn close_to_others(file: &File, path: &Path) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(
        path = %path.display(),
        mode = format_args!("{mode:o}"),
        "the API token was open to other users and is now closed to them; \
         if others use this machine, remove it and restart the node to get a new one"
    );
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.token");
        let made = ApiToken::load_or_create(&path).unwrap();
        let read = ApiToken::load_or_create(&path).unwrap();
        assert_eq!(made.reveal(), read.reveal());
        assert_eq!(made.reveal().len(), TOKEN_CHARS);
        assert_eq!(mode(&path), OWNER_ONLY);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no file is left beside it"
        );
    }

    #[test]
    fn a_token_open_to_others_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.token");
        let made = ApiToken::load_or_create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ApiToken::load(&path).unwrap().reveal(), made.reveal());
        assert_eq!(mode(&path), OWNER_ONLY);
    }

    #[test]
    fn a_damaged_file_a_link_and_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.token");
        for content in [&b""[..], b"short\n", &[0xff; 52], &[b'a'; 300]] {
            fs::write(&path, content).unwrap();
            let error = ApiToken::load_or_create(&path).unwrap_err();
            assert!(matches!(error, TokenError::Damaged(_)), "{error}");
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(ApiToken::load(&link), Err(TokenError::Io { .. })));
        assert!(ApiToken::load(folder.path()).is_err());
        let missing = folder.path().join("none").join("api.token");
        assert!(matches!(
            ApiToken::load(&missing),
            Err(TokenError::Missing(_))
        ));
        assert!(matches!(
            ApiToken::load_or_create(&missing),
            Err(TokenError::Io { .. })
        ));
    }

    #[test]
    fn only_the_whole_token_matches_and_debug_shows_nothing() {
        let token = ApiToken::generate().unwrap();
        assert!(token.matches(token.reveal().as_bytes()));
        assert!(!token.matches(&token.reveal().as_bytes()[1..]));
        assert!(!token.matches(b""));
        assert!(!token.matches(ApiToken::generate().unwrap().reveal().as_bytes()));
        assert_eq!(format!("{token:?}"), "ApiToken(…)");
    }
}
