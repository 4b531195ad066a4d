//! Who calls, and whether they may: asked of the cluster for each call, and refused whenever that is not known.
//!
//! A bearer token is shown to the API server (TokenReview), which has to say whose it is and that it was made for this agent;
//! then the API server is asked whether they may (SubjectAccessReview) do this to `components.agent.tk8s.io` in the agent's
//! namespace. So people are given rights here as everywhere in Kubernetes. Where there is no such identity, the token in
//! `api.tokenFile` may everything; its owner is nobody in particular.
//!
//! An answer is believed for some seconds ([`BELIEVED`]), a question that was not answered never. No token is kept, and no
//! header but `Authorization` is looked at.

mod caller;
mod remembered;
mod reviews;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use subtle::ConstantTimeEq as _;
use tk8s_core::{ComponentName, Digest};

pub(super) use self::caller::Caller;
use self::caller::User;
use self::remembered::{Budget, Remembered};
use self::reviews::{Question, Reviews};
use super::{Problem, Shared};

/// How long an answer is believed: so long somebody goes on who lost a right or whose account was deleted. Long enough that a
/// command of several calls is one review, and that whoever asks every second costs six in a minute.
const BELIEVED: Duration = Duration::from_secs(10);
/// How many answers about tokens are kept: a thousand callers in ten seconds are more than there are.
const TOKENS: usize = 1024;
/// How many answers about rights: each caller asks for a few.
const RIGHTS: usize = 4096;
/// How long a token that was good is told from those of strangers.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// The smallest token of a file that is accepted: shorter ones can be guessed.
const SHORTEST: usize = 16;
/// The largest token that is read. Those of service accounts have 1 KiB, those of people with many groups several.
const LARGEST: usize = 16 * 1024;

/// What may be asked for, in the words of a Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    Get,
    Sync,
    Rollback,
    Hold,
    Confirm,
}

impl Verb {
    pub(super) fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Sync => "sync",
            Verb::Rollback => "rollback",
            Verb::Hold => "hold",
            Verb::Confirm => "confirm",
        }
    }
}

/// Which part of a path says which component it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// `{name}`.
    Component,
    /// What `{deletions}` begins with.
    Plan,
    /// Nothing: it is about all of them. A layer is: a word about it is one about whoever comes into it, too.
    All,
}

impl About {
    fn of(path: &str) -> About {
        match path.trim_start_matches("/api/v1/").split('/').next() {
            Some("components") => About::Component,
            Some("plans") => About::Plan,
            _ => About::All,
        }
    }

    /// What can't be the name of a component is asked about as all of them: whoever may that is told that there is none.
    fn component(self, parameters: &RawPathParams) -> Option<ComponentName> {
        let (wanted, until) = match self {
            About::Component => ("name", None),
            About::Plan => ("deletions", Some('.')),
            About::All => return None,
        };
        let (_, value) = parameters.iter().find(|(name, _)| *name == wanted)?;
        until.map_or(value, |until| value.split(until).next().unwrap_or_default()).parse().ok()
    }
}

/// A route that asks who calls, and what its callers have to be allowed. There is no other way to one with a [`Caller`].
pub(super) struct Route {
    pub(super) verb: Verb,
    pub(super) path: String,
    handlers: MethodRouter<Shared>,
}

impl Route {
    /// What is read.
    pub(super) fn read<T: 'static>(path: &str, handler: impl Handler<T, Shared>) -> Route {
        Route { verb: Verb::Get, path: path.into(), handlers: get(handler) }
    }

    /// What is done.
    pub(super) fn act<T: 'static>(verb: Verb, path: &str, handler: impl Handler<T, Shared>) -> Route {
        Route { verb, path: path.into(), handlers: post(handler) }
    }
}

/// Every route behind its gate.
pub(super) fn guarded(routes: Vec<Route>, shared: &Shared) -> Router<Shared> {
    routes.into_iter().fold(Router::new(), |router, route| {
        let gate = Gate { shared: shared.clone(), verb: route.verb, about: About::of(&route.path) };
        router.route(&route.path, route.handlers.route_layer(from_fn_with_state(gate, pass)))
    })
}

#[derive(Clone)]
struct Gate {
    shared: Shared,
    verb: Verb,
    about: About,
}

async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let admitted = async {
        let access = &gate.shared.access;
        let config = gate.shared.engine.config();
        let parameters = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
        let component = parameters.and_then(|parameters| gate.about.component(&parameters));
        let caller = access.caller(&parts.headers, config.api.token_file.as_deref(), &config.api.audiences).await?;
        access.permit(&caller, gate.verb, component.as_ref()).await?;
        if gate.verb != Verb::Get {
            tracing::info!(by = caller.name(), path = parts.uri.path(), credential = caller.credential(), "somebody asks");
        }
        Ok::<_, Problem>(caller)
    };
    match admitted.await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// What is known of callers, and who is asked about them.
