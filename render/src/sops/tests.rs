use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::sops::kustomize::{Role, veiled};

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops").join(path)
}

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(place(path)).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(&format!("encrypted/{name}"))).unwrap()
}

fn keys(file: &str) -> AgeKeys {
    AgeKeys::load([&place(file)])
}

fn opened(bytes: &[u8], name: &str) -> Result<Vec<Document>, String> {
    open_documents(bytes, name, &keys("age-key.txt")).and_then(|opened| documents(&opened)).map_err(|error| error.to_string())
}

fn values(bytes: &[u8], name: &str) -> Result<Vec<Value>, String> {
    Ok(opened(bytes, name)?.into_iter().map(|document| document.value).collect())
}

#[test]
fn every_option_decrypts_to_what_the_upstream_program_makes_of_it() {
    for name in [
        "types.yaml",
        "types-mac-only.yaml",
        "secret.yaml",
        "unencrypted-regex.yaml",
        "encrypted-suffix.yaml",
        "unencrypted-suffix.yaml",
        "encrypted-comment.yaml",
        "unencrypted-comment.yaml",
        "two-recipients.yaml",
        "several.yaml",
        "several-data.yaml",
        "list.yaml",
        "values.yaml",
        "object.json",
    ] {
        let upstream = yaml::read(&fixture(&format!("decrypted/{name}")), name).unwrap();
        let upstream: Vec<Value> = upstream.into_iter().map(|(value, _)| value).collect();
        assert_eq!(values(text(name).as_bytes(), name), Ok(upstream), "{name}");
    }
}

#[test]
fn whole_files_are_what_the_upstream_program_makes_of_them() {
    for (name, same) in [
        ("token.txt", true),
        ("bytes.bin", true),
        ("lines.txt", true),
        ("variables.env", false),
        ("types.yaml", false),
        ("several.yaml", false),
        ("object.json", false),
    ] {
        let mut placeholders = Placeholders::default();
        let seen =
            veiled(&fixture(&format!("encrypted/{name}")), name, Role::Whole, &keys("age-key.txt"), &mut placeholders).unwrap();
        use base64::Engine as _;
        let mut object = json!({"data": base64::engine::general_purpose::STANDARD.encode(&seen)});
        assert_eq!(placeholders.put_back(&mut object).unwrap(), ["/data"]);
        let got = base64::engine::general_purpose::STANDARD.decode(object["data"].as_str().unwrap()).unwrap();
        let upstream = fixture(&format!("decrypted/{name}"));
        if same {
            assert_eq!(got, upstream, "{name}");
            continue;
        }
        if name.ends_with(".env") {
            // Without comments.
            let lines = String::from_utf8(upstream)
                .unwrap()
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| format!("{line}\n"))
                .collect::<String>();
            assert_eq!(String::from_utf8(got).unwrap(), lines);
            continue;
        }
        let read = |bytes: &[u8]| yaml::read(bytes, name).unwrap().into_iter().map(|(value, _)| value).collect::<Vec<_>>();
        assert_eq!(read(&got), read(&upstream), "{name}");
    }
}

#[test]
fn what_was_decrypted_is_known_by_its_place() {
    let found = opened(text("list.yaml").as_bytes(), "list.yaml").unwrap();
    assert!(found[0].secrets.contains(&"/items/0/data/k".to_owned()));
    let found = opened(text("secret.yaml").as_bytes(), "secret.yaml").unwrap();
    assert_eq!(found[0].secrets, ["/stringData/username", "/stringData/password"]);
    let found = opened(text("encrypted-suffix.yaml").as_bytes(), "x").unwrap();
    assert_eq!(found[0].secrets, ["/data/a_secret", "/nested_secret/c"]);
}

/// Another base64 letter somewhere in the part of a value that begins with `name`.
fn flipped(text: &str, from: &str, name: &str) -> String {
    let start = text.find(from).unwrap();
    let at = start + text[start..].find(name).unwrap() + name.len();
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

fn value_at<'t>(text: &'t str, key: &str) -> &'t str {
    let start = text.find(key).unwrap() + key.len();
    text[start..].lines().next().unwrap().trim()
}

