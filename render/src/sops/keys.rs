//! The age keys that decrypt, from files as `age-keygen` writes them.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use age::armor::ArmoredReader;
use age::x25519::Identity;
use zeroize::Zeroizing;

use super::value::DataKey;

/// The largest key file that is read.
const LARGEST: u64 = 64 * 1024;
/// The largest encrypted data key: some hundred recipients.
const LARGEST_ENVELOPE: usize = 256 * 1024;

/// Keys, and files of which none could be read. What is wrong with a file is told where a key is needed: a component without
/// an encrypted file does not care.
#[derive(Default)]
pub struct AgeKeys {
    identities: Vec<Identity>,
    problems: Vec<String>,
}

impl AgeKeys {
    /// Reads the files as they are now.
    pub fn load<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> AgeKeys {
        let mut keys = AgeKeys::default();
        for file in files {
            match read(file) {
                Ok(identities) => keys.identities.extend(identities),
                Err(problem) => keys.problems.push(problem),
            }
        }
        keys
    }

    /// The public halves, sorted, and what is wrong: another answer may give other objects.
    pub(crate) fn identity(&self) -> String {
        let mut names: Vec<String> = self.identities.iter().map(|identity| identity.to_public().to_string()).collect();
        names.sort_unstable();
        names.extend(self.problems.iter().cloned());
        names.join(" ")
    }

    /// What there is instead of a key that fits.
    pub(super) fn what_there_is(&self) -> String {
        let has = match self.identities.len() {
            0 => "there is no age key".to_owned(),
            1 => "the only age key is another".into(),
            count => format!("none of the {count} age keys fits"),
        };
        self.problems.iter().fold(has, |text, problem| format!("{text}; {problem}"))
    }

    /// The data key in an envelope, if one of the keys opens it. An envelope that is damaged is an error.
    pub(super) fn open(&self, envelope: &str) -> Result<Option<DataKey>, &'static str> {
        let broken = "its data key is damaged (`sops.age.enc`)";
        if envelope.len() > LARGEST_ENVELOPE {
            return Err(broken);
        }
        let decryptor = age::Decryptor::new(ArmoredReader::new(envelope.as_bytes())).map_err(|_| broken)?;
        if decryptor.is_scrypt() {
            return Err("its data key is encrypted with a passphrase, which nobody could type here: encrypt it for an age key");
        }
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        let reader = match decryptor.decrypt(identities) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(_) => return Err(broken),
        };
        let mut bytes = Zeroizing::new(Vec::new());
        reader.take(64).read_to_end(&mut bytes).map_err(|_| broken)?;
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| broken)?;
        Ok(Some(Zeroizing::new(key)))
    }
}

/// How many there are; never one.
impl fmt::Debug for AgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgeKeys({})", self.identities.len())
    }
}

fn read(file: &Path) -> Result<Vec<Identity>, String> {
    let name = file.display();
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(file)
        .and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
        .map_err(|error| format!("the age key file `{name}` could not be read: {error}"))?;
    if text.len() as u64 > LARGEST {
        return Err(format!("`{name}` is larger than {LARGEST} bytes, so it is no file of age keys"));
    }
    let mut identities = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let identity = line
            .parse()
            .map_err(|_| format!("`{name}`:{}: it is no X25519 key of age, which begins with `AGE-SECRET-KEY-1`", index + 1))?;
        identities.push(identity);
    }
    if identities.is_empty() { Err(format!("`{name}` holds no age key")) } else { Ok(identities) }
}
