//! Which health rules are in force: those of the platform's components, those of the agent's rule files, and what is built
//! in. Told when one of the former two changes; judges by what is in force now, from any thread.
//!
//! Doesn't judge again what was judged before: that is `Live::judge_again`, which whoever changes rules calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tk8s_config::{HealthRuleSpec, Problem, Problems};
use tk8s_core::{ComponentName, Digest, Health};
use tk8s_deploy::health::{Rule, RuleText, Rules};

use crate::error::Error;

/// More files than a ConfigMap can hold.
const MOST_FILES: usize = 200;
/// The largest rule file: that of a ConfigMap.
const LARGEST: u64 = 1024 * 1024;

/// The rules in force. Cheap to clone; the clones are one.
#[derive(Clone, Default)]
pub struct Judge(Arc<RwLock<InForce>>);

#[derive(Default)]
struct InForce {
    files: Vec<Rule>,
    components: BTreeMap<ComponentName, Vec<HealthRuleSpec>>,
    rules: Arc<Rules>,
}

impl Judge {
    /// How an object is, by the rules that are in force now.
    pub fn judge(&self, object: &Value) -> Health {
        let rules = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).rules);
        rules.judge(object)
    }

    /// Puts the rules of the agent's files in force.
    pub fn follow_files(&self, files: Vec<Rule>) {
        self.change(|in_force| in_force.files = files);
    }

    /// Puts the rules of components in force; whether that changes anything.
    pub fn follow_components<'a>(&self, components: impl Iterator<Item = (&'a ComponentName, &'a [HealthRuleSpec])>) -> bool {
        let components = components.filter(|(_, specs)| !specs.is_empty());
        let components: BTreeMap<_, _> = components.map(|(name, specs)| (name.clone(), specs.to_vec())).collect();
        let changes = self.0.read().unwrap_or_else(PoisonError::into_inner).components != components;
        if changes {
            self.change(|in_force| in_force.components = components);
        }
        changes
    }

    fn change(&self, change: impl FnOnce(&mut InForce)) {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut in_force);
        // Read before, when the platform was: one that could not be was refused with it.
        let read = |(name, specs): (&ComponentName, &Vec<HealthRuleSpec>)| {
            (name.clone(), read(specs, &format!("`health` of component `{name}`")).unwrap_or_default())
        };
        let components = in_force.components.iter().map(read).collect();
        in_force.rules = Arc::new(Rules::new(in_force.files.clone(), components));
    }
}

/// The rules of one place; or all that is wrong with them.
pub fn read(specs: &[HealthRuleSpec], source: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for spec in specs {
        match Rule::read(&text(spec), source) {
            Ok(rule) => rules.push(rule),
            Err(broken) => problems.extend(broken.into_iter().map(|broken| spec.problem(broken.key, broken.message))),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

fn text(spec: &HealthRuleSpec) -> RuleText {
    let expression = |key: &str| spec.expressions.iter().find(|it| it.key == key).map(|it| it.text.clone());
    RuleText::of(spec.kinds.clone(), spec.ignore_generation, expression)
}

/// All that is wrong with the rules of components.
pub fn problems<'a>(components: impl Iterator<Item = &'a [HealthRuleSpec]>) -> Vec<Problem> {
    components.filter_map(|specs| read(specs, "").err()).flatten().collect()
}

/// The rules of one file.
pub fn read_file(path: &Path) -> Result<Vec<Rule>, Error> {
    let name = path.display().to_string();
    let specs = HealthRuleSpec::parse(&bytes(path)?, &name).map_err(Error::HealthRules)?;
    read(&specs, &format!("`{name}`")).map_err(|problems| Error::HealthRules(Problems::of(&name, problems)))
}

/// The rules of all files of a directory, by name. None of them counts if one is refused: half of what somebody wrote may
/// mean the opposite.
pub fn read_dir(directory: &Path) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for file in files(directory)? {
        rules.extend(read_file(&file)?);
    }
    Ok(rules)
}

/// What the files of a directory hold now; none if it can't be read.
pub fn digest(directory: &Path) -> Option<Digest> {
    let mut all = Vec::new();
    for file in files(directory).ok()? {
        all.extend_from_slice(file.as_os_str().as_encoded_bytes());
        all.extend_from_slice(Digest::of(bytes(&file).ok()?).as_bytes());
    }
    Some(Digest::of(all))
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail = |source| Error::ReadFile { what: "directory of health rules", path: directory.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        // Kubernetes' own links (`..data`) are directories.
        let is_rules = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_rules && path.is_file() {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(fail(std::io::Error::other(format!("more than {MOST_FILES} files"))));
        }
    }
    files.sort();
    Ok(files)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let fail = |source| Error::ReadFile { what: "file of health rules", path: path.into(), source };
    let mut bytes = Vec::new();
    // One byte more than is allowed: the reader refuses it, and says so.
    std::fs::File::open(path).map_err(fail)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(reason: &str) -> String {
        format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: HealthRules\nrules:\n  - kinds: [Widget.example.com]\n    degraded: 'true'\n    reason: \"'{reason}'\"\n"
        )
    }

    fn reason(judge: &Judge) -> String {
        let labels = json!({"agent.tk8s.io/component": "shop"});
        judge.judge(&json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"labels": labels}})).reason
    }

    #[test]
    fn all_files_of_a_directory_count_by_name_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("b.yaml"), file("B")).unwrap();
        std::fs::write(path.join("README.md"), "no rules").unwrap();
        let judge = Judge::default();
        judge.follow_files(read_dir(path).unwrap());
        assert_eq!(reason(&judge), "B");
        let before = digest(path);
        std::fs::write(path.join("a.yml"), file("A")).unwrap();
        assert_ne!(digest(path), before);
        judge.follow_files(read_dir(path).unwrap());
        assert_eq!(reason(&judge), "A");
        std::fs::write(path.join("c.yaml"), file("C").replace("'true'", "stats.x")).unwrap();
        let Err(Error::HealthRules(problems)) = read_dir(path) else { panic!("a broken rule is refused") };
        let told = problems.to_string();
        assert!(told.contains("c.yaml:5: rules[0].degraded: nothing is called `stats`"), "{told}");
        assert!(matches!(read_dir(&path.join("gone")), Err(Error::ReadFile { .. })));
    }

    #[test]
    fn a_component_s_rules_come_and_go_with_the_platform() {
        let judge = Judge::default();
        judge.follow_files(vec![
            Rule::read(
                &RuleText {
                    kinds: vec!["*.*".into()],
                    degraded: Some("true".into()),
                    reason: Some("'File'".into()),
                    ..RuleText::default()
                },
                "x",
            )
            .unwrap(),
        ]);
        let specs = HealthRuleSpec::parse(file("Component").as_bytes(), "x").unwrap();
        let name: ComponentName = "shop".parse().unwrap();
        assert!(judge.follow_components([(&name, specs.as_slice())].into_iter()));
        assert!(!judge.follow_components([(&name, specs.as_slice())].into_iter()), "nothing changed");
        assert_eq!(reason(&judge), "Component");
        assert!(judge.follow_components([(&name, [].as_slice())].into_iter()));
        assert_eq!(reason(&judge), "File");
    }
}
