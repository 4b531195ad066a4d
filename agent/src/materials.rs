//! What rendering is given by a person: age keys and variables, from the agent's file or the command line. Files are read at
//! each use, so that an exchanged one is in force at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tk8s_config::{AgentConfig, RenderConfig, VariableConfig};
use tk8s_core::OwnDeployment;
use tk8s_render::launcher::Limits;
use tk8s_render::{AgeKeys, Bounds, Options, Renderers, VariableSource, Variables};

/// Keys and variables, before their files are read.
#[derive(Default)]
pub struct Materials {
    pub age_key_files: Vec<PathBuf>,
    pub variables: BTreeMap<String, VariableSource>,
    /// The agent's own Deployment, which is tried before it is released.
    pub own: Option<OwnDeployment>,
}

impl Materials {
    /// What the agent's file names.
    pub fn of(config: &AgentConfig) -> Materials {
        let source = |variable: &VariableConfig| match variable {
            VariableConfig::Text(text) => VariableSource::Value(text.as_str().into()),
            VariableConfig::Integer(number) => VariableSource::Value((*number).into()),
            VariableConfig::Boolean(yes) => VariableSource::Value((*yes).into()),
            VariableConfig::File(path) => VariableSource::File(path.clone()),
        };
        Materials {
            age_key_files: config.sops.age_key_files.clone(),
            variables: config.variables.iter().map(|(name, variable)| (name.clone(), source(variable))).collect(),
            own: own(config),
        }
    }

    /// Renderers with these keys and variables, as their files are now. `key`: for the identities of secret variables.
    pub fn give(&self, renderers: Renderers, key: &[u8; 32]) -> Renderers {
        let renderers = match &self.own {
            Some(own) => renderers.with_own(own.clone()),
            None => renderers,
        };
        renderers.with_keys(AgeKeys::load(&self.age_key_files)).with_variables(Variables::load(&self.variables, key))
    }
}

/// What the agent's file says by which Deployment it runs. What is only found out in the cluster is not known to whoever
/// renders without one.
fn own(config: &AgentConfig) -> Option<OwnDeployment> {
    let installation = &config.installation;
    OwnDeployment::of(installation.service_account.as_ref(), installation.deployment.as_deref())
}

/// How programs are found and run, and what a component may bring, as the agent's file says.
pub fn options(config: &RenderConfig) -> Options {
    let (own, limits, bounds) = (&config.limits, Limits::default(), Bounds::default());
    let limits =
        Limits { memory: config.memory, time: config.timeout, output: own.output_bytes.unwrap_or(limits.output), ..limits };
    let bounds = Bounds {
        file: own.file_bytes.unwrap_or(bounds.file),
        files: own.component_bytes.unwrap_or(bounds.files),
        values: own.value_bytes.map_or(bounds.values, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        objects: own.objects.unwrap_or(bounds.objects),
    };
    Options { kustomize: config.kustomize.clone(), helm: config.helm.clone(), limits, bounds, ..Options::default() }
}

/// `NAME=VALUE` of the command line: a whole number and `true` or `false` have their type, anything else is a text; so is
/// what stands in double quotes.
pub fn variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    if !name.bytes().next().is_some_and(letter) || !name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit()) {
        return Err("a name has letters, digits and `_`, no digit first".into());
    }
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let number = value.parse::<i64>().ok().filter(|number| number.to_string() == value);
    let value = match (quoted, number, value) {
        (Some(text), _, _) => text.into(),
        (_, Some(number), _) => number.into(),
        (_, _, "true") => true.into(),
        (_, _, "false") => false.into(),
        (_, _, text) => text.into(),
    };
    Ok((name.into(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_variable_of_the_command_line_has_its_type() {
        for (text, value) in [
            ("A=3", json!(3)),
            ("A=\"3\"", json!("3")),
            ("A=true", json!(true)),
            ("A=03", json!("03")),
            ("A=x=y", json!("x=y")),
            ("A=", json!("")),
        ] {
            assert_eq!(variable(text), Ok(("A".into(), value)), "{text}");
        }
        assert!(variable("A").is_err() && variable("1=x").is_err() && variable("=x").is_err());
    }
}