#[test]
fn one_changed_bit_anywhere_is_refused() {
    let good = text("secret.yaml");
    let (user, password) = (value_at(&good, "username:"), value_at(&good, "password:"));
    // Another letter in a line of the envelope, counted from its end.
    let envelope = |line: usize| {
        let end = good.find("-----END").unwrap();
        let line = good[..end].trim_end().lines().rev().nth(line).unwrap().to_owned();
        let other = if &line[30..=30] == "A" { "B" } else { "A" };
        good.replace(&line, &format!("{}{other}{}", &line[..30], &line[31..]))
    };
    let many = (0..60_000).map(|index| format!("    k{index}: x\n")).collect::<String>();
    for (what, bad, word) in [
        ("value", flipped(&good, "password:", "data:"), "was changed or moved"),
        ("iv", flipped(&good, "password:", "iv:"), "was changed or moved"),
        ("tag", flipped(&good, "password:", "tag:"), "was changed or moved"),
        ("mac", flipped(&good, "    mac:", "data:"), "MAC is damaged"),
        ("mac's time", good.replace("lastmodified: \"2", "lastmodified: \"3"), "MAC is damaged"),
        ("data key, for whom", envelope(3), "data key is damaged"),
        ("data key", envelope(0), "data key is damaged"),
        ("data key, header", good.replace("YWdlLWVuY3J5cHRpb24ub3Jn", "YWdlLWVuY3J5cHRpb24ub3Jm"), "data key is damaged"),
        ("swapped", good.replace(user, "@").replace(password, user).replace("@", password), "was changed or moved"),
        ("renamed", good.replace("password:", "passwort:"), "was changed or moved"),
        ("clear text", good.replace(password, "hunter3"), "has to be encrypted is not"),
        (
            "removed",
            good.lines().filter(|line| !line.contains("password:")).map(|line| format!("{line}\n")).collect(),
            "MAC does not fit",
        ),
        ("clear value", good.replace("name: database", "name: other"), "MAC does not fit"),
        ("type of a text", good.replacen("type:str]", "type:int]", 1), "not what its type says"),
        ("type comment", good.replacen("type:str]", "type:comment]", 1), "a comment stands where"),
        ("type unknown", good.replacen("type:str]", "type:odd]", 1), "type that is not known"),
        ("rule", good.replace("^(data|stringData)$", "^stringData|name$"), "has to be encrypted is not"),
        ("pattern", good.replace("^(data|stringData)$", "(((("), "no pattern"),
        ("large pattern", good.replace("^(data|stringData)$", "(a{1000}){1000}"), "no pattern"),
        (
            "no mac",
            good.lines().filter(|line| !line.trim().starts_with("mac:")).map(|line| format!("{line}\n")).collect(),
            "no MAC",
        ),
        ("truncated armor", good.replace("-----END AGE ENCRYPTED FILE-----", ""), "data key is damaged"),
        ("no armor", good.replace("-----BEGIN AGE ENCRYPTED FILE-----", ""), "data key is damaged"),
        (
            "large",
            good.replace(password, &format!("ENC[AES256_GCM,data:{},iv:AA==,tag:AA==,type:str]", "A".repeat(3 << 20))),
            "damaged",
        ),
        ("too large", format!("{good}# {}\n", "x".repeat(4 << 20)), "at most 4194304 bytes"),
        ("many", good.replace("data:\n", &format!("data:\n{}", many)), "more than 100000 values"),
        ("anchor", good.replace("name: database", "name: &x database"), "anchors"),
        ("twice", good.replace("    username:", "    password: x\n    username:"), "twice"),
    ] {
        let refused = values(bad.as_bytes(), "a.yaml").unwrap_err();
        assert!(refused.contains(word) && refused.starts_with("a.yaml:") && !refused.contains("hunter"), "{what}: {refused}");
    }
    // In a list a comment is no value: then the MAC says it.
    let list = text("types.yaml").replacen("type:str]\n        - ENC", "type:comment]\n        - ENC", 1);
    assert_ne!(list, text("types.yaml"));
    assert!(values(list.as_bytes(), "a").unwrap_err().contains("MAC does not fit"));
}

#[test]
fn a_file_whose_mac_is_over_encrypted_values_is_no_file_whose_mac_is_over_all() {
    let only = text("types-mac-only.yaml");
    assert!(values(only.replace("name: types", "name: other").as_bytes(), "a").is_ok(), "what is not encrypted is not covered");
    let all =
        only.lines().filter(|line| !line.contains("mac_only_encrypted")).map(|line| format!("{line}\n")).collect::<String>();
    assert!(values(all.as_bytes(), "a").unwrap_err().contains("MAC does not fit"));
}

