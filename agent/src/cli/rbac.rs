//! `tk8s-agent rbac`: the rights that a platform needs, for whoever may grant them. Writes nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use tk8s_config::AgentConfig;
use tk8s_core::{ComponentName, InstanceName, Manifest, ServiceAccount, chain};
use tk8s_diff::cluster::Cluster;

use super::offline::read_config;
use super::output::{self, Format, line};
use super::working::{self, Shown};
use super::{Exit, Given};
use crate::rights::{self, Hint, Installation, Kinds, Options, Rights, Wanted};

/// The agent's account, where nobody says otherwise: as the chart names it.
const ACCOUNT: &str = "tk8s-system/tk8s-agent";

#[derive(Args)]
pub(super) struct Rbac {
    /// A directory with a platform file, or of manifests.
    #[arg(required_unless_present = "own")]
    directory: Option<PathBuf>,
    /// The agent's file, for its instance, account, namespace and `watch`, and for all that rendering needs.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's account; otherwise as the agent's file says, or `tk8s-system/tk8s-agent`.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    account: Option<ServiceAccount>,
    /// Print the chart's values instead of manifests.
    #[arg(long, conflicts_with_all = ["own", "constrained"])]
    values: bool,
    /// Only what the agent needs whatever the platform is.
    #[arg(long, conflicts_with_all = ["directory", "allow_escalation", "constrained"])]
    own: bool,
    /// Limit what the agent may do in the name of an account to what it does: for Kubernetes 1.36 and newer.
    #[arg(long)]
    constrained: bool,
    /// Let accounts that write roles give rights that they don't have themselves.
    #[arg(long)]
    allow_escalation: bool,
    /// How the API server calls a kind that the platform does not define, for example `Certificate.cert-manager.io=certificates`;
    /// with `,cluster` behind it for a kind in no namespace. May be given again.
    #[arg(long = "kind", value_name = "KIND.GROUP=PLURAL")]
    kinds: Vec<Hint>,
    /// A cluster that is asked how it calls such kinds.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
}

/// One object as it was rendered, with whose it is.
type Rendered = (ComponentName, Option<ServiceAccount>, Manifest);

/// Exit codes: 0 for rights that are whole, 1 where the platform is refused or a kind is not known, 2 where it could not look.
pub(super) async fn rbac(mut arguments: Rbac, format: Format) -> Exit {
    let config = match arguments.config.as_deref().map(read_config).transpose() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let installation = installation(config.as_ref(), arguments.account.take());
    let rights = match arguments.directory.take() {
        None => Rights::own(installation),
        Some(directory) => match of_platform(&directory, config.as_ref(), installation, arguments.given_up()).await {
            Ok(rights) => rights,
            Err(exit) => return exit,
        },
    };
    for lacking in rights.lacking() {
        eprintln!("not granted: {lacking}");
    }
    match (format, arguments.values) {
        (Format::Json, _) => output::json(&rights::view(&rights)),
        (Format::Text, false) => line(rights::manifests(&rights).trim_end()),
        (Format::Text, true) => line(rights::chart_values(&rights).trim_end()),
    }
    Exit::Yes
}

/// What rights of a platform depend on besides it.
pub(super) struct Asked {
    pub(super) kinds: Vec<Hint>,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) given: Given,
    pub(super) options: Options,
}

impl Rbac {
    fn given_up(&mut self) -> Asked {
        let options = Options { allow_escalation: self.allow_escalation, constrained: self.constrained };
        let (kinds, given) = (std::mem::take(&mut self.kinds), std::mem::take(&mut self.given));
        Asked { kinds, kubeconfig: self.kubeconfig.take(), given, options }
    }
}

fn installation(config: Option<&AgentConfig>, account: Option<ServiceAccount>) -> Installation {
    let said = config.and_then(|config| config.installation.service_account.clone());
    let in_namespace = config.and_then(|config| ServiceAccount::new(config.lease.namespace.as_deref()?, "tk8s-agent").ok());
    let usual = || ACCOUNT.parse().expect("because it is an account");
    let instance = || "tk8s".parse::<InstanceName>().expect("because it is a valid name");
    Installation {
        account: account.or(said).or(in_namespace).unwrap_or_else(usual),
        instance: config.map_or_else(instance, |config| config.instance.clone()),
        scope: working::scope(config),
    }
}

/// The rights of the platform in a directory. What is wrong with it is said on standard error.
pub(super) async fn of_platform(
    directory: &Path,
    config: Option<&AgentConfig>,
    installation: Installation,
    asked: Asked,
) -> Result<Rights, Exit> {
    let mut rendered: Vec<Rendered> = Vec::new();
    let keep = |shown: Shown<'_>| {
        let (name, account) = (&shown.spec.name, &shown.spec.service_account);
        let objects = shown.preview.into_objects().into_iter();
        rendered.extend(objects.map(|placed| (name.clone(), account.clone(), placed.manifest)));
        Ok(())
    };
    let renderers = working::renderers(config, asked.given);
    let report = working::look(directory, None, &renderers, &installation.scope, keep)?.report;
    let exit = report.exit();
    working::complain(report);
    if exit != Exit::Yes {
        return Err(exit);
    }
    let mut kinds = Kinds::known(&asked.kinds);
    rendered.iter().for_each(|(_, _, manifest)| kinds.learn(manifest));
    if let Some(kubeconfig) = &asked.kubeconfig {
        ask(kubeconfig, &mut kinds, &rendered).await?;
    }
    let (mut wanted, mut unknown) = (Vec::new(), std::collections::BTreeSet::new());
    for (component, account, manifest) in &rendered {
        match kinds.of(manifest) {
            Ok(named) => wanted.push(Wanted::new(component, account.as_ref(), manifest, named)),
            Err(error) => drop(unknown.insert(format!("{component}: {error}"))),
        }
    }
    if !unknown.is_empty() {
        unknown.iter().for_each(|error| eprintln!("{error}"));
        return Err(Exit::No);
    }
    Ok(Rights::of(installation, &wanted, asked.options))
}

/// Asks a cluster how it calls the kinds that nobody here knows.
async fn ask(kubeconfig: &Path, kinds: &mut Kinds, rendered: &[Rendered]) -> Result<(), Exit> {
    let client = crate::run::connect(Some(kubeconfig)).await.map_err(|error| {
        eprintln!("{error:#}");
        Exit::Usage
    })?;
    let cluster = Cluster::new(client, Vec::new());
    for (_, _, manifest) in rendered {
        if kinds.has(manifest.key()) {
            continue;
        }
        match cluster.resource(manifest.kind()).await {
            Ok(resource) => resource.iter().for_each(|resource| kinds.told(resource)),
            Err(error) => {
                eprintln!("could not ask how {} is called: {}", manifest.kind(), chain(&error));
                return Err(Exit::Usage);
            }
        }
    }
    Ok(())
}
