//! Rules that say how healthy objects of a kind are: `health` of a component, and rule files. Only their shape is read here;
//! whoever judges by them reads the expressions, and knows the lines.

use std::path::PathBuf;

use crate::document::{self, Node, Value};
use crate::fields::Fields;
use crate::{Problem, Problems};

/// More rules than one file or component needs.
const MOST: usize = 500;

/// One rule, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthRuleSpec {
    /// Where it begins.
    pub line: usize,
    /// Its place, for example `rules[2]`.
    pub key: String,
    /// `Kind.group`.
    pub kinds: Vec<String>,
    /// The expressions that are given.
    pub expressions: Vec<HealthExpression>,
    /// Whether the observed generation says nothing.
    pub ignore_generation: bool,
}

/// One expression of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthExpression {
    /// `suspended`, `degraded`, `progressing`, `unknown`, `healthy`, `reason` or `message`.
    pub key: &'static str,
    /// Where it is.
    pub line: usize,
    /// In CEL.
    pub text: String,
}

/// `health` of the agent's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthConfig {
    /// A directory with rule files (`*.yaml`).
    pub rules_dir: Option<PathBuf>,
}

impl HealthRuleSpec {
    /// Reads a rule file; all problems at once.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Vec<HealthRuleSpec>, Problems> {
        let node = document::read(bytes, file)?;
        let mut problems = Vec::new();
        let mut top = Fields::of(&node, String::new(), &mut problems);
        crate::agent::expect(&mut top, "apiVersion", "agent.tk8s.io/v1alpha1");
        crate::agent::expect(&mut top, "kind", "HealthRules");
        let rules = read(&mut top, "rules");
        top.finish(&[]);
        if problems.is_empty() { Ok(rules) } else { Err(Problems::of(file, problems)) }
    }

    /// A problem of this rule, or of one of its expressions.
    pub fn problem(&self, key: &str, message: String) -> Problem {
        let expression = self.expressions.iter().find(|expression| expression.key == key);
        let line = expression.map_or(self.line, |expression| expression.line);
        Problem { line, key: format!("{}.{key}", self.key), message }
    }
}

/// The rules below a key.
pub(crate) fn read(fields: &mut Fields<'_>, key: &'static str) -> Vec<HealthRuleSpec> {
    let nodes = fields.list(key);
    let base = fields.join(key);
    if nodes.len() > MOST {
        fields.problem(key, format!("more than {MOST} rules"));
        return Vec::new();
    }
    nodes.iter().enumerate().map(|(index, node)| read_rule(node, format!("{base}[{index}]"), fields.problems)).collect()
}

fn read_rule(node: &Node, key: String, problems: &mut Vec<Problem>) -> HealthRuleSpec {
    const KEYS: [&str; 7] = ["suspended", "degraded", "progressing", "unknown", "healthy", "reason", "message"];
    let mut fields = Fields::of(node, key.clone(), problems);
    let kinds = fields.texts("kinds");
    if kinds.is_empty() {
        fields.problem("kinds", "say of which kinds, for example `kinds: [Certificate.cert-manager.io]`");
    }
    let mut expressions = Vec::new();
    for key in KEYS {
        let line = fields.node(key).map(|node| match node.value {
            // What is folded (`>-`) begins on the line after its key.
            Value::Scalar { .. } => node.line,
            _ => 0,
        });
        if let (Some(line), Some(text)) = (line, fields.text(key)) {
            expressions.push(HealthExpression { key, line, text });
        }
    }
    if expressions.iter().all(|expression| ["reason", "message"].contains(&expression.key)) {
        fields.problem("healthy", "say at least when it is `healthy`, `degraded`, `progressing`, `suspended` or `unknown`");
    }
    let ignore_generation = fields.boolean("ignoreGeneration").unwrap_or(false);
    fields.finish(&[
        ("kind", "write `kinds: [Kind.group]`"),
        ("group", "write `kinds: [Kind.group]`"),
        ("apiVersion", "write `kinds: [Kind.group]`"),
        ("current", "write `healthy`"),
        ("failed", "write `degraded`"),
        ("inProgress", "write `progressing`"),
    ]);
    HealthRuleSpec { line: node.line, key, kinds, expressions, ignore_generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_file_is_read_with_the_line_of_each_expression() {
        let text = "apiVersion: agent.tk8s.io/v1alpha1\nkind: HealthRules\nrules:\n  - kinds: [Website.example.com]\n    degraded: status.phase == 'Failed'\n    healthy: >-\n      status.phase ==\n      'Ready'\n    ignoreGeneration: true\n";
        let rules = HealthRuleSpec::parse(text.as_bytes(), "rules.yaml").unwrap();
        assert_eq!(rules.len(), 1);
        assert_eq!((rules[0].line, rules[0].key.as_str(), rules[0].ignore_generation), (4, "rules[0]", true));
        let found: Vec<_> = rules[0].expressions.iter().map(|it| (it.key, it.line, it.text.as_str())).collect();
        assert_eq!(found, [("degraded", 5, "status.phase == 'Failed'"), ("healthy", 6, "status.phase == 'Ready'")]);
        assert_eq!(rules[0].problem("degraded", "x".into()).line, 5);
        assert_eq!(rules[0].problem("kinds", "x".into()).line, 4);
    }

    #[test]
    fn what_is_wrong_with_a_rule_file_is_told_all_at_once() {
        let text = "apiVersion: v1\nkind: HealthRules\nrules:\n  - kind: Website\n    failed: 'true'\n  - kinds: [A.b]\n    message: \"'x'\"\n";
        let problems = HealthRuleSpec::parse(text.as_bytes(), "rules.yaml").unwrap_err().to_string();
        for expected in [
            "rules.yaml:1: apiVersion: write `apiVersion: agent.tk8s.io/v1alpha1`",
            "rules.yaml:4: rules[0].kind: unknown key: write `kinds: [Kind.group]`",
            "rules.yaml:5: rules[0].failed: unknown key: write `degraded`",
            "rules[0].kinds: say of which kinds",
            "rules[1].healthy: say at least when",
        ] {
            assert!(problems.contains(expected), "{expected}\n{problems}");
        }
    }
}
