//! The 95 texts on which readers of YAML are known to part, and the files around them. Each is read by kubectl itself and by
//! us; `docs/yaml.md` explains every difference that is named here.

/// How our reader may differ from kubectl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// It doesn't: the same objects, or both refuse.
    No,
    /// We refuse what kubectl takes; our message says this.
    Refused(&'static str),
    /// We take what kubectl refuses.
    Taken,
    /// Both take it, and give other objects.
    Otherwise,
}

use Differs::{No, Otherwise, Refused, Taken};

/// A text, and what we make of it beside kubectl.
pub struct Case {
    /// What it is about.
    pub about: &'static str,
    /// The file. `NAME` is replaced by a name of its own.
    pub text: &'static [u8],
    /// Whether `text` stands below the head of an object.
    pub below: bool,
    /// The extension of the file.
    pub extension: &'static str,
    /// The difference.
    pub differs: Differs,
}

const fn below(about: &'static str, text: &'static str, differs: Differs) -> Case {
    Case { about, text: text.as_bytes(), below: true, extension: "yaml", differs }
}

const fn file(about: &'static str, text: &'static [u8], differs: Differs) -> Case {
    Case { about, text, below: false, extension: "yaml", differs }
}

const fn json(about: &'static str, text: &'static [u8], differs: Differs) -> Case {
    Case { about, text, below: false, extension: "json", differs }
}

/// The head below which a text stands.
pub const HEAD: &str = "apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n";

