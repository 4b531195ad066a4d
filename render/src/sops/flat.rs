//! Files of variables (`NAME=value` lines) and files of anything, as SOPS encrypts them: the one with metadata in lines that
//! begin with `sops_` (getsops/sops, `stores/dotenv` and `stores/flatten.go`), the other as JSON with one value, `data`.

use tk8s_core::Origin;

use super::tree::Node;
use crate::Error;

/// What the metadata's lines begin with.
const PREFIX: &str = "sops_";
/// The entries of one list of metadata: hundreds of recipients.
const MOST: usize = 1000;

/// Whether a text is an encrypted file of variables.
pub(super) fn is_variables(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("sops_mac="))
}

/// The document that an encrypted file of variables is: its lines in order, and its metadata.
pub(super) fn variables(text: &str, file: &str) -> Result<(Node, Origin), Error> {
    let origin = |line: usize| Origin { file: file.into(), line };
    let fail = |line: usize, problem: &str| Error::Sealed { origin: origin(line), problem: problem.into() };
    let (mut entries, mut metadata) = (Vec::new(), Vec::new());
    for (index, line) in text.split('\n').enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').ok_or_else(|| fail(index + 1, "a line is no `NAME=value`"))?;
        let node = Node::text(&value.replace("\\n", "\n"), index);
        match name.strip_prefix(PREFIX) {
            Some(name) => place(&mut metadata, name, node).map_err(|problem| fail(index + 1, problem))?,
            None => entries.push((name.to_owned(), node)),
        }
    }
    entries.push((super::open::METADATA.into(), Node::Map(metadata)));
    Ok((Node::Map(entries), origin(1)))
}

/// One line of metadata: `name`, or `name__list_0__map_field`.
fn place(metadata: &mut Vec<(String, Node)>, name: &str, node: Node) -> Result<(), &'static str> {
    let Some((list, rest)) = name.split_once("__list_") else {
        metadata.push((name.into(), node));
        return Ok(());
    };
    let index: usize = rest.split("__").next().and_then(|index| index.parse().ok()).ok_or("its metadata can't be read")?;
    if !metadata.iter().any(|(known, _)| known == list) {
        metadata.push((list.into(), Node::List(Vec::new())));
    }
    let Some((_, Node::List(items))) = metadata.iter_mut().find(|(known, _)| known == list) else {
        return Err("its metadata can't be read");
    };
    if index >= MOST {
        return Err("its metadata names too many keys");
    }
    while items.len() <= index {
        items.push(Node::Map(Vec::new()));
    }
    if let (Node::Map(fields), Some((_, field))) = (&mut items[index], rest.split_once("__map_")) {
        fields.push((field.into(), node));
    }
    Ok(())
}
