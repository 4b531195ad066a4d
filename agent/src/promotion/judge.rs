//! Whose word counts that something ran elsewhere, for what, and whether it is enough.
//!
//! Whatever comes from a repository or a directory is anybody's. It counts if a key that the agent's file names signed it, if it
//! speaks of that key's own instance and of the environment that is asked for, and if its times are possible. Then it counts for
//! exactly the trees that it names, for ever: that something ran does not become untrue.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use tk8s_config::EvidenceConfig;
use tk8s_core::{ComponentName, ComponentTree, Digest, Environment, Promoted, Timestamp, chain};
use tk8s_history::{IdentityKey, NotAKey, Unopened};

use super::statement::{NotOne, PAYLOAD, Ran, Statement};

/// So far may another clock be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The most files of the directory that are read.
const MOST_FILES: usize = 10_000;
/// The largest file that is read.
const LARGEST_FILE: usize = 256 * 1024;
/// The most statements in one file.
const MOST_LINES: usize = 100;
/// How many refusals are told.
const MOST_TOLD: usize = 20;

/// What is asked for before anything new begins.
#[derive(Clone, Debug)]
pub struct Demand {
    environment: Environment,
    healthy_for: SignedDuration,
    keys: Vec<IdentityKey>,
}

impl Demand {
    /// What the agent's file asks for.
    pub fn of(config: &EvidenceConfig) -> Result<Demand, NotAKey> {
        let keys = config.keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
        let healthy_for = SignedDuration::try_from(config.healthy_for).unwrap_or(SignedDuration::MAX);
        Ok(Demand { environment: config.environment, healthy_for, keys })
    }
}

/// Why a statement counts for nothing here.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("could not be read: {0}")]
    Unread(String),
    #[error(transparent)]
    Unopened(#[from] Unopened),
    #[error(transparent)]
    NotOne(#[from] NotOne),
    #[error("{key} signed that it ran in {cluster}, by the instance {instance}: that is not for this key to say")]
    NotItsOwn { key: String, cluster: String, instance: String },
    #[error("it ran in {said}, and {asked} is asked for")]
    Elsewhere { said: Environment, asked: Environment },
    #[error("it says what was seen at {0}, which is still to come: one of the clocks is wrong")]
    Future(Timestamp),
    #[error("it says that it was healthy from {since} until {until}, which is before")]
    Backwards { since: Timestamp, until: Timestamp },
}

/// A statement by somebody whose word counts. Made by [`read`] only.
#[derive(Debug)]
pub struct Word {
    ran: Ran,
    trees: Vec<ComponentTree>,
    /// Of the envelope.
    digest: Digest,
}

/// Reads an envelope, and judges all that can be judged without knowing what is to be released.
pub fn read(bytes: &[u8], demand: &Demand, now: Timestamp) -> Result<Word, Refused> {
    let (payload, key) = tk8s_history::open(bytes, PAYLOAD, &demand.keys)?;
    let statement = Statement::read(&payload)?;
    let trees = statement.trees().collect();
    let ran = statement.predicate;
    if (ran.cluster.as_str(), ran.instance.as_str()) != (key.cluster(), key.instance()) {
        let shown = |text: &str| tk8s_core::printable(text, 100);
        let key = format!("{}/{}", key.cluster(), key.instance());
        return Err(Refused::NotItsOwn { key, cluster: shown(&ran.cluster), instance: shown(&ran.instance) });
    }
    if ran.environment != demand.environment {
        return Err(Refused::Elsewhere { said: ran.environment, asked: demand.environment });
    }
    if ran.healthy_until > now.saturating_add(SKEW).unwrap_or(now) {
        return Err(Refused::Future(ran.healthy_until));
    }
    if ran.healthy_since > ran.healthy_until {
        return Err(Refused::Backwards { since: ran.healthy_since, until: ran.healthy_until });
    }
    Ok(Word { ran, trees, digest: Digest::of(bytes) })
}

/// Something that may be a statement, and where it lies.
pub struct Letter {
    pub place: String,
    pub bytes: Result<Vec<u8>, String>,
}

/// A file of statements, one a line, as in-toto bundles them.
pub fn split(place: &str, bytes: Result<Vec<u8>, String>) -> Vec<Letter> {
    let unread = |why: String| vec![Letter { place: place.to_owned(), bytes: Err(why) }];
    let bytes = match bytes {
        Ok(bytes) if bytes.len() > LARGEST_FILE => return unread(format!("it has more than {LARGEST_FILE} bytes")),
        Ok(bytes) => bytes,
        Err(why) => return unread(why),
    };
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    if !(1..=MOST_LINES).contains(&lines.len()) {
        return unread(format!("it has {} statements: from 1 to {MOST_LINES} are read", lines.len()));
    }
    let letter = |(number, line): (usize, &&[u8])| Letter { place: format!("{place}:{}", number + 1), bytes: Ok(line.to_vec()) };
    lines.iter().enumerate().map(letter).collect()
}

/// What is in the files of a directory whose names end in `.jsonl`; others are nobody's word.
pub fn letters(dir: &Path) -> Result<Vec<Letter>, std::io::Error> {
    use std::io::Read as _;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.push(path);
        }
        if paths.len() > MOST_FILES {
            return Err(std::io::Error::other(format!("it holds more than {MOST_FILES} files: delete old ones")));
        }
    }
    paths.sort();
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        // A pipe would be waited for.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is not a file"));
        }
        std::fs::File::open(path)?.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let of = |path: &std::path::PathBuf| split(&path.display().to_string(), read(path).map_err(|error| chain(&error)));
    Ok(paths.iter().flat_map(of).collect())
}

