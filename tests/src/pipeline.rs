//! The real pipeline, step by step, so that a test can do something in between: a commit in a temporary repository, its
//! signature waived as `dev` allows, fetched, rendered, staged, planned, approved and begun. Sealed types come no other way.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tk8s_core::{ComponentName, Environment, InstanceName, ObjectKey, Secret, Timestamp, TreePath};
use tk8s_deploy::{Answer, Applied, ApplyFailed, ApplyOptions, ApprovedPlan, GateRules, PruneBudget, Settled, Trigger};
use tk8s_diff::cluster::Cluster;
use tk8s_diff::fence::Fence;
use tk8s_diff::live::Live;
use tk8s_diff::mask::Masker;
use tk8s_diff::memory::{Compared, Known, Memory, Owned, compare};
use tk8s_diff::ownership::FieldRules;
use tk8s_diff::{Hooks, Plan, Rules, Turn};
use tk8s_gitsync::{Accepted, DevPolicy, Follow, Policy, Source, Waiver};
use tk8s_history::{AppliedObject, Begun, Desired, History, Options, Staged, Watchdog};
use tk8s_render::{Component, Placement};
use tokio::time::Instant;

use crate::cluster::ControlPlane;
use crate::system::git;

/// A repository with one component, an instance's history and its eyes on the cluster.
pub struct Pipeline {
    directory: TempDir,
    /// The instance: also the name of the component and of its namespace.
    pub name: String,
    /// What it remembers.
    pub history: History,
    /// The cluster, as the agent asks it.
    pub cluster: Cluster,
    /// The cluster, as the watches tell it.
    pub live: Live,
    /// Whose fields are left to whom.
    pub rules: Mutex<FieldRules>,
    known: Mutex<HashMap<ObjectKey, Known>>,
}

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Pipeline {
    /// A new instance of this name, with an empty namespace of the same name.
    pub async fn new(plane: &ControlPlane, name: &str) -> Pipeline {
        plane.kubectl(&["create", "namespace", name]);
        plane.until("Active", &["get", "namespace", name, "-o", "jsonpath={.status.phase}"]);
        let directory = tempfile::tempdir().expect("because there is room");
        git(directory.path(), &["init", "-q", "-b", "main", "repository"]);
        let cluster = Cluster::new(plane.client().await, Vec::new());
        let live =
            Live::new(cluster.clone(), name.parse().expect("a valid name"), tk8s_deploy::health::judge, Masker::new(&[7; 32]));
        let history = History::open(
            Options {
                dir: directory.path().join("history"),
                instance: name.parse().expect("a valid name"),
                origin: format!("tk8s.io/test/{name}"),
                identity_key: identity(directory.path()),
                encryption_key: Secret::new(b"5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592".to_vec()),
                keep_releases: 50,
                watchdog: Watchdog::default(),
            },
            Timestamp::now(),
        )
        .expect("a new history");
        Pipeline { directory, name: name.into(), history, cluster, live, rules: Mutex::default(), known: Mutex::default() }
    }

    fn instance(&self) -> InstanceName {
        self.name.parse().expect("a valid name")
    }

    fn component(&self) -> ComponentName {
        self.name.parse().expect("a valid name")
    }

    /// Commits these objects, and nothing else, and takes them as far as they get without a cluster: steps 1 to 6.
    pub fn stage(&self, yaml: &str) -> Staged {
        let repository = self.directory.path().join("repository");
        std::fs::write(repository.join("all.yaml"), yaml).expect("because the directory is ours");
        git(&repository, &["add", "-A"]);
        git(&repository, &["commit", "-q", "--allow-empty", "-m", "a change"]);
        let url = format!("file://{}", repository.display()).parse().expect("a valid URL");
        let source = Source::new(url, self.directory.path().join("mirror"), Follow::Branch("main".into()));
        let policy = Policy::Dev(DevPolicy { signers: None, waive: Some(Waiver::new("a test").expect("a reason")) });
        let fetched = tk8s_gitsync::fetch(&source).expect("fetched");
        let verified = tk8s_gitsync::verify(&fetched, &policy, &Accepted::default()).expect("verified");
        let tree = tk8s_gitsync::tree(&Arc::new(verified.revision.expect("accepted"))).expect("a tree");
        let component = Component {
            name: self.component(),
            layer: Placement::Fixed("1-test".parse().expect("a valid layer")),
            path: TreePath::root(),
            kind: None,
            helm: None,
            include: Vec::new(),
            exclude: Vec::new(),
            namespace: Some(self.name.clone()),
            create_namespace: false,
            substitute: false,
        };
        let renderers = tk8s_render::Renderers::new(tk8s_render::Options::default());
        let rendered = tk8s_render::render(&Arc::new(tree), &component, &renderers).expect("rendered");
        let resolved = tk8s_images::resolve(rendered, tk8s_images::Policy::Unverified).expect("resolved");
        self.history.stage(resolved, Timestamp::now()).expect("staged")
    }

    /// The turns of a release of these objects, with those of all its hooks.
    pub fn turns(&self, yaml: &str) -> Vec<Turn> {
        tk8s_diff::turns(Desired::from(self.stage(yaml)), &self.instance(), &Hooks::all(PATIENCE)).expect("turns")
    }

    /// Steps 7 and 8: what the cluster says to a turn, and the plan that follows.
    pub async fn plan(&self, turn: Turn) -> Plan {
        self.try_plan(turn).await.expect("observed")
    }

    /// The same, where it may be refused.
    pub async fn try_plan(&self, turn: Turn) -> Result<Plan, tk8s_diff::Error> {
        let rules = Rules {
            prune: true,
            diffs: true,
            fields: self.rules.lock().expect("because nobody panics").clone(),
            ..Rules::default()
        };
        let observed = tk8s_diff::observe(&self.cluster, &self.live, turn, self, &rules, 4, soon()).await?;
        let plan = tk8s_diff::plan(observed);
        for (key, known) in plan.confirmed() {
            self.known().insert(key.clone(), known.clone());
        }
        Ok(plan)
    }

    /// Steps 9 and 10: approved and begun.
    pub fn begin(&self, plan: Plan) -> (ApprovedPlan, Begun) {
        // Whoever tests deleting says what is deleted.
        let budget = PruneBudget { objects: usize::MAX, percent: 100 };
        let rules = GateRules { budget, ..GateRules::of(Environment::Dev) };
        let approved = tk8s_deploy::gate(plan, &Trigger::Sync, &rules).expect("approved");
        let begun = self.history.begin(approved.intent(), Timestamp::now()).expect("begun");
        (approved, begun)
    }

    /// The only turn of a release of these objects, ready to be applied.
    pub async fn ready(&self, yaml: &str) -> (ApprovedPlan, Begun) {
        let mut turns = self.turns(yaml);
        assert_eq!(turns.len(), 1, "one turn");
        self.begin(self.plan(turns.remove(0)).await)
    }

    /// Step 11, one object at a time, with all that was heard put into the inventory.
    pub async fn apply(&self, (approved, begun): (ApprovedPlan, Begun)) -> Result<Applied, Box<ApplyFailed>> {
        let options = ApplyOptions { concurrency: 1, deadline: soon(), fence: Fence::open() };
        let heard = |answer: &Answer| {
            let known = |ownership| Known::of_answer(&answer.resource, &answer.object, ownership, answer.desired);
            if let Some(known) = answer.ownership.as_ref().and_then(known) {
                self.known().insert(answer.key.clone(), known);
            }
        };
        let result = tk8s_deploy::apply(&self.cluster, &self.live, approved, begun, &options, &heard).await;
        let (begun, answers) = match &result {
            Ok(applied) => (applied.begun(), applied.answers()),
            Err(failed) => (&failed.begun, failed.answers.as_slice()),
        };
        let object = |answer: &Answer| {
            let asked = answer.created || begun.intent().creates.contains(&answer.key);
            AppliedObject { key: answer.key.clone(), uid: answer.uid.clone(), created: asked.then_some(answer.created) }
        };
        let objects: Vec<_> = answers.iter().map(object).collect();
        self.history.applied(begun, &objects, Timestamp::now()).expect("written down");
        result
    }

    /// Steps 7 to 12 for every turn, which all have to settle; gives the last one.
    pub async fn settle(&self, yaml: &str) -> Settled {
        let mut last = None;
        for turn in self.turns(yaml) {
            let applied = self.apply(self.begin(self.plan(turn).await)).await.expect("applied");
            let settled = tk8s_deploy::settle(&self.live, applied, PATIENCE, std::future::pending()).await;
            assert!(settled.unhealthy().is_empty(), "{:?}", settled.unhealthy());
            last = Some(settled);
        }
        last.expect("a release has a turn")
    }

    /// What the watches say became of an object since it was applied. Waits until they say what is expected.
    pub async fn until_compared(&self, kind: &str, name: &str, expected: impl Fn(&Compared) -> bool) -> Compared {
        let known =
            self.known().iter().find(|(key, _)| key.kind == kind && key.name == name).map(|(k, v)| (k.clone(), v.clone()));
        let (key, known) = known.expect("an object that was applied");
        let rules = self.rules.lock().expect("because nobody panics").clone();
        let begun = Instant::now();
        loop {
            let seen = self.live.seen(&key);
            let compared = compare(&known, &key, &seen, &rules);
            if expected(&compared) {
                if let (Compared::Yielded, tk8s_diff::live::Seen::Present(seen)) = (&compared, &seen) {
                    let known = known.having_yielded(seen).expect("it is ours");
                    self.known().insert(key, known);
                }
                return compared;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is {compared:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Step 13.
    pub async fn prune(&self, settled: Settled) -> tk8s_deploy::Finished {
        self.prune_until(settled, std::future::pending()).await
    }

    /// The same, where somebody stops the waiting.
    pub async fn prune_until(&self, settled: Settled, cancel: impl Future<Output = ()>) -> tk8s_deploy::Finished {
        let finished = tk8s_deploy::prune(&self.cluster, &self.live, settled, soon(), &Fence::open(), cancel).await;
        let finished = finished.expect("pruned");
        self.history.pruned(finished.begun(), &finished.forgotten(), Timestamp::now()).expect("written down");
        finished
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Known>> {
        self.known.lock().expect("because nobody panics while holding it")
    }
}

impl Memory for Pipeline {
    fn known(&self, key: &ObjectKey) -> Option<Known> {
        Pipeline::known(self).get(key).cloned()
    }

    fn inventory(&self, component: &ComponentName) -> Vec<(ObjectKey, Owned)> {
        let entries = self.history.inventory(component).into_iter();
        entries.map(|entry| (entry.key, Owned { uid: entry.uid, created: entry.created })).collect()
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn identity(directory: &Path) -> Secret {
    let path = directory.join("identity.pem");
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&path).output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Secret::new(std::fs::read(path).expect("because openssl wrote it"))
}
