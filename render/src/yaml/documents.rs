//! From the bytes of a file to its documents, as kubectl takes them apart before anything is parsed.

/// A document, and where it stands in its file.
pub(crate) struct Document<'t> {
    /// The line on which it begins, from 1: that of its `---`, if it has one.
    pub line: usize,
    /// The line of the first byte of `text`.
    pub first: usize,
    /// Everything up to the next separator, without the one before.
    pub text: &'t str,
}

/// The text of a file. UTF-16 is known by its byte order mark, without one there is only UTF-8; marks are dropped. The
/// error is the line and what is wrong.
pub(crate) fn text(bytes: &[u8]) -> Result<std::borrow::Cow<'_, str>, (usize, String)> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        let whole = bytes.len().is_multiple_of(2);
        String::from_utf16(&units).ok().filter(|_| whole).map(Into::into).ok_or((1, "it is not UTF-16, as it says".into()))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest).map(Into::into),
        _ => utf8(bytes).map(Into::into),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, (usize, String)> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, "it is not UTF-8: save it as UTF-8".into())
    })
}

/// Takes a text apart at the lines that begin with `---`, one document after the other; `first` is the line of its first
/// byte. Nothing but a comment may follow on such a line: Kubernetes would drop it.
pub(crate) fn split(text: &str, first: usize) -> impl Iterator<Item = Result<Document<'_>, (usize, String)>> {
    let mut lines = text.split_inclusive('\n');
    let mut next = Some(Document { line: first, first, text: "" });
    let (mut begin, mut at, mut number) = (0, 0, first);
    std::iter::from_fn(move || {
        let mut document = next.take()?;
        for piece in lines.by_ref() {
            let end = at;
            at += piece.len();
            number += 1;
            let Some(rest) = piece.strip_prefix("---").map(str::trim) else { continue };
            if !rest.is_empty() && !rest.starts_with('#') {
                return Some(Err((number - 1, "something follows `---` on its line: write it on a line of its own".into())));
            }
            document.text = &text[begin..end];
            begin = at;
            next = Some(Document { line: number - 1, first: number, text: "" });
            return Some(Ok(document));
        }
        document.text = &text[begin..];
        Some(Ok(document))
    })
}