/// All that was heard, under one demand.
#[derive(Debug, Default)]
pub struct Heard {
    /// By the digest of its envelope: what was found good once is not looked at again.
    words: BTreeMap<Digest, Arc<Word>>,
    /// By what it is about.
    about: BTreeMap<ComponentName, Vec<Arc<Word>>>,
    /// What counts for nothing: where it lies, and why.
    pub refused: Vec<(String, String)>,
    /// How many count for nothing, also those that are not told.
    pub refusals: usize,
}

impl Heard {
    /// Takes in everything that is there now. `before`: what was heard under the same demand.
    pub fn of(letters: Vec<Letter>, demand: &Demand, before: Option<&Heard>, now: Timestamp) -> Heard {
        let mut heard = Heard::default();
        for Letter { place, bytes } in letters {
            let word = bytes.map_err(Refused::Unread).and_then(|bytes| {
                let known = before.and_then(|before| before.words.get(&Digest::of(&bytes))).cloned();
                known.map_or_else(|| read(&bytes, demand, now).map(Arc::new), Ok)
            });
            match word {
                Ok(word) => drop(heard.words.insert(word.digest, word)),
                Err(refused) => {
                    heard.refusals += 1;
                    if heard.refused.len() < MOST_TOLD {
                        heard.refused.push((tk8s_core::printable(&place, 300), chain(&refused)));
                    }
                }
            }
        }
        for word in heard.words.values() {
            heard.about.entry(word.ran.component.clone()).or_default().push(Arc::clone(word));
        }
        heard
    }

    /// How many count.
    pub fn count(&self) -> usize {
        self.words.len()
    }