pub struct Access {
    reviews: Reviews,
    tokens: Mutex<Remembered<Result<User, String>>>,
    rights: Mutex<Remembered<bool>>,
    /// Tokens that were good in the last hour: a flood of others does not use up what is asked about these.
    good: Mutex<Remembered<()>>,
    strangers: Budget,
    acquainted: Budget,
    questions: Budget,
}

impl Access {
    /// `client`: the agent as itself. `namespace`: where its components are told of.
    pub fn new(client: kube::Client, namespace: String) -> Access {
        Access {
            reviews: Reviews::new(client, namespace),
            tokens: Mutex::new(Remembered::new(TOKENS, BELIEVED)),
            rights: Mutex::new(Remembered::new(RIGHTS, BELIEVED)),
            good: Mutex::new(Remembered::new(TOKENS, REMEMBERED)),
            // An API server answers thousands; this is what one agent may cost it, whoever calls.
            strangers: Budget::new(10.0, 30.0),
            acquainted: Budget::new(20.0, 100.0),
            questions: Budget::new(50.0, 200.0),
        }
    }

    async fn caller(&self, headers: &HeaderMap, file: Option<&std::path::Path>, audiences: &[String]) -> Result<Caller, Problem> {
        let token = token(headers)?;
        if let Some(file) = file
            && is_of_file(token, file).await
        {
            return Ok(Caller::Token);
        }
        if audiences.is_empty() {
            return Err(Problem::unauthenticated("show the agent's token: `Authorization: Bearer ...`"));
        }
        // What was said of a token was said of it for these audiences.
        let key = Digest::of([token, &audiences.join(" ")].join("\n"));
        let known = locked(&self.tokens).get(&key, Instant::now());
        let said = match known {
            Some(said) => said,
            None => {
                let acquainted = locked(&self.good).get(&key, Instant::now()).is_some();
                let budget = if acquainted { &self.acquainted } else { &self.strangers };
                if !budget.take(Instant::now()) {
                    return Err(Problem::too_many());
                }
                let said = self.reviews.whose(token, audiences).await?;
                let now = Instant::now();
                if said.is_ok() {
                    locked(&self.good).insert(key, (), now);
                }
                locked(&self.tokens).insert(key, said.clone(), now);
                said
            }
        };
        match said {
            Ok(user) => Ok(Caller::User { user, key }),
            Err(why) => {
                let (all, first) = (audiences.join("`, `"), &audiences[0]);
                Err(Problem::unauthenticated(&format!(
                    "{why}: show one of this cluster that was made for `{all}`, for example `kubectl create token ACCOUNT --audience \
                     {first}`"
                )))
            }
        }
    }

    async fn permit(&self, caller: &Caller, verb: Verb, component: Option<&ComponentName>) -> Result<(), Problem> {
        let Caller::User { user, key } = caller else { return Ok(()) };
        let question = Question { user, verb: verb.word(), component: component.map(ComponentName::as_str) };
        let key = Digest::of(format!("{}\n{}\n{}", key.hex(), question.verb, question.component.unwrap_or_default()));
        let known = locked(&self.rights).get(&key, Instant::now());
        let allowed = match known {
            Some(allowed) => allowed,
            None => {
                if !self.questions.take(Instant::now()) {
                    return Err(Problem::too_many());
                }
                let allowed = self.reviews.may(&question).await?;
                locked(&self.rights).insert(key, allowed, Instant::now());
                allowed
            }
        };
        if allowed { Ok(()) } else { Err(self.reviews.refusal(&question)) }
    }
}

/// A map is a map, whoever panicked while holding it.
fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The token of a request: of its one `Authorization`, in the letters that a token may have.
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let shown = || Problem::unauthenticated("show a token: `Authorization: Bearer ...`");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(shown()) };
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(shown)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(shown());
    }
    if token.len() > LARGEST {
        return Err(Problem::unauthenticated("the token is larger than 16 KiB"));
    }
    Ok(token)
}

