//! The metadata of an encrypted file (getsops/sops, `stores/stores.go`): for whom its data key is encrypted, its MAC, and the
//! rule of what is encrypted.

use tk8s_core::printable;

use super::keys::AgeKeys;
use super::rule::Rule;
use super::tree::Node;
use super::value::DataKey;

/// Ways to keep a data key that are not age.
const OTHERS: [(&str, &str); 6] = [
    ("pgp", "PGP"),
    ("kms", "AWS KMS"),
    ("gcp_kms", "Google Cloud KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "HashiCorp Vault"),
    ("hckms", "Huawei Cloud KMS"),
];
/// Recipients that an error names.
const NAMED: usize = 10;

/// Why a file can't be decrypted.
pub(super) enum Refusal {
    /// Its metadata, or what it says, is not good.
    Bad(String),
    /// It is good, and there is no key for it.
    NoKey(String),
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(problem: T) -> Refusal {
        Refusal::Bad(problem.into())
    }
}

/// What is needed of the metadata.
pub(super) struct Metadata {
    pub(super) rule: Rule,
    pub(super) mac: String,
    /// What the MAC is bound to.
    pub(super) last_modified: String,
    pub(super) mac_only_encrypted: bool,
    pub(super) data_key: DataKey,
}

impl Metadata {
    /// Reads the metadata, and opens the data key.
    pub(super) fn read(node: &Node, keys: &AgeKeys) -> Result<Metadata, Refusal> {
        let text = |key: &str| node.get(key).and_then(Node::as_str).filter(|text| !text.is_empty());
        let filled = |key: &str| match node.get(key) {
            Some(Node::List(items)) => !items.is_empty(),
            Some(Node::Map(entries)) => !entries.is_empty(),
            _ => false,
        };
        let mac = text("mac")
            .ok_or("it has no MAC (`sops.mac`), so nobody can tell whether it is what was encrypted: encrypt it again")?;
        let last_modified = text("lastmodified").ok_or("its metadata has no `lastmodified`: encrypt it again")?;
        if filled("key_groups") {
            return Err(
                "its data key is split among several groups (`key_groups`, Shamir), which is not supported: encrypt it for \
                        age keys in one group"
                    .into(),
            );
        }
        let Some(Node::List(age)) = node.get("age").filter(|_| filled("age")) else {
            let ways: Vec<&str> = OTHERS.iter().filter(|(key, _)| filled(key)).map(|(_, name)| *name).collect();
            let ways = if ways.is_empty() { "nobody".into() } else { ways.join(", ") };
            return Err(format!(
                "it is encrypted for {ways}, and only age keys decrypt here: add one with `sops rotate --in-place --add-age RECIPIENT FILE`"
            )
            .into());
        };
        Ok(Metadata {
            rule: Rule::of(node)?,
            mac: mac.into(),
            last_modified: last_modified.into(),
            mac_only_encrypted: is_true(node.get("mac_only_encrypted")),
            data_key: data_key(age, keys)?,
        })
    }
}

/// A boolean, or its text: formats without types have only that.
fn is_true(node: Option<&Node>) -> bool {
    match node {
        Some(Node::Leaf(leaf)) => leaf.value == true || leaf.value == "true",
        _ => false,
    }
}

fn data_key(age: &[Node], keys: &AgeKeys) -> Result<DataKey, Refusal> {
    let mut damaged = None;
    for entry in age {
        let envelope = entry.get("enc").and_then(Node::as_str).ok_or("an entry of `sops.age` has no `enc`")?;
        match keys.open(envelope) {
            Ok(Some(key)) => return Ok(key),
            Ok(None) => {}
            Err(problem) => damaged = Some(problem),
        }
    }
    if let Some(problem) = damaged {
        return Err(problem.into());
    }
    let recipients = age.iter().map(|entry| printable(entry.get("recipient").and_then(Node::as_str).unwrap_or("?"), 120));
    let mut names: Vec<String> = recipients.take(NAMED).collect();
    if age.len() > NAMED {
        names.push(format!("{} more", age.len() - NAMED));
    }
    Err(Refusal::NoKey(format!(
        "it is encrypted for {}, and {}: name the file of one of these keys in `sops.ageKeyFiles` of the agent's file, or by `--age-key`",
        names.join(", "),
        keys.what_there_is()
    )))
}
