//! The process: `tk8s-agent run`. Everything is made here, once, in the order in which it is needed, and ended in the
//! reverse order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tk8s_config::AgentConfig;
use tk8s_core::{Secret, Timestamp, chain};
use tk8s_diff::cluster::Cluster;
use tk8s_diff::fence::UNDER_WAY;
use tk8s_diff::live::Live;
use tk8s_diff::mask::Masker;
use tk8s_history::{History, Options, Watchdog};
use tk8s_render::Renderers;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::disk::disk;
use crate::endpoint::certificate::Certificates;
use crate::endpoint::published;
use crate::engine::{Engine, Rendering};
use crate::memory::Remembered;
use crate::metrics::Metrics;
use crate::report::Writer;
use crate::{api, endpoint, lease};

/// How long the process waits for runs to write down what they did after it was told to stop: what a write may take, and a
/// little. With giving the lease up that stays below the 30 s that Kubernetes gives a Pod.
const GRACE: std::time::Duration = UNDER_WAY.saturating_add(std::time::Duration::from_secs(4));

/// Runs the agent until a signal ends it.
pub async fn run(file: &Path, config: AgentConfig, kubeconfig: Option<PathBuf>) -> Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(end_on_signal(stop.clone()));
    let history = Arc::new(open_history(&config)?);
    let memory = Arc::new(Remembered::load(Arc::clone(&history)));
    let client = connect(kubeconfig.as_deref()).await?;
    let cluster = Cluster::new(client.clone(), memory.resources());
    let masker = Masker::new(&derived_key(&config, b"tk8s mask key\n")?);
    let judge = crate::rules::Judge::default();
    let judging = judge.clone();
    let scope = crate::engine::confining::scope(&config.watch);
    let live = Live::of(scope, cluster.clone(), config.instance.clone(), move |object| judging.judge(object), masker);
    let holder = holder(&config.history.dir);
    let namespace = namespace(&config);
    let certificates =
        Certificates::new(&config.api.tls, &namespace, config.instance.as_str()).context("the API has no certificate")?;
    let (keeper, tenure) = lease::Keeper::new(client.clone(), &namespace, &config.instance, holder.clone());
    let lease_stop = CancellationToken::new();
    let mut keeping = tokio::spawn(keeper.keep(lease_stop.clone().cancelled_owned()));
    let rendering = Rendering::new(renderers(&config)?, derived_key(&config, b"tk8s variables key\n")?);
    let leading = tenure.clone();
    let engine = Engine::new(config, history, memory, cluster, live, judge, tenure, Metrics::default(), rendering, stop.clone());
    let config = engine.config();
    let listeners = Listeners::bind(&config).await?;
    tokio::spawn(crate::reload::follow(file.into(), Arc::clone(&engine)));
    let _watching = crate::triggers::watch_file_repository(&engine)?;
    if let Some(certificates) = &certificates {
        tokio::spawn(Arc::clone(certificates).follow(stop.clone()));
        let (instance, told) = (config.instance.clone(), certificates.told());
        tokio::spawn(published::keep(client.clone(), namespace.clone(), instance, told, leading, stop.clone()));
    }
    let access = api::Access::new(client.clone(), namespace.clone());
    let serving = listeners.serve(&engine, access, certificates, &stop);
    tracing::info!(instance = %config.instance, environment = %config.environment, repository = %config.repository.url, "tk8s-agent runs");
    let running = tokio::spawn(Arc::clone(&engine).run());
    let report_stop = CancellationToken::new();
    let reporting = tokio::spawn(Writer::new(Arc::clone(&engine), client, namespace, holder).run(report_stop.clone()));
    let taken = tokio::select! {
        () = stop.cancelled() => false,
        _ = &mut keeping => true,
    };
    stop.cancel();
    tracing::info!("stopping: what is being written is finished first");
    let ended = tokio::time::timeout(GRACE, running).await.is_ok();
    serving.abort();
    if !taken && ended {
        report_stop.cancel();
        reporting.await.ok();
        lease_stop.cancel();
        keeping.await.ok();
    }
    if let Err(error) = disk(|| engine.history.flush()) {
        tracing::warn!(error = %chain(&error), "the files of the ledger stay behind; the next start reads its journal");
    }
    if taken {
        anyhow::bail!("another process took the lease of this instance: what is known here may be older than what it did");
    }
    if !ended {
        // It may still be writing: nobody gets the lease before that is over.
        anyhow::bail!("a run did not end in time: the next start finishes it");
    }
    Ok(())
}

/// The name under which this process holds the lease. It names the lock on the history, by its file and by the boot of the
/// machine: of two processes with the same name one is not alive any more, so the second may go on at once where the first
/// was killed. With another volume, or a copy of this one, it is another name.
fn holder(history: &Path) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let place = match (boot, rustix::fs::stat(history.join("lock"))) {
        (Ok(boot), Ok(lock)) => format!("{} {} {}", boot.trim(), lock.st_dev, lock.st_ino),
        _ => format!("{:x}", rand::random::<u128>()),
    };
    format!("{}-{}", hostname(), &tk8s_core::Digest::of(place).hex()[..16])
}

/// The first signal ends the process in good order, the second at once.
async fn end_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return;
    };
    for round in 0..2 {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if round == 0 { stop.cancel() } else { std::process::exit(130) }
    }
}

