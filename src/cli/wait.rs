//! `tidegate wait`: for the preStop hook of an application that runs behind tidegate.
//!
//! It never fails a pod's end: whatever happens, it ends well by its limit (P15). An address is connected to as it is
//! written; only a name is looked up, so that a static build in a strange image needs nothing of it.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Uri;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{self, TokenArgs};
use super::output::{plain, say, span};
use crate::admin::Peer;
use crate::admin::api::HookAnswer;
use crate::admin::hook_client::{call, call_by_file, target};
use crate::admin::replicas::Question;
use crate::control::PodName;
use crate::document;
use crate::drain::Cause;

/// Wait until every replica of tidegate has drained a pod: for an exec preStop hook
///
/// Asks the replica at --admin, which asks the others, again and again until all say that nothing of the pod is in flight
/// and nothing will start. Always exits 0 by its limit, so that it delays the end of a pod and never blocks it.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// The pod, as NAMESPACE/NAME
    #[arg(
        long,
        value_name = "NS/NAME",
        env = "TIDEGATE_POD",
        required_unless_present = "ip"
    )]
    pub pod: Option<String>,

    /// The pod by its address instead, where endpoints have no pods' names
    #[arg(long, value_name = "ADDRESS", conflicts_with = "pod")]
    pub ip: Option<IpAddr>,

    /// Go on after this at the latest: the pod's terminationGracePeriodSeconds less what the application needs to stop
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = document::duration)]
    pub limit: Duration,

    /// The replicas, as 10.0.0.1:9902,10.0.0.2:9902: each is asked directly, instead of the one at --admin
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub peers: Vec<SocketAddr>,

    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "clap would take it for the help of the command"
    )]
    pub token: TokenArgs,
}

/// Waits, and says for what it did. Never fails.
///
/// # Errors
/// Only when nothing can be printed.
pub fn wait(args: &WaitArgs, admin: &str) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(until_drained(args, admin, began + args.limit)),
        Err(error) => Err(error.to_string()),
    };
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    say(&format!("{}\n", told(&answer, &span(took))))?;
    Ok(ExitCode::SUCCESS)
}

async fn until_drained(args: &WaitArgs, admin: &str, until: Instant) -> Result<HookAnswer, String> {
    let pod = match (&args.pod, args.ip) {
        (_, Some(ip)) => PodName::Address(ip),
        (pod, None) => PodName::Name(pod.clone().unwrap_or_default()),
    };
    let token = args.token.read().map_err(|error| error.to_string())?;
    if args.peers.is_empty() {
        return ask_one(&pod, admin, token.as_deref(), until).await;
    }
    let peer = |address: &SocketAddr| Peer {
        address: *address,
        is_ready: true,
    };
    let peers: Vec<_> = args.peers.iter().map(peer).collect();
    let question = Question {
        pod,
        cause: Cause::Hook,
        token,
        here: None,
    };
    Ok(question.ask(|| Ok(peers.clone()), until).await)
}

/// Asks the replicas at one address or name, one after the other, until one has an answer that is final. Each asks the
/// others itself.
async fn ask_one(
    pod: &PodName,
    admin: &str,
    token: Option<&str>,
    until: Instant,
) -> Result<HookAnswer, String> {
    let file = client::file(admin).map_err(|error| error.to_string())?;
    let url = match file {
        Some(_) => String::new(),
        None => client::base(admin).map_err(|error| error.to_string())?,
    };
    let mut last = Err("nobody answered".to_owned());
    let mut turn = 0;
    while Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        // A round, and not the whole time: the replica may be cut off, or gone the next moment.
        let round = left.saturating_sub(MARGIN).min(ROUND);
        let target = target(pod, round, None);
        let asked = async {
            if let Some(path) = &file {
                let answer = call_by_file(path, &target, token).await;
                return answer.map_err(|error| format!("{admin}: {}", error.why));
            }
            let addresses = resolve(&url).await?;
            let address = addresses[turn % addresses.len()];
            let authority = url.strip_prefix("http://").unwrap_or(&url);
            let answer = call(address, authority, &target, token).await;
            answer.map_err(|error| format!("{address}: {}", error.why))
        };
        let patience = Instant::now() + round + PATIENCE;
        let answer = timeout_at(patience.min(until), asked).await;
        match answer.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(answer) if answer.drained => return Ok(answer),
            Ok(answer) => last = Ok(answer),
            Err(error) => {
                turn += 1;
                if last.is_err() {
                    last = Err(error);
                }
                sleep(PAUSE).await;
            }
        }
    }
    last
}

async fn resolve(url: &str) -> Result<Vec<SocketAddr>, String> {
    let uri: Uri = url.parse().map_err(|_| "no address".to_owned())?;
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = literal.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found
        .map_err(|error| format!("{host} cannot be looked up: {error}"))?
        .collect();
    match found.is_empty() {
        true => Err(format!("{host} has no address")),
        false => Ok(found),
    }
}

fn told(answer: &Result<HookAnswer, String>, took: &str) -> String {
    match answer {
        Ok(answer) => {
            let reason = plain(answer.reason.as_deref().unwrap_or("no reason given"));
            let replicas = answer.replicas.len();
            match answer.drained {
                true => format!("drained after {took}, said by {replicas} of {replicas}: {reason}"),
                false => {
                    let drained = answer.replicas.iter().filter(|one| one.drained).count();
                    format!(
                        "not drained after {took}, said by {drained} of {replicas}: {reason}; going on"
                    )
                }
            }
        }
        Err(error) => format!("not drained after {took}: {}; going on", plain(error)),
    }
}

/// For how long one replica is asked at once.
const ROUND: Duration = Duration::from_secs(5);
/// For the answer to arrive once its time is over.
const PATIENCE: Duration = Duration::from_secs(1);
/// From the last answer to the end.
const MARGIN: Duration = Duration::from_millis(300);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);
