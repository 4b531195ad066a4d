//! The table of values in the documentation is made from the schema and the defaults.

use super::*;

const BEGIN: &str = "<!-- the values, from install/chart/values.schema.json -->\n";
const END: &str = "<!-- the end of the values -->";

/// A row for each key that is no group of others.
fn rows(schema: &Value, defaults: &Value, prefix: &str, rows: &mut String) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let keys: BTreeMap<_, _> = schema["properties"].as_object().unwrap().iter().collect();
    for (name, key) in keys {
        let (path, default) = (format!("{prefix}{name}"), &defaults[name]);
        let described = key["description"].as_str().unwrap_or_else(|| panic!("`{path}` has no description"));
        assert!(described.ends_with('.'), "{path}: {described}");
        if path != "config" && key["additionalProperties"] == false && key["properties"].is_object() {
            self::rows(key, default, &format!("{path}."), rows);
            continue;
        }
        let default = match default {
            _ if path == "config" => "see [values.yaml](../install/chart/values.yaml)".into(),
            Value::Null if required.contains(&name.as_str()) => "**needed**".into(),
            Value::Null => String::new(),
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            Value::Array(items) if items.is_empty() => "none".into(),
            Value::Object(items) if items.is_empty() => "none".into(),
            other => format!("`{}`", other.to_string().replace('"', "").replace(':', ": ").replace(',', ", ")),
        };
        rows.push_str(&format!("| `{path}` | {default} | {described} |\n"));
    }
}

#[test]
fn the_documentation_tells_every_value_and_its_default() {
    let read = |file: &str| std::fs::read_to_string(part(file)).unwrap();
    let schema: Value = serde_json::from_str(&read("install/chart/values.schema.json")).unwrap();
    let defaults: Value = serde_yaml::from_str(&read("install/chart/values.yaml")).unwrap();
    let mut table = String::from("\n| key | default | meaning |\n| --- | --- | --- |\n");
    rows(&schema, &defaults, "", &mut table);
    let documented = read("docs/installing.md");
    let (before, rest) = documented.split_once(BEGIN).expect("the beginning of the table is marked");
    let (_, after) = rest.split_once(END).expect("its end too");
    is_written_down(&part("docs/installing.md"), &format!("{before}{BEGIN}{table}\n{END}{after}"));
}