/// The 95.
pub const CASES: &[Case] = &[
    // Numbers and words.
    below("a file mode", "v: 0644\n", No),
    below("a file mode as YAML 1.2 writes it", "v: 0o644\n", No),
    below("a negative octal", "v: -0644\n", No),
    below("words for true", "v: [yes, Yes, YES, on, On, ON, true, True, TRUE]\n", No),
    below("words for false", "v: [no, No, NO, off, Off, OFF, false, False, FALSE]\n", No),
    below("letters for true and false", "v: [y, Y, n, N]\n", No),
    below("words that are almost booleans", "v: [yEs, tRUE, oN, nO, 'yes', \"no\"]\n", No),
    below("keys that are booleans", "y: 1\nn: 2\n", No),
    below("a key that says on", "on: [push]\n", No),
    below("nothing in all spellings", "v: [~, null, Null, NULL, ]\nw:\nx: nUll\n", No),
    below("exponents, points and signs", "v: [1e3, .5, +1, 1., -.5, 1E-2, +1.5e+3]\n", No),
    below("a commit id that looks like a float", "v: [5e1234, 1e400, -1e400]\n", No),
    below("underscores", "v: [1_000, 0x_1F, 1__0, 1_0.5_0, _1, .5_0, 0_7]\n", No),
    below("bases", "v: [0x1F, 0b101, 0X1f, 0O17, 0B11, -0x1F, -0b11, +0b1]\n", No),
    below("broken bases", "v: [0x, 0b, 0o, 0xG, 0b2, 0o8, 0b_]\n", No),
    below("zeros before digits that are not octal", "v: [08, 09, 0778, -08]\n", No),
    below("a date", "v: 2024-01-02\n", No),
    below("a time stamp", "v: [2024-01-02T03:04:05Z, 2024-01-02 03:04:05]\n", No),
    below("times of day", "v: ['12:30:45', 12:30:45, 22:22, 1:2]\n", No),
    below("whole numbers at the edge of 64 bits", "v: [9223372036854775807, -9223372036854775808]\n", No),
    below("whole numbers beyond 63 bits", "v: [9223372036854775808, 18446744073709551615, -9223372036854775809]\n", No),
    below("whole numbers beyond 64 bits", "v: [18446744073709551616, 99999999999999999999999, 0x10000000000000000]\n", No),
    below("large floats that are whole", "v: [1e15, 1e16, 1e18, 1.2345678901234567e18, 9.1e18, 1e19, 1e21]\n", No),
    below("small floats", "v: [1e-7, 0.000001, 5e-324, -0.0]\n", No),
    below("infinity", "v: .inf\n", No),
    below("not a number", "v: .NaN\n", No),
    below("words that look like numbers", "v: [1.2.3, v1.2, 100m, 1Gi, 1e, +, ., -, .e5, 1e+, 0.5e-3, '']\n", No),
    // Merges and anchors.
    below("a merge, then an override", "b: &x {a: 1, c: 3}\nd:\n  <<: *x\n  a: 2\n", No),
    below("a key of its own before the merge", "b: &x {a: 1}\nd:\n  a: 2\n  <<: *x\n", No),
    below("a merge key in quotes", "b: &x {a: 1}\nd:\n  \"<<\": *x\n", No),
    below("a merge of several", "b: [&x {a: 1}, &y {a: 2, b: 2}]\nd:\n  <<: [*x, *y]\n", No),
    below("two merges", "b: [&x {a: 1}, &y {a: 2, b: 2}]\nd:\n  <<: *x\n  <<: *y\n", No),
    below("a merge of what stands there", "d:\n  <<: {a: 1}\n  b: 2\n", No),
    below("a merge of a number", "d:\n  <<: 1\n", No),
    below("a merge of a list by its alias", "b: &x [{a: 1}]\nd:\n  <<: *x\n", No),
    below("a merge with its tag", "d:\n  !!merge <<: {a: 1}\n", No),
    below("a merge in a list", "d: [<<, {<<: {a: 1}}]\n", No),
    below("an anchor that is given twice", "a: &x 1\nb: *x\nc: &x 2\nd: *x\n", No),
    below("an alias of nothing", "a: *nobody\n", No),
    below("an alias of itself", "a: &x [*x]\n", No),
    below("an alias as a key", "a: &x word\n*x : 1\n", No),
    below("an alias of a number as a key", "a: &x 1e7\n*x : 1\n", Refused("write the key itself")),
    below("nine levels of aliases", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\ni: &i [*h,*h,*h,*h,*h,*h,*h,*h,*h]\n", No),
    // Keys.
    below("a key that occurs twice", "a: 1\na: 2\n", Refused("`a` occurs twice")),
    below("keys that are numbers", "1: a\n1.5: b\n0x10: c\n-3: d\n", No),
    below("keys that are floats", "1e7: a\n1234567.5: b\n0.00001: c\n1e5: d\n.inf: e\n1.1: f\n", No),
    below("keys that are true and false", "true: a\nFalse: b\n", No),
    below("a key that is nothing", "~: a\n", No),
    below("a key beyond 63 bits", "18446744073709551615: a\n", No),
    below("a key that is a list", "[a]: 1\n", No),
    below("a key that is a map", "{a: 1}: 1\n", No),
    below("a key after a question mark", "? a\n: 1\n? b\n", No),
    below("keys in quotes", "'a b': 1\n\"c\\td\": 2\n", No),
    below("an empty key", "'': 1\n", No),
    below("a key without a space after its colon", "v: {a:1, \"b\":2}\n", No),
    below("two colons on a line", "a: b: c\n", No),
    // Spaces.
    below("a line with nothing but a tab", "a: 1\n\t\nb: 2\n", No),
    below("a tab after a colon", "a:\tfoo\n", No),
    below("a tab before a comment", "a: foo\t# more\n", No),
    below("a tab as indentation", "a:\n\tb: 1\n", No),
    below("spaces at the end", "a: foo   \nb: 'x '  \n", No),
    below("a comment without a space before it", "a: foo#bar\nb: foo #bar\n", No),
    file("a byte order mark", b"\xef\xbb\xbfapiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n", No),
    file("a byte order mark in the second document", b"kind: Case\nmetadata: {name: NAME-1}\napiVersion: example.com/v1\n---\n\xef\xbb\xbfkind: Case\napiVersion: example.com/v1\nmetadata: {name: NAME-2}\n", No),
    below("a byte order mark in a value", "a: x\u{feff}y\nb: \"\u{feff}\"\n", No),
    file("lines that end as in Windows", b"apiVersion: example.com/v1\r\nkind: Case\r\nmetadata: {name: NAME}\r\nv: |\r\n  a\r\n  b\r\nw: \"a\r\n  b\"\r\n---\r\nkind: Case\r\napiVersion: example.com/v1\r\nmetadata: {name: NAME-2}\r\n", No),
    below("a carriage return alone", "a: x\rb: y\n", No),
    below("the next line of Unicode", "a: x\u{85}b: y\n", Refused("only Unicode knows")),
    below("the line separator of Unicode", "a: x\u{2028}y\n", No),
    below("the line separator of Unicode in quotes", "a: \"x\u{2028}y\"\n", Refused("only Unicode knows")),
    below("a control character", "a: \"x\u{1}y\"\n", No),
    below("a deleted character", "a: \"x\u{7f}y\"\n", No),
    below("a zero byte", "a: \"x\0y\"\n", No),
    file("a byte that is no UTF-8", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\nv: \"x\xffy\"\n", Refused("it is not UTF-8")),
    below("an emoji", "a: \u{1f600}\nb: \"\u{1f600}\"\n\u{1f600}: c\n", No),
    // Scalars over several lines.
    below("block scalars", "a: |\n  x\n  y\nb: >-\n  x\n  y\nc: |+\n  x\n\nd: |2-\n   x\ne: >\n  x\n\n  y\n    z\n  w\n", No),
    below("a block scalar at the end of a file", "a: |\n  x\n  y", No),
    below("a block scalar with nothing in it", "a: |\nb: >-\nc: |+\n\n", No),
    below("a block scalar with a separator inside", "a: |\n  ---\n  x\n", No),
    below("a plain text over lines", "a: x\n  y\n\n  z\n", No),
    below("quotes over lines", "a: 'x\n  y\n\n  it''s'\nb: \"x\\\n  y\\n\n  z\"\n", No),
    below("escapes", "a: \"\\x41\\u0041\\U0001F600\\e\\0\\N\\_\\L\\P\\t\\\\\"\n", No),
    below("a slash that is escaped", "a: \"x\\/y\"\n", Taken),
    below("an escape that is none", "a: \"\\q\"\n", No),
    below("half a pair of surrogates", "a: \"\\ud83d\"\n", No),
    // Tags.
    below("binary", "a: !!binary aGk=\nb: !!binary |\n  aGVs\n  bG8=\n", No),
    below("binary that is no text", "a: !!binary /w==\n", Refused("is no text")),
    below("binary that is no base64", "a: !!binary '*'\n", No),
    below("tags of known kinds", "a: !!int \"7\"\nb: !!bool \"yes\"\nc: !!str 7\nd: !!float 3\ne: !!null ''\nf: !!float '1.5'\n", No),
    below("a tag that isn't true", "a: !!int x\n", No),
    below("tags of unknown kinds", "a: !foo bar\nb: !foo 7\nc: ! 7\nd: !foo [1]\ne: !<tag:x,1:y> 7\nf: !!set {a, b}\n", No),
    below("the tag of a time", "a: !!timestamp 2024-01-02\n", Refused("tagged as a time")),
    // Depth and flow.
    below("a flow list and a flow map", "a: [1, 2,]\nb: {a: 1, b, c: ,}\nc: [a: 1, b]\nd: []\ne: {}\n", No),
    below("a flow list that doesn't end", "a: [1\n", No),
    below("a flow map with one brace more", "a: {b: 1}}\n", No),
];

/// Whole files: documents, lists, JSON, encodings.
pub const FILES: &[Case] = &[
    file("several documents", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-1}\n---\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-2}\n", No),
    file("empty documents between others", b"---\n---\n# nothing\n---\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n---\n\n---\n  \n---\nnull\n---\n~\n", No),
    file("comments beside separators", b"--- # one\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-1}\n---\t#two\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-2}\n", No),
    file("a document on the line of its separator", b"--- {apiVersion: example.com/v1, kind: Case, metadata: {name: NAME}}\n", No),
    file("a separator with more than three dashes", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n----\n", No),
    file("a separator inside quotes", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\nv: \"a\n---\nb\"\n", No),
    file("a separator that is indented", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\nv: a\n  --- b\n", No),
    file("the end of a document", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n...\n", No),
    file("something after the end of a document", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n...\nmore: 1\n", Refused("expected <document start>")),
    file("a directive", b"%YAML 1.1\n---\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n", No),
    file("a directive for tags", b"%TAG ! tag:x,1:\n---\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\nv: !y 1\n", No),
    file("a directive in the second document", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n---\n%YAML 1.1\n---\nkind: Case\n", No),
    file("an anchor of another document", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-1}\nv: &x 1\n---\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-2}\nv: *x\n", No),
    file("a document that is a word", b"word\n", No),
    file("a document that is a list", b"- apiVersion: example.com/v1\n  kind: Case\n  metadata: {name: NAME}\n", No),
    file("an object without a kind", b"apiVersion: v1\nmetadata: {name: NAME}\n", No),
    file("a list", b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: example.com/v1, kind: Case, metadata: {name: NAME-1}}\n- {apiVersion: example.com/v1, kind: Case, metadata: {name: NAME-2}}\n", No),
    file("an object with a name and items", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\nitems: [{apiVersion: example.com/v1, kind: Case, metadata: {name: NAME-1}}]\n", Otherwise),
    file("a list inside a list", b"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n", No),
    file("a list whose items say no kind", b"apiVersion: example.com/v1\nkind: CaseList\nitems:\n- metadata: {name: NAME-1}\n", No),
    file("a list with metadata of its own", b"apiVersion: v1\nkind: List\nmetadata: {name: x, resourceVersion: ''}\nitems:\n- {apiVersion: example.com/v1, kind: Case, metadata: {name: NAME-1}}\n", No),
    file("a list with no items", b"apiVersion: v1\nkind: List\nitems: []\n", No),
    file("a list whose items are nothing", b"apiVersion: v1\nkind: List\nitems:\n", No),
    file("a list whose items are a map", b"apiVersion: v1\nkind: List\nitems: {a: 1}\n", No),
    file("a list with an item that is a word", b"apiVersion: v1\nkind: List\nitems: [word]\n", No),
    json("an object of JSON", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"}, \"v\": [1, 1.0, 1e3, 1e20, 18446744073709551615, true, null, \"yes\", \"a\\/b\", \"\\ud83d\\ude00\"]}\n", No),
    json("JSON with tabs", b"{\n\t\"apiVersion\": \"example.com/v1\",\n\t\"kind\": \"Case\",\n\t\"metadata\": {\t\"name\": \"NAME\"}\n}\n", No),
    json("several objects of JSON", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME-1\"}}\n{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME-2\"}} {\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME-3\"}}", No),
    json("an array of JSON", b"[{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"}}]\n", No),
    json("JSON with a key that occurs twice", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"}, \"a\": 1, \"a\": 2}\n", Refused("`a` occurs twice")),
    json("JSON with half a pair of surrogates", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"}, \"a\": \"\\ud83d\"}\n", Refused("it is not JSON")),
    json("JSON with a line separator of Unicode", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"}, \"a\": \"\xe2\x80\xa8\"}\n", No),
    json("YAML in a file called JSON", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n", No),
    json("JSON with a comma too many", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"},}\n", Refused("it is not JSON")),
    file("JSON in a file called YAML, with separators", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME-1\"}}\n---\n{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME-2\"}}\n", No),
    file("JSON, then YAML", b"{\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME-1\"}}\n---\napiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME-2}\n", No),
    file("a flow map that is no JSON", b"{apiVersion: example.com/v1, kind: Case, metadata: {name: NAME}, v: yes}\n", No),
    file("JSON after a byte order mark and spaces", b"\xef\xbb\xbf \n {\"apiVersion\": \"example.com/v1\", \"kind\": \"Case\", \"metadata\": {\"name\": \"NAME\"}}", No),
    file("a mark in the middle of a file", b"apiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n\xef\xbb\xbfv: 1\n", Refused("did not find expected key")),
    file("two marks", b"\xef\xbb\xbf\xef\xbb\xbfapiVersion: example.com/v1\nkind: Case\nmetadata: {name: NAME}\n", No),
];