#[test]
fn a_file_without_a_key_names_its_recipients_and_what_to_do() {
    let refuse = |name: &str, key: &AgeKeys| open_documents(text(name).as_bytes(), "a.yaml", key).err().unwrap();
    let recipient = |file: &str| {
        let text = String::from_utf8(fixture(file)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
    };
    let error = refuse("other-recipient.yaml", &keys("age-key.txt"));
    assert!(matches!(error, Error::NoKey { .. }));
    let told = error.to_string();
    assert!(
        told.starts_with("a.yaml:") && told.contains(&recipient("other-age-key.txt")) && told.contains("sops.ageKeyFiles"),
        "{told}"
    );
    assert!(told.contains("the only age key is another"), "{told}");
    let told = refuse("two-recipients.yaml", &AgeKeys::default()).to_string();
    assert!(told.contains("there is no age key") && told.contains(&recipient("age-key.txt")), "{told}");
    let told = refuse("secret.yaml", &AgeKeys::load([&PathBuf::from("/nowhere/key.txt")])).to_string();
    assert!(told.contains("`/nowhere/key.txt` could not be read"), "{told}");
    assert!(open_documents(text("two-recipients.yaml").as_bytes(), "a", &keys("other-age-key.txt")).is_ok());
    for (name, word) in [("pgp.yaml", "encrypted for PGP"), ("groups.yaml", "several groups")] {
        let error = refuse(name, &keys("age-key.txt"));
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_file_is_encrypted_as_a_whole() {
    let several = text("several.yaml");
    let (first, second) = several.split_once("\n---\n").unwrap();
    let swapped = format!("{second}\n---\n{first}\n");
    assert!(values(swapped.as_bytes(), "a").unwrap_err().contains("MAC does not fit"));
    assert!(values(first.as_bytes(), "a").unwrap_err().contains("MAC does not fit"));
    let joined = format!("{}---\n{}", text("secret.yaml"), text("list.yaml"));
    assert!(values(joined.as_bytes(), "a").unwrap_err().contains("encrypted one by one"));
    let behind = format!("a: 1\n---\n{}", text("secret.yaml"));
    assert!(values(behind.as_bytes(), "a").unwrap_err().contains("first document has no metadata"));
}

#[test]
fn a_key_file_that_is_none_is_named_with_its_line_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.txt");
    for (text, word) in [
        ("# only a comment\n", "holds no age key"),
        ("\n\nAGE-SECRET-KEY-1NONSENSE\n", ":3: it is no X25519 key"),
        ("AGE-SECRET-KEY-PQ-1QQ\n", ":1: it is no X25519 key"),
    ] {
        std::fs::write(&file, text).unwrap();
        let told = AgeKeys::load([&file]).what_there_is();
        assert!(told.contains(word) && told.contains("key.txt") && !told.contains("NONSENSE"), "{told}");
    }
    let both = AgeKeys::load([&place("age-key.txt"), &place("other-age-key.txt")]);
    assert_eq!(format!("{both:?}"), "AgeKeys(2)");
    assert!(!both.identity().contains("SECRET"));
}

proptest::proptest! {
    #[test]
    fn no_changed_file_makes_the_reader_panic(at in 0usize..3000, byte: u8, name in r"(types\.yaml|object\.json|variables\.env|secret\.yaml)") {
        let mut bytes = fixture(&format!("encrypted/{name}"));
        let at = at % bytes.len();
        bytes[at] = byte;
        let keys = AgeKeys::default();
        let _ = open_documents(&bytes, "a", &keys);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = open_variables(text, "a", &keys);
        }
    }
}

#[test]
fn a_file_of_keys_that_is_too_large_is_none() {
    let good = String::from_utf8(fixture("age-key.txt")).unwrap();
    let padded = |bytes: usize| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{good}#{}", "x".repeat(bytes - good.len() - 1))).unwrap();
        open_documents(text("types.yaml").as_bytes(), "a.yaml", &AgeKeys::load([&file.path().to_path_buf()]))
    };
    assert!(padded(64 * 1024).is_ok());
    let refused = padded(64 * 1024 + 1).err().unwrap().to_string();
    assert!(refused.contains("is larger than 65536 bytes, so it is no file of age keys"), "{refused}");
}

#[test]
fn a_file_of_variables_names_as_many_keys_as_it_may() {
    let refused = |index: usize| {
        let text = format!("A=x\nsops_age__list_{index}__map_enc=x\n");
        open_variables(&text, "a.env", &keys("age-key.txt")).err().unwrap().to_string()
    };
    assert!(refused(1000).contains("names too many keys"), "{}", refused(1000));
    assert!(!refused(999).contains("names too many keys"), "{}", refused(999));
}
