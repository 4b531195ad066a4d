//! `${NAME}` in the texts of an object, replaced by variables of the agent's configuration. Strict: what is not exactly that
//! form, or names nothing, is an error; nothing is left as it was by accident. Off unless a component says `substitute: true`.
//!
//! Keys, `apiVersion`, `kind` and the annotation that switches it off are left alone, and so is what was decrypted: a password
//! may hold `${`.

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_core::{Origin, printable};

use crate::Error;
use crate::variables::{Variable, Variables, is_name};

/// Annotation of an object in which nothing is to be replaced, with the value `disabled`.
const ANNOTATION: &str = "tk8s.io/substitute";
/// Names that an error lists.
const LISTED: usize = 20;

/// Replaces with these variables.
pub(crate) struct Substitution<'a> {
    variables: &'a Variables,
}

impl<'a> Substitution<'a> {
    pub(crate) fn new(variables: &'a Variables) -> Substitution<'a> {
        Substitution { variables }
    }

    /// Replaces in every text of an object. What became secret by that is added to `secrets`.
    pub(crate) fn apply(&self, object: &mut Value, secrets: &mut Vec<String>, origin: &Origin) -> Result<(), Error> {
        let text = |pointer: &str| printable(object.pointer(pointer).and_then(Value::as_str).unwrap_or("?"), 100);
        let name = format!("{} {}", text("/kind"), text("/metadata/name"));
        let fail = |pointer: &str, problem: String| Error::Substitution {
            origin: origin.clone(),
            object: name.clone(),
            pointer: printable(pointer, 200),
            problem,
        };
        let switch = object.get("metadata").and_then(|metadata| metadata.get("annotations")?.get(ANNOTATION));
        match switch.map(|value| value.as_str().unwrap_or_default()) {
            Some("disabled") => return Ok(()),
            Some(_) => {
                let pointer = format!("/metadata/annotations/{}", ANNOTATION.replace('/', "~1"));
                return Err(fail(&pointer, "write `disabled`, in quotes, or remove it".into()));
            }
            None => {}
        }
        let decrypted: BTreeSet<String> = std::mem::take(secrets).into_iter().collect();
        self.descend(object, "", &decrypted, secrets).map_err(|(pointer, problem)| fail(&pointer, problem))?;
        if let Some(pointer) =
            secrets.iter().find(|pointer| ["/metadata/name", "/metadata/namespace"].contains(&pointer.as_str()))
        {
            return Err(fail(pointer, "a secret can't be a part of what an object is called by".into()));
        }
        secrets.extend(decrypted);
        Ok(())
    }

    fn descend(
        &self,
        value: &mut Value,
        pointer: &str,
        decrypted: &BTreeSet<String>,
        secrets: &mut Vec<String>,
    ) -> Result<(), (String, String)> {
        match value {
            Value::Object(fields) => fields
                .iter_mut()
                .filter(|(name, _)| !(pointer.is_empty() && ["apiVersion", "kind"].contains(&name.as_str())))
                .try_for_each(|(name, value)| {
                    let below = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                    self.descend(value, &below, decrypted, secrets)
                }),
            Value::Array(items) => items
                .iter_mut()
                .enumerate()
                .try_for_each(|(index, item)| self.descend(item, &format!("{pointer}/{index}"), decrypted, secrets)),
            Value::String(text) if text.contains("${") && !decrypted.contains(pointer) => {
                let (replaced, secret) = self.replace(text).map_err(|problem| (pointer.to_owned(), problem))?;
                *value = replaced;
                secrets.extend(secret.then(|| pointer.to_owned()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A text with its variables replaced, and whether a secret is in it.
    fn replace(&self, text: &str) -> Result<(Value, bool), String> {
        let (mut out, mut secret, mut left) = (String::with_capacity(text.len()), false, text);
        while let Some(at) = left.find("${") {
            let (before, after) = (&left[..at], &left[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                left = after;
                continue;
            }
            let end = after.find('}').ok_or("`${` is not closed by `}`: write `$${` for the text itself")?;
            let value = self.value(&after[..end])?;
            secret |= matches!(value, Variable::Secret(_));
            if end + 3 == text.len() {
                return Ok(match value {
                    Variable::Open(value) => (value.clone(), false),
                    Variable::Secret(text) => (text.clone().into(), true),
                    Variable::Missing(problem) => return Err(problem.clone()),
                });
            }
            out.push_str(before);
            match value {
                Variable::Open(Value::String(text)) | Variable::Secret(text) => out.push_str(text),
                Variable::Open(value) => out.push_str(&value.to_string()),
                Variable::Missing(problem) => return Err(problem.clone()),
            }
            left = &after[end + 1..];
        }
        out.push_str(left);
        Ok((out.into(), secret))
    }

    fn value(&self, name: &str) -> Result<&'a Variable, String> {
        if !is_name(name) {
            let why = "it is no `${NAME}`: shell forms (`${NAME:-default}`) are not known; write `$${` for the text itself";
            return Err(why.into());
        }
        self.variables.get(name).ok_or_else(|| {
            let known: Vec<String> = self.variables.names().take(LISTED).map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "there is none".into() } else { format!("there are {}", known.join(", ")) };
            format!("no variable is called `{name}`, {known}: add it to `variables` of the agent's file, or write `$${{{name}}}` for the text itself")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::VariableSource;

    fn variables() -> Variables {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&secret, "hunter2\n").unwrap();
        let open = |value: Value| VariableSource::Value(value);
        let sources = BTreeMap::from([
            ("NAME".to_owned(), open(json!("web"))),
            ("REPLICAS".to_owned(), open(json!(3))),
            ("ON".to_owned(), open(json!(true))),
            ("DOLLAR".to_owned(), open(json!("${NAME}"))),
            ("PASSWORD".to_owned(), VariableSource::File(secret.path().into())),
            ("GONE".to_owned(), VariableSource::File("/nowhere/x".into())),
        ]);
        Variables::load(&sources, &[1; 32])
    }

    #[test]
    fn a_variable_alone_has_its_type_and_is_text_inside_of_text() {
        let variables = variables();
        let substitution = Substitution::new(&variables);
        for (text, value, secret) in [
            ("${NAME}", json!("web"), false),
            ("${REPLICAS}", json!(3), false),
            ("${ON}", json!(true), false),
            ("a-${NAME}", json!("a-web"), false),
            ("${REPLICAS}0", json!("30"), false),
            ("a-${NAME}-${REPLICAS}${ON}", json!("a-web-3true"), false),
            ("$${NAME}", json!("${NAME}"), false),
            ("$$${NAME}", json!("$${NAME}"), false),
            ("${NAME}$${NAME} ${NAME}", json!("web${NAME} web"), false),
            // What a variable holds is not looked through again.
            ("${DOLLAR}x", json!("${NAME}x"), false),
            ("$NAME $(NAME) $", json!("$NAME $(NAME) $"), false),
            ("${PASSWORD}", json!("hunter2"), true),
            ("p=${PASSWORD}!", json!("p=hunter2!"), true),
        ] {
            assert_eq!(substitution.replace(text), Ok((value, secret)), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_an_error_that_says_what_to_write() {
        let variables = variables();
        let substitution = Substitution::new(&variables);
        for (text, word) in [
            ("${UNKNOWN}", "no variable is called `UNKNOWN`"),
            ("x${NAME", "not closed"),
            ("${NAME:-y}", "shell forms"),
            ("${}", "shell forms"),
            ("${ NAME }", "shell forms"),
            ("${NAME}${1}", "shell forms"),
            ("${GONE}", "/nowhere/x"),
        ] {
            let problem = substitution.replace(text).unwrap_err();
            assert!(problem.contains(word) && !problem.contains("hunter2"), "{text}: {problem}");
        }
    }

    #[test]
    fn keys_and_kind_and_decrypted_values_are_left_alone_and_an_object_can_opt_out() {
        let variables = variables();
        let substitution = Substitution::new(&variables);
        let object = json!({"apiVersion": "${NAME}", "kind": "${NAME}", "metadata": {"name": "${NAME}"},
            "data": {"${NAME}": "${NAME}", "decrypted": "${UNKNOWN}", "list": ["${PASSWORD}"]}});
        let (mut changed, mut secrets) = (object.clone(), vec!["/data/decrypted".to_owned()]);
        substitution.apply(&mut changed, &mut secrets, &Origin::default()).unwrap();
        assert_eq!(
            changed,
            json!({"apiVersion": "${NAME}", "kind": "${NAME}", "metadata": {"name": "web"},
                "data": {"${NAME}": "web", "decrypted": "${UNKNOWN}", "list": ["hunter2"]}})
        );
        assert_eq!(secrets, ["/data/list/0", "/data/decrypted"]);
        let mut out = object.clone();
        out["metadata"]["annotations"] = json!({ANNOTATION: "disabled"});
        let before = out.clone();
        substitution.apply(&mut out, &mut Vec::new(), &Origin::default()).unwrap();
        assert_eq!(out, before);
        out["metadata"]["annotations"] = json!({ANNOTATION: "false"});
        let error = substitution.apply(&mut out, &mut Vec::new(), &Origin { file: "a.yaml".into(), line: 3 }).unwrap_err();
        assert!(
            error.to_string().starts_with("a.yaml:3: ${NAME} ${NAME}: `/metadata/annotations/tk8s.io~1substitute`: "),
            "{error}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_substitution_panic(text in "(\\$|\\{|\\}|NAME|:-|[a-zü]){0,40}") {
            let variables = Variables::default();
            let _ = Substitution::new(&variables).replace(&text);
        }
    }
}