/// What the ledger of an instance is called.
pub fn origin(config: &AgentConfig) -> String {
    format!("tk8s.io/{}/{}", config.cluster, config.instance)
}

fn open_history(config: &AgentConfig) -> Result<History> {
    let secret = |path: &Path| -> Result<Secret> {
        Ok(Secret::new(std::fs::read(path).with_context(|| format!("could not read the key file `{}`", path.display()))?))
    };
    let options = Options {
        dir: config.history.dir.clone(),
        instance: config.instance.clone(),
        origin: origin(config),
        identity_key: secret(&config.history.identity_key_file)?,
        encryption_key: secret(&config.history.encryption_key_file)?,
        keep_releases: config.history.releases,
        watchdog: Watchdog::default(),
    };
    History::open(options, Timestamp::now()).context("could not open the history")
}

/// The programs that render. What a killed process left of their private files is removed: the history's lock says that
/// nobody else is this instance.
fn renderers(config: &AgentConfig) -> Result<Renderers> {
    let render = &config.render;
    let above = render.scratch_dir.as_ref().unwrap_or(&config.history.dir);
    let scratch = above.join(format!("render-{}", config.instance));
    match std::fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("could not empty `{}`", scratch.display()));
        }
        _ => {}
    }
    Ok(Renderers::new(tk8s_render::Options { scratch, ..crate::materials::options(render) }))
}

/// A key for one purpose, from the key of the history: the same at each start. Masks and identities of secrets are keyed, so
/// that none can be guessed and equal values look equal across restarts.
fn derived_key(config: &AgentConfig, purpose: &[u8]) -> Result<[u8; 32]> {
    let path = &config.history.encryption_key_file;
    let key = std::fs::read(path).with_context(|| format!("could not read the key file `{}`", path.display()))?;
    Ok(*tk8s_core::Digest::of([purpose, &key].concat()).as_bytes())
}

/// A client from the file that was named, `KUBECONFIG`, or the pod's own account.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<kube::Client> {
    crate::client::client(settings(kubeconfig, None).await?).context("could not make a client for the cluster")
}

/// How to reach the cluster, and as whom: by the context that is named, or the current one.
pub async fn settings(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<kube::Config> {
    let options = KubeConfigOptions { context: context.map(String::from), ..KubeConfigOptions::default() };
    match (kubeconfig, context) {
        (Some(path), _) => {
            let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("could not read `{}`", path.display()))?;
            let settings = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
            settings.with_context(|| format!("`{}` is not usable", path.display()))
        }
        (None, Some(_)) => kube::Config::from_kubeconfig(&options).await.context("the kubeconfig is not usable"),
        (None, None) => kube::Config::infer().await.context("no cluster: give `--kubeconfig`, set KUBECONFIG, or run in a pod"),
    }
}

/// Where the agent runs: as configured, else the namespace of the pod, or `default` outside of one.
pub fn namespace(config: &AgentConfig) -> String {
    let of_the_pod = || {
        std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
            .map_or_else(|_| "default".into(), |text| text.trim().into())
    };
    config.lease.namespace.clone().unwrap_or_else(of_the_pod)
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The three listeners: API, health, metrics.
struct Listeners {
    api: TcpListener,
    health: TcpListener,
    metrics: TcpListener,
}

impl Listeners {
    async fn bind(config: &AgentConfig) -> Result<Listeners> {
        let api = &config.api;
        let bind = |what: &'static str, address: SocketAddr| async move {
            TcpListener::bind(address).await.with_context(|| format!("could not listen on {address} for the {what}"))
        };
        let listeners = Listeners {
            api: bind("API", api.listen).await?,
            health: bind("health checks", api.health_listen).await?,
            metrics: bind("metrics", api.metrics_listen).await?,
        };
        let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
        let (at, health, metrics) = (address(&listeners.api)?, address(&listeners.health)?, address(&listeners.metrics)?);
        tracing::info!(api = at, health, metrics, "listening");
        if let Some(path) = &api.address_file {
            let text = serde_json::json!({"api": at, "health": health, "metrics": metrics}).to_string();
            let temporary = path.with_extension("new");
            std::fs::write(&temporary, text)
                .and_then(|()| std::fs::rename(&temporary, path))
                .with_context(|| format!("could not write `{}`", path.display()))?;
        }
        Ok(listeners)
    }

    fn serve(
        self,
        engine: &Arc<Engine>,
        access: api::Access,
        certificates: Option<Arc<Certificates>>,
        stop: &CancellationToken,
    ) -> tokio::task::JoinHandle<()> {
        let serve = |listener: TcpListener, router: Router| {
            let stop = stop.clone();
            async move {
                if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
                    tracing::error!(%error, "a listener ended");
                }
            }
        };
        let router = api::router(Arc::clone(engine), access);
        let api = endpoint::serve(self.api, router, certificates, endpoint::Limits::default(), stop.clone());
        let health = serve(self.health, api::health_router(Arc::clone(engine)));
        let metrics = serve(self.metrics, api::metrics_router(Arc::clone(engine)));
        tokio::spawn(async move {
            tokio::join!(api, health, metrics);
        })
    }
}
