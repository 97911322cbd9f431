//! Certificates and keys in PEM, from texts, files and directories.
//!
//! All of the server reads such files here, so that the same mistake gets the same error everywhere. Nothing is
//! verified: who issued a certificate, and whether a key belongs to it, is for their users to check. An error names the
//! file and never repeats what is in it.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// A text or file that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemError {
    /// It cannot be read, or what is in it is cut or mangled.
    Unreadable {
        /// The file or directory, where the text came from one.
        path: Option<PathBuf>,
        /// The reason.
        reason: String,
    },
    /// There is none of what is looked for in it.
    Nothing {
        /// The file, where the text came from one.
        path: Option<PathBuf>,
        /// The kind of block looked for.
        wanted: &'static str,
    },
}

impl PemError {
    /// The file or directory, where the text came from one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. } | Self::Nothing { path, .. } => path.as_deref(),
        }
    }

    /// The error, without the file's name.
    pub fn reason(&self) -> String {
        match self {
            Self::Unreadable { reason, .. } => reason.clone(),
            Self::Nothing { wanted, .. } => format!("no {wanted} found"),
        }
    }

    fn unreadable(at: Option<&Path>, reason: impl fmt::Display) -> Self {
        Self::Unreadable { path: at.map(Path::to_owned), reason: reason.to_string() }
    }

    fn of(mut self, file: &Path) -> Self {
        match &mut self {
            Self::Unreadable { path, .. } | Self::Nothing { path, .. } => *path = Some(file.to_owned()),
        }
        self
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => write!(f, "{}: {}", path.display(), self.reason()),
            None => f.write_str(&self.reason()),
        }
    }
}

impl std::error::Error for PemError {}

/// The certificates of a text; at least one.
///
/// # Errors
///
/// There is none, or one is cut or mangled.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| PemError::unreadable(None, error))?;
    if found.is_empty() { Err(PemError::Nothing { path: None, wanted: "certificate" }) } else { Ok(found) }
}

/// The certificates of a file; at least one.
///
/// # Errors
///
/// As [`certificates`], and for a file that cannot be read.
pub fn certificates_in_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = std::fs::read(path).map_err(|error| PemError::unreadable(Some(path), error))?;
    certificates(&text).map_err(|error| error.of(path))
}

/// The certificates of all files of a directory, not of directories in it.
///
/// # Errors
///
/// As [`certificates_in_file`], for each file.
pub fn certificates_in_directory(directory: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |error| PemError::unreadable(Some(directory), error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        found.append(&mut certificates_in_file(path)?);
    }
    Ok(found)
}

/// The private key of a text.
///
/// # Errors
///
/// There is none.
pub fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => PemError::Nothing { path: None, wanted: "private key" },
        error => PemError::unreadable(None, error),
    })
}

/// The private key of a file.
///
/// # Errors
///
/// As [`private_key`], and for a file that cannot be read.
pub fn private_key_in_file(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = Zeroizing::new(std::fs::read(path).map_err(|error| PemError::unreadable(Some(path), error))?);
    private_key(&text).map_err(|error| error.of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn texts_files_and_directories_are_read() {
        let ((one, key), (two, _)) = (pem(), pem());
        assert_eq!(certificates(format!("words\n{one}{two}").as_bytes()).unwrap().len(), 2);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.pem"), &one).unwrap();
        std::fs::write(folder.path().join("b.pem"), format!("{two}{one}")).unwrap();
        std::fs::create_dir(folder.path().join("more")).unwrap();
        assert_eq!(certificates_in_directory(folder.path()).unwrap().len(), 3);
        let file = folder.path().join("more/key.pem");
        std::fs::write(&file, key).unwrap();
        assert!(private_key_in_file(&file).is_ok());
    }

    #[test]
    fn what_is_wrong_names_the_file_and_nothing_in_it() {
        let missing = certificates_in_file(Path::new("/nope")).unwrap_err();
        assert_eq!(missing.to_string(), "/nope: No such file or directory (os error 2)");
        assert_eq!(certificates(b"hush").unwrap_err().reason(), "no certificate found");
        let (_, key) = pem();
        let error = certificates(key.replace("PRIVATE KEY", "CERTIFICATE").replace("MI", "hush!").as_bytes());
        assert!(!error.unwrap_err().to_string().contains("hush"));
        assert!(!private_key(b"hush").unwrap_err().to_string().contains("hush"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "hush").unwrap();
        assert!(certificates_in_directory(folder.path()).unwrap_err().to_string().contains("a.txt: "));
    }
}
