//! The command line: what each command takes, and what its exit code means.
//!
//! 0: yes, or done. 1: no, failed or refused. 2: wrong usage, or it could not be looked at. 64: the configuration or platform
//! file is refused. 69: the agent can't be reached.

mod approve;
mod copying;
mod difference;
mod doctor;
mod evidence;
mod finding;
mod health;
mod history;
mod incidents;
mod install;
mod notes;
mod offline;
mod output;
mod people;
mod rbac;
pub(crate) mod reach;
mod remote;
mod strays;
mod verify;
mod working;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tk8s_core::ComponentName;

use self::reach::Agent;
use crate::telemetry::{self, LogFormat};

/// Applies signed Git to Kubernetes, layer by layer, and goes back in an instant.
#[derive(Parser)]
#[command(name = "tk8s-agent", version, max_term_width = 110)]
pub struct Arguments {
    /// How answers are written.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: output::Format,
    /// How log lines are written, to standard error.
    #[arg(long, global = true, value_enum, default_value_t, env = "TK8S_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent: follow one repository and one cluster.
    Run {
        /// The agent's file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The cluster; otherwise KUBECONFIG, or the pod's own account.
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
    },
    /// Say all that is wrong with the agent's file and a directory of manifests. Needs no cluster, network or repository.
    ///
    /// Exit code 0: nothing that the agent would refuse. 1: something. 2: it could not look.
    Check {
        /// A directory with a platform file, or of manifests.
        directory: Option<PathBuf>,
        /// The agent's file: checked too, its age keys and variables are used, and kustomize and Helm are found and limited as it says.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        given: Given,
    },
    /// Print the objects of a directory in the order in which they would be applied.
    Render(Render),
    /// Verify a revision of a local repository, or a raw Git object. Exit code 0 only for yes.
    Verify(Verify),
    /// Show what applying a directory would change in a cluster, with your own credentials. Changes nothing.
    ///
    /// Exit code 0: shown. 1: with `--exit-code`, something differs. 2: something could not be compared.
    Diff(Diff),
    /// Print the definition of the `Component` resource, for `kubectl apply --server-side -f -`.
    ///
    /// An agent that may write definitions brings it along.
    Crds,
    /// Print the rights that a platform needs: roles, accounts and bindings, for `kubectl apply --server-side -f -`.
    ///
    /// Exit code 0: printed. 1: something is refused, or nobody says how a kind is called. 2: it could not look. What is not
    /// granted without a person's word is said on standard error.
    Rbac(rbac::Rbac),
    /// Print the manifests of an installation, with new keys, for `kubectl apply --server-side -f -`; and say what to register at
    /// the Git server. Writes nothing to the cluster.
    ///
    /// Repeated, it is an upgrade: keys that the cluster has are left as they are. Exit code 0: printed. 1: something is in the
    /// way. 2: the arguments contradict each other, or something can't be looked at. 64: a file is refused.
    Install(Box<install::Install>),
    /// Print what an installation consists of, for `kubectl delete -f -`; what it deployed is not among it. Writes nothing.
    ///
    /// Exit code 0: printed. 1: there is nothing of it. 2: the cluster can't be asked.
    Uninstall(install::Uninstall),
    /// Say whether an installation works: files, keys, volume, clock, rights, Git, webhook; and how to mend what does not.
    ///
    /// Changes nothing. Exit code 0: nothing failed. 2: something did.
    Doctor(doctor::Doctor),
    /// Judge objects from files as the agent judges them in the cluster. Needs no cluster.
    ///
    /// Exit code 0: judged. 1: with `--exit-code`, something is neither Healthy nor Suspended. 2: it could not look. 64: a rule
    /// is refused.
    Health(health::Judge),
    /// What runs, how it is, and what was refused.
    Status {
        #[command(flatten)]
        agent: Agent,
    },
    /// Look at Git now.
    Sync {
        #[command(flatten)]
        agent: Agent,
    },
    /// The releases of a component, newest first; and, from a running agent or from its files, one of them in all detail.
    History(history::History),
    /// What ran well here, and for how long, signed: for instances that ask for that before a release is let in.
    Evidence(evidence::Show),
    /// Put former releases back, at once, without Git, and hold the components there.
    Rollback(people::Rollback),
    /// Pin components to what runs, until new content or `resume`. Drift is still repaired.
    Hold(people::Because),
    /// Write nothing more, until `resume`: what is new waits, drift is only reported. A rollback still works.
    Suspend(people::Because),
    /// End holds and suspensions that were said with the same words; tell what is still in force.
    Resume(people::Resume),
    /// Let a ref be what it is now, though history was rewritten: exactly as the alarm names it.
    Accept(incidents::Accept),
    /// Let deletions through that a rule denied: exactly those that the denial names.
    Confirm {
        /// As the denial spells it, for example `web.7.3fa9c1d2e4b5f6a7`.
        plan: String,
        /// Why, for the ledger.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        agent: Agent,
    },
    /// Say yes to a release: show what it changes, then make a signed tag with your own Git and key, and push it.
    Approve(approve::Approve),
    /// Let one release in without those who still have to say yes to it. An alarm stands until somebody acknowledges it.
    BreakGlass(remote::OfRelease),
    /// Say that you looked at a release that was let in without approvals: ends the alarm.
    Acknowledge(remote::OfRelease),
}