/// Read for each call, so a rotated token is in force at once. A missing or short file is nobody's.
async fn is_of_file(token: &str, file: &std::path::Path) -> bool {
    let expected = tokio::fs::read(file).await.unwrap_or_default();
    let expected = expected.trim_ascii();
    expected.len() >= SHORTEST && bool::from(expected.ct_eq(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_taken_from_one_authorization_and_from_nothing_else() {
        for (values, token_of) in
            [(vec!["Bearer abc"], "abc"), (vec!["bearer  abc "], "abc"), (vec!["BEARER a.b-c_d~e+f/g="], "a.b-c_d~e+f/g=")]
        {
            assert_eq!(token(&headers(&values)).unwrap(), token_of, "{values:?}");
        }
        let huge = format!("Bearer {}", "a".repeat(LARGEST + 1));
        for values in [
            vec![],
            vec!["abc"],
            vec!["Bearer"],
            vec!["Bearer "],
            vec!["Basic YTpi"],
            vec!["Bearer a", "Bearer b"],
            vec![huge.as_str()],
        ] {
            assert!(token(&headers(&values)).is_err(), "{values:?}");
        }
        let mut other = HeaderMap::new();
        for name in ["x-remote-user", "impersonate-user", "x-forwarded-user", "proxy-authorization"] {
            other.insert(name, "Bearer admin".parse().unwrap());
        }
        assert!(token(&other).is_err());
    }

    #[test]
    fn what_a_path_is_about_is_a_component_a_plan_s_component_or_all() {
        for (path, about) in [
            ("/api/v1/components/{name}", About::Component),
            ("/api/v1/components/{name}/releases/{release}", About::Component),
            ("/api/v1/plans/{deletions}/confirm", About::Plan),
            ("/api/v1/layers/{name}/hold", About::All),
            ("/api/v1/hold", About::All),
            ("/api/v1/status", About::All),
            ("/ledger/{*path}", About::All),
        ] {
            assert_eq!(About::of(path), about, "{path}");
        }
    }

    /// An API server that knows the tokens that begin with `good`, and lets everybody do everything; and how often it was
    /// asked about tokens and about rights.
    fn mocked() -> (Access, Arc<[AtomicUsize; 2]>) {
        let asked = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let counts = Arc::clone(&asked);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let counts = Arc::clone(&counts);
            async move {
                let is_token = request.uri().path().ends_with("/tokenreviews");
                counts[usize::from(!is_token)].fetch_add(1, Ordering::SeqCst);
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let is_good = review["spec"]["token"].as_str().is_some_and(|token| token.starts_with("good"));
                review["status"] = match is_token {
                    true => {
                        serde_json::json!({"authenticated": is_good, "audiences": ["tk8s-agent"], "user": {"username": "alice"}})
                    }
                    false => serde_json::json!({"allowed": true}),
                };
                Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(review.to_string().into_bytes())))
            }
        });
        (Access::new(kube::Client::new(service, "default"), "tk8s-system".into()), asked)
    }

    async fn call(access: &Access, token: &str) -> Result<(), u16> {
        let headers = headers(&[&format!("Bearer {token}")]);
        let caller = access.caller(&headers, None, &["tk8s-agent".into()]).await.map_err(|problem| problem.status.as_u16())?;
        access.permit(&caller, Verb::Rollback, Some(&"web".parse().unwrap())).await.map_err(|problem| problem.status.as_u16())
    }

    #[tokio::test]
    async fn what_is_known_is_not_asked_and_one_token_s_answer_is_never_another_s() {
        let (access, asked) = mocked();
        for _ in 0..5 {
            assert_eq!(call(&access, "good-one").await, Ok(()));
            assert_eq!(call(&access, "bad-one").await, Err(401));
        }
        assert_eq!((asked[0].load(Ordering::SeqCst), asked[1].load(Ordering::SeqCst)), (2, 1));
        assert_eq!(call(&access, "good-two").await, Ok(()));
        assert_eq!((asked[0].load(Ordering::SeqCst), asked[1].load(Ordering::SeqCst)), (3, 2));
    }

    #[tokio::test]
    async fn a_flood_of_strangers_costs_the_api_server_little_and_leaves_room_for_those_who_are_known() {
        let (access, asked) = mocked();
        assert_eq!(call(&access, "good").await, Ok(()));
        let begun = Instant::now();
        let mut refused = 0;
        for number in 0..2000 {
            refused += usize::from(call(&access, &format!("bad-{number}")).await == Err(503));
        }
        let earned = (begun.elapsed().as_secs_f64() * 10.0) as usize;
        assert!(asked[0].load(Ordering::SeqCst) <= 31 + earned && refused >= 2000 - 30 - earned, "{refused}");
        // What was said of whoever is known is not believed any more, and is asked for all the same.
        *locked(&access.tokens) = Remembered::new(TOKENS, BELIEVED);
        assert_eq!(call(&access, "good").await, Ok(()));
    }
}
