//! A list of all objects of a kind that are ours, in one namespace or everywhere, page by page: all of it, or an error.

use http::Request;
use serde_json::Value;
use tokio::time::Instant;

use crate::Error;
use crate::cluster::{Cluster, Resource};

/// Objects of one page at first, and at least. A page of large objects is asked for again as a smaller one.
const PAGE: (usize, usize) = (500, 10);
/// How long a page may take, with all that is tried for it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// Hands on each object of a kind that the selector selects; then the version of the list. Whoever gets an error knows
/// nothing of what was not handed on: it may be there.
pub(crate) async fn pages(
    cluster: &Cluster,
    resource: &Resource,
    namespace: Option<&str>,
    selector: &str,
    mut each: impl FnMut(Value),
) -> Result<String, Error> {
    let (path, mut limit) = (resource.path(namespace), PAGE.0);
    let about = format!("the list of {}", resource.kind);
    let broken = |why: &str| Error::NoAnswer { about: about.clone(), why: why.into() };
    let mut next: Option<String> = None;
    loop {
        let request = |limit: usize| {
            let mut query = format!("{path}?labelSelector={}&limit={limit}", encoded(selector));
            if let Some(next) = &next {
                query.push_str(&format!("&continue={}", encoded(next)));
            }
            Request::get(query).body(Vec::new()).expect("because all that is not a valid name is encoded")
        };
        let reply = match cluster.exchange(request(limit)).await {
            Err(_) if limit > PAGE.1 => {
                limit = (limit / 4).max(PAGE.1);
                cluster.exchange_until(|| request(limit), Instant::now() + PATIENCE).await?
            }
            reply => reply?,
        };
        if !reply.status.is_success() {
            return Err(Error::refused(&about, false, reply.status.as_u16(), &reply.body));
        }
        let mut body = reply.body;
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(String::from);
        let version = text(&body["metadata"]["resourceVersion"]);
        next = text(&body["metadata"]["continue"]);
        match body["items"].take() {
            Value::Array(items) => {
                for mut item in items {
                    // The items of a list do not say of what kind they are, where the list does.
                    if let Value::Object(fields) = &mut item {
                        fields.entry("apiVersion").or_insert_with(|| resource.kind.api_version().into());
                        fields.entry("kind").or_insert_with(|| resource.kind.kind.clone().into());
                    }
                    each(item);
                }
            }
            // As Go writes a list of nothing.
            Value::Null if body.get("items").is_some() => {}
            _ => return Err(broken("it is no list")),
        }
        match (&next, version) {
            (Some(_), _) => tokio::task::yield_now().await,
            (None, Some(version)) => return Ok(version),
            (None, None) => return Err(broken("it does not say of which version it is")),
        }
    }
}

/// As the value of a parameter.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
