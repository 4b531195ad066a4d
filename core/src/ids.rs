//! Names and ids, parsed once. None of them can hold a value that would not be accepted where it came from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not the id or name that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A Git object id must be 40 or 64 hexadecimal digits.
    #[error("`{0}` is not a Git object id: 40 or 64 lower-case hexadecimal digits are needed")]
    ObjectId(String),
    /// A name must be a DNS label.
    #[error("`{0}` is not a valid name: use 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit")]
    Name(String),
    /// A digest must be `sha256:` and 64 hexadecimal digits.
    #[error("`{0}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits are needed")]
    Digest(String),
    /// A layer is written as a number, a dash and a name.
    #[error("`{0}` is not a layer: write a number from 0 to 999, a dash and a name, for example `2-services`")]
    Layer(String),
    /// A release is written as a component, `@` and a number from 1.
    #[error("`{0}` is not a release: write a component, `@` and a number, for example `core@12`")]
    Release(String),
    /// A service account is written as its namespace, `/` and its name.
    #[error("`{0}` is not a service account: write its namespace, `/` and its name, for example `shop/deployer`")]
    ServiceAccount(String),
}

/// What every text has that was checked when it was parsed.
macro_rules! checked_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> String {
                checked.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! git_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The id as lower-case hexadecimal digits: 40 of them for SHA-1, 64 for SHA-256.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first ten digits, for people.
            pub fn short(&self) -> &str {
                &self.0[..10]
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if hex && (text.len() == 40 || text.len() == 64) {
                    Ok($name(text.into()))
                } else {
                    Err(IdError::ObjectId(crate::printable(text, 80)))
                }
            }
        }

        checked_text!($name);
    };
}

git_id!(
    /// The id of a commit.
    CommitId
);
git_id!(
    /// The id of an annotated tag object.
    TagId
);
git_id!(
    /// The id of a tree.
    TreeId
);

/// The longest DNS label.
pub(crate) const LONGEST_LABEL: usize = 63;

/// Whether a text is made like a DNS label (RFC 1123), at most so long.
pub(crate) fn is_label(text: &str, longest: usize) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=longest).contains(&bytes.len())
        && bytes.iter().all(|&byte| is_alphanumeric(byte) || byte == b'-')
        && is_alphanumeric(bytes[0])
        && is_alphanumeric(bytes[bytes.len() - 1])
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                match is_label(text, LONGEST_LABEL) {
                    true => Ok($name(text.into())),
                    false => Err(IdError::Name(crate::printable(text, 80))),
                }
            }
        }

        checked_text!($name);
    };
}

name!(
    /// The name of an instance: a DNS label, because it is the value of a label and part of a Lease's name.
    InstanceName
);
name!(
    /// The name of a component: a DNS label, because it is the value of a label and part of a URL.
    ComponentName
);

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits without the algorithm's name, for file names.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::Digest(crate::printable(text, 80));
        let digits = text.strip_prefix("sha256:").ok_or_else(error)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(error());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| error())?;
        Ok(Digest(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.short())
    }
}

/// A numbered, named step of the platform. Layers are applied in number order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId {
    /// 0 to 999; lower layers are applied first.
    pub number: u16,
    /// A DNS label.
    pub name: Box<str>,
}

impl FromStr for LayerId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::Layer(crate::printable(text, 80));
        let (number, name) = text.split_once('-').ok_or_else(error)?;
        if number.is_empty() || number.len() > 3 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let number = number.parse().map_err(|_| error())?;
        let name: ComponentName = name.parse().map_err(|_| error())?;
        Ok(LayerId { number, name: name.as_str().into() })
    }
}

impl TryFrom<String> for LayerId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(layer: LayerId) -> String {
        layer.to_string()
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.name)
    }
}

/// The number of a release within its component, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl ReleaseNumber {
    /// The number after this one.
    pub fn next(self) -> ReleaseNumber {
        ReleaseNumber(self.0 + 1)
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One recorded deployment of one component, written `core@12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId {
    /// The component.
    pub component: ComponentName,
    /// The release's number within the component.
    pub number: ReleaseNumber,
}

impl FromStr for ReleaseId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::Release(crate::printable(text, 80));
        let (component, number) = text.split_once('@').ok_or_else(error)?;
        let component = component.parse().map_err(|_| error())?;
        match number.parse() {
            Ok(number) if number > 0 => Ok(ReleaseId { component, number: ReleaseNumber(number) }),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ReleaseId> for String {
    fn from(release: ReleaseId) -> String {
        release.to_string()
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.component, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_refuse_what_they_are_not() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit.parse::<CommitId>().unwrap().as_str(), commit);
        for bad in ["", "HEAD", "0123", "0123456789ABCDEF0123456789abcdef01234567"] {
            assert!(bad.parse::<CommitId>().is_err(), "{bad}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", &"a".repeat(64)] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad}");
        }
        let digest = Digest::of("x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!("2-sovereign-services".parse::<LayerId>().unwrap().number, 2);
        for bad in ["", "2", "two-services", "2-", "-services", "1000-x", "+2-x"] {
            assert!(bad.parse::<LayerId>().is_err(), "{bad}");
        }
        assert_eq!("core@12".parse::<ReleaseId>().unwrap().to_string(), "core@12");
        assert!("core@0".parse::<ReleaseId>().is_err());
    }
}