#[derive(Args)]
struct Diff {
    /// A directory with a platform file, or of manifests.
    directory: PathBuf,
    /// The cluster; otherwise KUBECONFIG.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Exit with 1 if anything differs.
    #[arg(long)]
    exit_code: bool,
    /// Show what the API server fills in and what others own, too.
    #[arg(long)]
    all: bool,
    /// Whether to colour; `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", default_value_t)]
    color: clap::ColorChoice,
    /// The agent's file, for its instance, age keys and variables, and for how kustomize and Helm are found and limited.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
}

#[derive(Args)]
struct Render {
    /// A directory with a platform file, or of manifests.
    directory: PathBuf,
    /// Only this component.
    #[arg(long)]
    component: Option<ComponentName>,
    /// Show the values of Secrets, and what was decrypted; without it they are masked.
    #[arg(long)]
    show_secrets: bool,
    /// Instead of objects, print what charts say to whoever installs them (`NOTES.txt`).
    #[arg(long)]
    notes: bool,
    /// The agent's file: its age keys and variables are used, and kustomize and Helm are found and limited as it says.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
}

#[derive(Args)]
#[group(id = "what", required = true, multiple = true)]
struct Verify {
    /// A commit id, a full ref, the name of a branch or tag, or `FROM..TO`: each commit of the one that is not of the other.
    #[arg(required_unless_present = "object", conflicts_with = "object")]
    revision: Option<String>,
    /// A raw Git object, as `git cat-file commit|tag` prints it; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// Who may sign: a signers file, SSH public keys, OpenPGP certificates, or an `allowed_signers` file.
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    signers: Option<PathBuf>,
    /// What is revoked: a list of `ssh-keygen -k`, or SSH public keys, one a line.
    #[arg(long, value_name = "FILE", requires = "signers")]
    revocations: Option<PathBuf>,
    /// The local repository of the revision.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// The agent's file: its signers, and its mirror as the repository.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signers", "object"])]
    config: Option<PathBuf>,
    /// Tells every check in the order in which it was made, what was found, and yes or no.
    #[arg(long)]
    explain: bool,
}

/// What files of a directory need to become objects, beside what the agent's file says.
#[derive(Args, Default)]
struct Given {
    /// A file with age keys, for files that SOPS encrypted. May be given again.
    #[arg(long = "age-key", value_name = "FILE", env = "SOPS_AGE_KEY_FILE")]
    age_keys: Vec<PathBuf>,
    /// A variable for components that substitute; wins over the agent's file. May be given again.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = crate::materials::variable)]
    variables: Vec<(String, serde_json::Value)>,
}

/// How a command ended, as its exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Yes = 0,
    No = 1,
    Usage = 2,
    BadConfiguration = 64,
    Unreachable = 69,
}

/// Runs the command that was asked for.
pub fn main(arguments: Arguments) -> ExitCode {
    telemetry::start(arguments.log_format);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("could not start: {error}");
            return ExitCode::from(1);
        }
    };
    let exit = runtime.block_on(dispatch(arguments.command, arguments.output));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ExitCode::from(exit as u8)
}

async fn dispatch(command: Command, format: output::Format) -> Exit {
    match command {
        Command::Run { config, kubeconfig } => offline::run(&config, kubeconfig).await,
        Command::Check { directory, config, given } => offline::check(directory.as_deref(), config.as_deref(), given, format),
        Command::Render(render) => offline::render(render, format),
        Command::Verify(verify) => verify::verify(&verify, format),
        Command::Diff(diff) => difference::diff(diff, format).await,
        Command::Crds => offline::crds(format),
        Command::Rbac(arguments) => rbac::rbac(arguments, format).await,
        Command::Install(arguments) => install::install(*arguments, format).await,
        Command::Uninstall(arguments) => install::uninstall(arguments, format).await,
        Command::Doctor(arguments) => doctor::doctor(arguments, format).await,
        Command::Health(judge) => health::health(&judge, format),
        Command::Status { agent } => remote::status(&agent, format).await,
        Command::Sync { agent } => remote::sync(&agent, format).await,
        Command::History(arguments) => history::history(arguments, format).await,
        Command::Evidence(arguments) => evidence::show(arguments, format).await,
        Command::Rollback(arguments) => people::rollback(arguments, format).await,
        Command::Hold(arguments) => people::hold(arguments, format).await,
        Command::Suspend(arguments) => people::suspend(arguments, format).await,
        Command::Resume(arguments) => people::resume(arguments, format).await,
        Command::Approve(approve) => approve::approve(&approve).await,
        Command::BreakGlass(release) => remote::break_glass(&release, format).await,
        Command::Acknowledge(release) => remote::acknowledge(&release, format).await,
        Command::Accept(arguments) => incidents::accept(arguments, format).await,
        Command::Confirm { plan, reason, agent } => remote::confirm(&agent, &plan, &reason, format).await,
    }
}