    /// By whose word a component that is rendered from one of these trees may come in; else what is missing.
    pub fn about(&self, component: &ComponentName, trees: &[ComponentTree], demand: &Demand) -> Result<Promoted, String> {
        let Some(tree) = trees.first() else {
            return Err("it is not known from which tree it was rendered: release it anew, with a change".into());
        };
        let (asked, environment) = (demand.healthy_for, demand.environment);
        let about = self.about.get(component).map(Vec::as_slice).unwrap_or_default();
        let of_it = about.iter().filter(|word| word.trees.iter().any(|tree| trees.contains(tree)));
        let best = of_it.max_by_key(|word| (word.ran.span().length(), word.digest));
        match best {
            Some(word) if word.ran.span().length() >= asked => Ok(word.promoted()),
            Some(word) => {
                let Ran { cluster, instance, healthy_since, healthy_until, .. } = &word.ran;
                Err(format!(
                    "{component} was healthy for {} of {} in {environment}, as {cluster}/{instance} saw it from {healthy_since} until \
                     {healthy_until}; it begins by itself when that instance is heard again and it has been long enough \
                     (`tk8s-agent evidence` there)",
                    told(word.ran.span().length()),
                    told(asked),
                ))
            }
            None => {
                let others = match about.len() {
                    0 => "nothing that counts is said of it".to_owned(),
                    1 => "the one word about it is about another tree".to_owned(),
                    more => format!("the {more} words about it are about other trees"),
                };
                let refused = match self.refusals {
                    0 => String::new(),
                    more => format!(", and {more} statements count for nothing (`tk8s-agent status` says why)"),
                };
                Err(format!(
                    "nobody whose word counts saw the tree {} of {component} run in {environment} for {}: {others}{refused}; it begins \
                     by itself once somebody does (`tk8s-agent evidence` there)",
                    tree.tree.short(),
                    told(asked),
                ))
            }
        }
    }
}

impl Word {
    fn promoted(&self) -> Promoted {
        let Ran { environment, cluster, instance, release, healthy_since, healthy_until, .. } = self.ran.clone();
        let (since, until, statement) = (healthy_since, healthy_until, self.digest);
        Promoted { environment, cluster, instance, release, since, until, statement }
    }
}

