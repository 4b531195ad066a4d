//! Cases out of numbers: the same numbers give the same case.

use super::workshop::{AUTHORITIES, CERTIFICATES, PEOPLE, SECURITY, WEAK, Workshop};

/// SplitMix64 (Steele, Lea, Flood 2014): all that is needed is that every case has its own.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn of(seed: u64, case: u64) -> Numbers {
        Numbers(seed ^ case.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// One question.
#[derive(Debug)]
pub(super) struct Case {
    /// Who signed.
    pub(super) key: String,
    pub(super) certificate: Option<&'static str>,
    pub(super) allowed_signers: String,
    pub(super) identity: &'static str,
    pub(super) signature: Vec<u8>,
    /// A file of the workshop.
    pub(super) revoked: Option<usize>,
    /// `YYYYMMDDHHMMSS`, UTC.
    pub(super) time: &'static str,
    /// The message was changed after it was signed.
    pub(super) changed: bool,
}

const IDENTITIES: [&str; 5] = ["alice@example.com", "bob@example.com", "carol", "dave builder", "*"];

/// Those that stand in the files, their seconds, and those around them.
const TIMES: [&str; 9] = [
    "20190101000000",
    "20240531235959",
    "20240601000000",
    "20240601000001",
    "20250101000000",
    "20250101000001",
    "20250601000000",
    "20250615120000",
    "20310101000000",
];

const PRINCIPALS: [&str; 15] = [
    "alice@example.com",
    "*@example.com",
    "*",
    "alice@*,carol",
    "alice@example.com,carol,bob@example.com",
    "!bob@example.com,*@example.com",
    "*@example.com,!alice@example.com",
    "!alice@example.com",
    "?arol,alice@example.co?",
    "ALICE@example.com",
    "\"dave builder\"",
    "carol,\"dave builder\"",
    "\"alice@example.com\"",
    "alice@example.com,,carol",
    "bob@example.com",
];

const OPTIONS: [&str; 21] = [
    "namespaces=\"git\"",
    "namespaces=\"git\"",
    "namespaces=\"file,git\"",
    "namespaces=\"file\"",
    "namespaces=\"*,!git\"",
    "NameSpaces=\"g?t\"",
    "namespaces=\"!file,*\"",
    "namespaces=\"GIT\"",
    "namespaces=\"\"",
    "namespaces=\"a\\\"b,git\"",
    "valid-after=\"20240601\"",
    "valid-after=\"20240601000000Z\"",
    "valid-after=\"202501010000\"",
    "valid-before=\"20250101\"",
    "valid-before=\"20250101000000z\"",
    "VALID-BEFORE=\"202506010000Z\"",
    "valid-after=\"20240601Z\",valid-before=\"20250101Z\"",
    "valid-after=\"20250101Z\",namespaces=\"git\"",
    "namespaces=\"git\",valid-before=\"20250601Z\"",
    "valid-after=\"20240601UTC\"",
    "valid-before=\"99991231235959Z\"",
];

/// Words that OpenSSH skips the line for, and some that only we do.
const WRONG_OPTIONS: [&str; 20] = [
    "namespaces=git",
    "namespaces",
    "namespaces=\"git",
    "namespaces=\"git\"x",
    "namespaces=\"git\",",
    ",namespaces=\"git\"",
    "namespaces=\"git\",,valid-after=\"20240601\"",
    "namespaces=\"git\",namespaces=\"git\"",
    "cert-authority=\"yes\"",
    "cert-authority,cert-authority",
    "cert-authorities",
    "sparkle",
    "no-touch-required",
    "valid-after=\"2024\"",
    "valid-after=\"20241301\"",
    "valid-after=\"20240230Z\"",
    "valid-after=\"20240601 \"",
    "valid-after=\"19700101Z\"",
    "valid-after=\"20250101\",valid-before=\"20240101\"",
    "valid-before=20250101",
];

pub(super) fn case(numbers: &mut Numbers, workshop: &Workshop) -> Case {
    let kinds: &[&str] = if numbers.one_in(5) {
        &SECURITY
    } else if numbers.one_in(12) {
        &WEAK
    } else {
        &PEOPLE
    };
    let key = numbers.pick(kinds);
    let certificate = numbers.one_in(2).then(|| {
        // Mostly one that is good: a case in which everything is wrong asks nothing.
        let at = if numbers.one_in(2) { numbers.below(4) } else { numbers.below(CERTIFICATES.len()) };
        CERTIFICATES[at]
    });
    let (kind, authority) = (certificate.map(|(kind, ..)| kind), certificate.map(|(_, authority, _)| authority));
    let lines = 1 + numbers.below(4);
    let mut allowed_signers = String::new();
    for _ in 0..lines {
        allowed_signers.push_str(&line(numbers, workshop, key, authority, kind));
    }
    let how = match (SECURITY.contains(&key), numbers.one_in(2)) {
        (true, true) if numbers.one_in(3) => "untouched",
        (_, true) | (true, false) => "sha256",
        (false, false) => "sha512",
    };
    let namespace = if numbers.one_in(16) { "file" } else { "git" };
    let armoured = workshop.signature(key, kind, how, namespace);
    let signature = if numbers.one_in(8) { broken(numbers, &armoured) } else { armoured.into_bytes() };
    Case {
        key: key.to_owned(),
        certificate: kind,
        allowed_signers,
        identity: if numbers.one_in(4) { numbers.pick(&IDENTITIES) } else { "alice@example.com" },
        signature,
        revoked: numbers.one_in(3).then(|| numbers.below(workshop.krls.len())),
        time: if numbers.one_in(3) { numbers.pick(&TIMES) } else { "20240815000000" },
        changed: numbers.one_in(24),
    }
}

/// A line of `allowed_signers` with its end.
fn line(numbers: &mut Numbers, workshop: &Workshop, key: &str, authority: Option<&str>, kind: Option<&'static str>) -> String {
    if numbers.one_in(12) {
        return numbers
            .pick(&["\n", "# a comment\n", "  # another\n", " \t \n", "alice@example.com\n", "\"alice\n", "\r\n"])
            .to_owned();
    }
    // Whose line it is: mostly the one that is asked about.
    let (named, is_authority) = match authority {
        Some(authority) if !numbers.one_in(5) => (authority, true),
        _ if !numbers.one_in(4) => (key, false),
        _ if numbers.one_in(2) => (numbers.pick(&PEOPLE), false),
        _ => (numbers.pick(&AUTHORITIES), numbers.one_in(2)),
    };
    let mut options = Vec::new();
    if is_authority != numbers.one_in(12) {
        options.push(numbers.pick(&["cert-authority", "cert-authority", "Cert-Authority"]));
    }
    if numbers.one_in(3) {
        options.push(numbers.pick(&OPTIONS));
    }
    if numbers.one_in(16) {
        options.push(numbers.pick(&WRONG_OPTIONS));
    }
    if numbers.one_in(2) {
        options.reverse();
    }
    let public = match kind {
        Some(kind) if numbers.one_in(30) => workshop.certificate(key, kind),
        _ => workshop.public[named].clone(),
    };
    let public = match numbers.below(60) {
        0 => public.replacen("ssh-", "ssg-", 1),
        1 => public[..public.len() - 5].to_owned(),
        2 => public.replacen(' ', "\t ", 1),
        3 => public.split(' ').next().unwrap_or_default().to_owned(),
        _ => public,
    };
    let blank = |numbers: &mut Numbers| numbers.pick(&[" ", " ", " ", "\t", "  "]);
    let mut line = numbers.pick(&["", "", "", " ", "\t"]).to_owned();
    line.push_str(if numbers.one_in(2) { numbers.pick(&PRINCIPALS) } else { "*@example.com,carol" });
    if numbers.one_in(60) {
        line.push_str("\"x y\"z");
    }
    line.push_str(blank(numbers));
    if !options.is_empty() {
        line.push_str(&options.join(","));
        line.push_str(blank(numbers));
    }
    line.push_str(&public);
    line.push_str(numbers.pick(&["", "", " a comment", " \"a quotation", "\r", " "]));
    line + "\n"
}

/// What else may come in place of a signature.
fn broken(numbers: &mut Numbers, armoured: &str) -> Vec<u8> {
    let (body, end) = (armoured.find('\n').unwrap() + 1, armoured.rfind("\n-----END").unwrap());
    let within = body + numbers.below(end - body);
    let mut bytes = armoured.as_bytes().to_vec();
    match numbers.below(14) {
        0 => bytes.truncate(within),
        1 => bytes[within] = if bytes[within] == b'A' { b'B' } else { b'A' },
        2 => bytes.extend_from_slice(b"and more\n"),
        3 => bytes.insert(within, b'\n'),
        4 => bytes.insert(within, b' '),
        5 => bytes.insert(within, b'*'),
        6 => return armoured.replace('\n', "\r\n").into_bytes(),
        7 => return armoured.replace("SSH SIGNATURE", "SSH SIGNATURES").into_bytes(),
        8 => bytes.insert(0, b' '),
        9 => return armoured.replacen("-----END", "\n-----END", 1).into_bytes(),
        10 => return reserved(armoured, b"x"),
        11 => return armoured.replacen("\n-----END", "-----END", 1).into_bytes(),
        12 => return armoured.trim_end().as_bytes().to_vec(),
        _ => return reserved(armoured, b""),
    }
    bytes
}

/// The same signature with something in the field that is reserved; or, with nothing, with bytes after its end.
pub(super) fn reserved(armoured: &str, field: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let body: String = armoured.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut blob = engine.decode(body).unwrap();
    if field.is_empty() {
        blob.push(0);
    } else {
        // Magic and version, the key, the namespace: then the field.
        let length = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
        let namespace = 10 + 4 + length(10);
        let at = namespace + 4 + length(namespace);
        blob.splice(at..at + 4, [&(field.len() as u32).to_be_bytes(), field].concat());
    }
    let encoded = engine.encode(blob);
    let lines: Vec<_> = encoded.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n")).into_bytes()
}
