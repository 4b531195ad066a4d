//! An SSH key that the signers file lists, and what for.

use ssh_key::Certificate;
use ssh_key::public::KeyData;

use super::patterns::list_matches;
use super::{NAMESPACE, certificate, key};
use crate::verify::Rule;
use crate::verify::signature::Asked;
use crate::verify::signers::Fit;

/// A key, and what may be made with it.
#[derive(Clone, Debug)]
pub(in crate::verify) struct Known {
    pub(super) key: KeyData,
    /// Whether it signs certificates of keys that sign for Git, instead of signing itself.
    pub(super) authority: bool,
    /// For whom, as patterns: those of the line that lists it.
    pub(super) principals: Option<String>,
    /// For what, as patterns of namespaces.
    pub(super) namespaces: Option<String>,
    /// Whether a certificate's owner is called as the certificate says; else by the name of the entry.
    pub(super) open: bool,
}

impl Known {
    /// A public key as one line: it signs itself, for anything.
    pub(in crate::verify) fn read(line: &str) -> Option<Known> {
        let key = key::from_line(line)?;
        Some(Known { key, authority: false, principals: None, namespaces: None, open: false })
    }

    /// As OpenSSH prints it: `SHA256:...`.
    pub(in crate::verify) fn fingerprint(&self) -> String {
        key::fingerprint(&self.key)
    }

    /// Whether a signature that was made with `shown` is this key's to make: the same key, or a key with a certificate of
    /// this authority.
    pub(super) fn fit(&self, shown: &KeyData, asked: Asked<'_>) -> Fit {
        let Some(made) = self.made(shown) else { return Fit::Other };
        // OpenSSH is asked about one name. Here nobody is claimed: it is enough that there is one.
        let names: Vec<&str> = match (made, &self.principals) {
            (Made::Itself | Made::Beside, None) => return self.fit_as(shown, "", asked),
            (Made::Itself | Made::Beside, Some(patterns)) => {
                patterns.split(',').filter(|pattern| !pattern.starts_with('!')).collect()
            }
            (Made::With(certificate), _) => certificate.valid_principals().iter().map(String::as_str).collect(),
        };
        match names.into_iter().find(|name| self.is_for(name)) {
            Some(name) => self.fit_as(shown, name, asked),
            None => match made {
                Made::Itself | Made::Beside => Fit::Refused(Rule::UnknownSigner, "the line of this key names nobody".into()),
                Made::With(certificate) => {
                    let names = tk8s_core::printable(&certificate.valid_principals().join(", "), 100);
                    let names = if names.is_empty() { "nobody".to_owned() } else { format!("`{names}`") };
                    let why = format!("its certificate names {names}, and its authority is not believed about that");
                    Fit::Refused(Rule::CertificateRefused, why)
                }
            },
        }
    }

    /// The same, asked as OpenSSH is: by somebody of this name?
    pub(super) fn fit_as(&self, shown: &KeyData, name: &str, asked: Asked<'_>) -> Fit {
        let Some(made) = self.made(shown) else { return Fit::Other };
        if !self.is_for(name) {
            return Fit::Other;
        }
        match made {
            Made::Itself => {}
            Made::With(certificate) => {
                if let Err((rule, why)) = certificate::judge(certificate, &self.key, name, asked) {
                    return Fit::Refused(rule, why);
                }
            }
            Made::Beside => {
                let why = "this key is listed itself, and signed with a certificate, whose authority would have to be listed";
                return Fit::Refused(Rule::UnknownSigner, why.into());
            }
        }
        if let Some(patterns) = &self.namespaces
            && !list_matches(patterns, NAMESPACE)
        {
            return Fit::Refused(Rule::WrongNamespace, format!("this key may not sign for `{NAMESPACE}`"));
        }
        let called = (self.open && matches!(made, Made::With(_))).then(|| tk8s_core::printable(name, 200));
        Fit::Made { called }
    }

    fn is_for(&self, name: &str) -> bool {
        self.principals.as_ref().is_none_or(|patterns| list_matches(patterns, name))
    }

    fn made<'a>(&self, shown: &'a KeyData) -> Option<Made<'a>> {
        match shown {
            KeyData::Certificate(certificate) if self.authority && *certificate.signature_key() == self.key => {
                Some(Made::With(certificate))
            }
            KeyData::Certificate(certificate) if !self.authority && *certificate.public_key() == self.key => Some(Made::Beside),
            shown if !self.authority && *shown == self.key => Some(Made::Itself),
            _ => None,
        }
    }
}

/// How a key comes to have made a signature.
#[derive(Clone, Copy)]
enum Made<'a> {
    Itself,
    /// By a certificate of this authority.
    With(&'a Certificate),
    /// It is this key, and came with a certificate that others may believe: refused here, but a compromised key stays one.
    Beside,
}