/// A time as people write it: `23h 59m`, without fractions.
fn told(time: SignedDuration) -> String {
    let whole = SignedDuration::from_secs(time.as_secs().max(0));
    format!("{whole:#}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    // What signs is tested where it is made, and by the whole agent; here a history signs as an instance does.
    use crate::promotion::tests::{Instance, at, tree};

    fn demand(of: &[&Instance], seconds: i64) -> Demand {
        Demand {
            environment: Environment::Staging,
            healthy_for: SignedDuration::from_secs(seconds),
            keys: of.iter().map(|instance| instance.key()).collect(),
        }
    }

    fn heard(letters: &[&str], demand: &Demand) -> Heard {
        let letter = |text: &&str| Letter { place: "here".into(), bytes: Ok(text.as_bytes().to_vec()) };
        Heard::of(letters.iter().map(letter).collect(), demand, None, at(100_000))
    }

    fn web() -> ComponentName {
        "web".parse().unwrap()
    }

    /// Why the one statement counts for nothing.
    fn refused(instance: &Instance, change: impl FnOnce(&mut Value)) -> String {
        let mut statement = instance.statement(&[tree(1)], 0, 86_400);
        change(&mut statement);
        let signed = instance.sign(&statement);
        let found = heard(&[&signed], &demand(&[instance], 60));
        assert_eq!((found.count(), found.refusals), (0, 1), "{statement}");
        found.refused[0].1.clone()
    }

    #[test]
    fn a_tree_that_ran_long_enough_comes_in_by_the_word_of_whoever_saw_it() {
        let staging = Instance::new("staging-eu", 1);
        let signed = staging.sign(&staging.statement(&[tree(1), tree(2)], 0, 86_400));
        let demand = demand(&[&Instance::new("staging-us", 2), &staging], 86_400);
        let found = heard(&[&signed], &demand);
        let promoted = found.about(&web(), &[tree(2)], &demand).unwrap();
        assert_eq!((promoted.cluster.as_str(), promoted.since, promoted.until), ("staging-eu", at(0), at(86_400)));
        assert_eq!(promoted.statement, Digest::of(&signed));
        // The same objects come from another tree here.
        assert!(found.about(&web(), &[tree(7), tree(1)], &demand).is_ok());
        // Once heard, it is not looked at again, and what is gone is.
        let letter = Letter { place: "here".into(), bytes: Ok(signed.clone().into_bytes()) };
        let again = Heard::of(vec![letter], &demand, Some(&found), at(0));
        assert!(again.about(&web(), &[tree(1)], &demand).is_ok());
        assert!(Heard::of(Vec::new(), &demand, Some(&found), at(0)).about(&web(), &[tree(1)], &demand).is_err());
    }

    #[test]
    fn whoever_waits_is_told_what_is_missing() {
        let staging = Instance::new("staging-eu", 1);
        let asked = demand(&[&staging], 86_400);
        let missing =
            |letters: &[&str], trees: &[ComponentTree]| heard(letters, &asked).about(&web(), trees, &asked).unwrap_err();
        assert!(missing(&[], &[tree(1)]).contains("nothing that counts is said of it"));
        let other = staging.sign(&staging.statement(&[tree(2)], 0, 86_400));
        assert!(missing(&[&other], &[tree(1)]).contains("the one word about it is about another tree"));
        // Half of a pair is another tree.
        let half = ComponentTree { rest: Digest::of("other files"), ..tree(2) };
        assert!(missing(&[&other], &[half]).contains("another tree"));
        let short = staging.sign(&staging.statement(&[tree(1)], 0, 3_600));
        let longer = staging.sign(&staging.statement(&[tree(1)], 0, 7_200));
        let told = missing(&[&short, &longer], &[tree(1)]);
        assert!(told.contains("healthy for 2h of 24h in staging, as staging-eu/tk8s saw it"), "{told}");
        assert!(missing(&[], &[]).contains("not known from which tree"));
        // Times of several statements are not added up: nobody says what was between them.
        let later = staging.sign(&staging.statement(&[tree(1)], 10_000, 90_000));
        assert!(missing(&[&short, &later], &[tree(1)]).contains("healthy for 22h 13m 20s of 24h"));
    }

    #[test]
    fn a_word_that_is_not_the_key_s_own_counts_for_nothing() {
        let staging = Instance::new("staging-eu", 1);
        let stranger = Instance::new("staging-eu", 9);
        let signed = stranger.sign(&stranger.statement(&[tree(1)], 0, 86_400));
        let found = heard(&[&signed], &demand(&[&staging], 60));
        assert!(found.refused[0].1.contains("none of the keys that count signed it"), "{:?}", found.refused);
        assert!(
            found.about(&web(), &[tree(1)], &demand(&[&staging], 60)).unwrap_err().contains("1 statements count for nothing")
        );
        assert!(refused(&staging, |it| it["predicate"]["cluster"] = json!("staging-us")).contains("not for this key to say"));
        assert!(refused(&staging, |it| it["predicate"]["instance"] = json!("other")).contains("not for this key to say"));
    }

    #[test]
    fn what_ran_elsewhere_or_in_a_time_that_can_t_be_counts_for_nothing() {
        let staging = Instance::new("staging-eu", 1);
        for environment in ["dev", "production"] {
            let why = refused(&staging, |it| it["predicate"]["environment"] = json!(environment));
            assert!(why.contains(&format!("it ran in {environment}, and staging is asked for")), "{why}");
        }
        assert!(refused(&staging, |it| it["predicate"]["environment"] = json!("lab")).contains("not a statement"));
        let until = |seconds: i64| move |it: &mut Value| it["predicate"]["healthyUntil"] = json!(at(seconds));
        assert!(refused(&staging, until(100_000 + 301)).contains("still to come"));
        assert!(refused(&staging, until(-1)).contains("which is before"));
        let far = json!("-009999-01-02T01:59:59Z");
        assert!(refused(&staging, |it| it["predicate"]["healthyUntil"] = far).contains("which is before"));
        // Clocks differ a little.
        let mut statement = staging.statement(&[tree(1)], 0, 1);
        until(100_000 + 300)(&mut statement);
        assert_eq!(heard(&[&staging.sign(&statement)], &demand(&[&staging], 60)).count(), 1);
    }

    #[test]
    fn what_states_something_else_counts_for_nothing() {
        let staging = Instance::new("staging-eu", 1);
        assert!(refused(&staging, |it| it["_type"] = json!("https://in-toto.io/Statement/v0.1")).contains("something else"));
        assert!(refused(&staging, |it| it["predicateType"] = json!("https://slsa.dev/provenance/v1")).contains("something else"));
        assert!(refused(&staging, |it| it["subject"] = json!([])).contains("about 0 trees"));
        let many = |it: &mut Value| it["subject"] = Value::Array(vec![it["subject"][0].clone(); 33]);
        assert!(refused(&staging, many).contains("about 33 trees"));
        assert!(refused(&staging, |it| it["subject"][0]["name"] = json!("api")).contains("about `web` and about api"));
        assert!(refused(&staging, |it| it["subject"][0]["digest"] = json!({"sha256": "00"})).contains("not a statement"));
        assert!(refused(&staging, |it| it["predicate"] = json!({})).contains("not a statement"));
        // A field that stands there twice has two meanings.
        let text = staging.statement(&[tree(1)], 0, 86_400).to_string();
        let twice = text.replacen(r#""healthySince""#, r#""healthySince":"1999-01-01T00:00:00Z","healthySince""#, 1);
        let found = heard(&[&staging.sign_text(&twice)], &demand(&[&staging], 60));
        assert!(found.refused[0].1.contains("duplicate field"), "{:?}", found.refused);
        let other = staging.sign_as("text/plain", &text);
        assert!(heard(&[&other], &demand(&[&staging], 60)).refused[0].1.contains("it holds `text/plain`"));
        // What is not known is passed over.
        let mut more = staging.statement(&[tree(1)], 0, 86_400);
        more["predicate"]["mood"] = json!("good");
        assert_eq!(heard(&[&staging.sign(&more)], &demand(&[&staging], 60)).count(), 1);
    }

    #[test]
    fn a_directory_is_read_within_bounds_and_what_is_no_file_is_nobody_s_word() {
        let directory = tempfile::tempdir().unwrap();
        let staging = Instance::new("staging-eu", 1);
        let file = |name: &str| directory.path().join(name);
        let (good, other) = (staging.statement(&[tree(1)], 0, 86_400), staging.statement(&[tree(2)], 0, 86_400));
        std::fs::write(file("good.intoto.jsonl"), format!("{}\n\n{}\n", staging.sign(&good), staging.sign(&other))).unwrap();
        std::fs::write(file("large.jsonl"), vec![b'x'; LARGEST_FILE + 1]).unwrap();
        std::fs::write(file("many.jsonl"), "{}\n".repeat(MOST_LINES + 1)).unwrap();
        std::fs::write(file("none.jsonl"), "\n").unwrap();
        std::fs::write(file("readme.txt"), "not one").unwrap();
        std::fs::write(file(".half.jsonl"), "{").unwrap();
        std::fs::create_dir(file("directory.jsonl")).unwrap();
        let found = Heard::of(letters(directory.path()).unwrap(), &demand(&[&staging], 60), None, at(100_000));
        let why: Vec<_> = found.refused.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(found.count(), 2);
        let expected = ["it is not a file", "more than 262144 bytes", "it has 101 statements", "it has 0 statements"];
        assert!(why.len() == 4 && why.iter().zip(expected).all(|(why, word)| why.contains(word)), "{why:?}");
        assert!(super::letters(&file("missing")).is_err());
    }

    #[test]
    fn refusals_are_counted_and_few_are_told() {
        let staging = Instance::new("staging-eu", 1);
        let found = heard(&vec!["{}"; MOST_TOLD + 5], &demand(&[&staging], 60));
        assert_eq!((found.refusals, found.refused.len()), (MOST_TOLD + 5, MOST_TOLD));
    }
}
