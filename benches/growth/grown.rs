//! A tidegate of one size.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, ensure};

use crate::support::endpoints::EndpointFile;
use crate::support::load::{Load, request};
use crate::support::tidegate::Tidegate;
use crate::support::tunnels;
use crate::{ALL_MAX, ASKING, Asked, FEW, Growth, SIZE};

/// A tidegate of one size.
pub(crate) struct Grown {
    pub(crate) size: usize,
    pub(crate) tidegate: Tidegate,
    pub(crate) file: EndpointFile,
    pub(crate) load: Load,
    /// Idle clients or tunnels.
    _kept: Vec<TcpStream>,
    _dir: tempfile::TempDir,
}

impl Grown {
    /// Starts it, and asks it until all that will be asked is connected.
    pub(crate) fn start(
        growth: Growth,
        asked: Asked,
        size: usize,
        port: u16,
        tunnels_at: SocketAddr,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = EndpointFile::new(dir.path(), port);
        let endpoints = if growth == Growth::Endpoints {
            size
        } else {
            FEW
        };
        file.replace(0..u32::try_from(endpoints)?)?;
        let services = if growth == Growth::Services { size } else { 1 };
        let balance = match (growth, asked) {
            // A key has a home, so that as few endpoints as there are keys are asked.
            (Growth::Endpoints, Asked::Few) => "balance: hash, hash_on: { header: x-key }",
            _ => "balance: least_request",
        };
        let tidegate = Tidegate::launch_as(&[], dir.path(), |address, admin| {
            let each = |number| {
                let source = match growth {
                    Growth::Services => format!("source: {{ list: [\"127.1.0.1:{port}\"] }}"),
                    _ => file.as_source(),
                };
                format!("  - {{ name: web-{number}, {source}, {balance}, {PATIENT} }}\n")
            };
            let route =
                |number| format!("  - {{ host: {}, service: web-{number} }}\n", host(number));
            let routes: String = (0..services).map(route).collect();
            let services: String = (0..services).map(each).collect();
            format!(
                "listeners: [{{ name: http, address: \"{address}\" }}]\n\
                 routes:\n{routes}  - {{ path: /tunnel, service: tunnels }}\n\
                 services:\n{services}  - {{ name: tunnels, source: {{ list: [\"{tunnels_at}\"] }} }}\n\
                 admin: {{ address: \"{admin}\" }}\naccess_log: {{ sample: 0.0 }}\nworkers: 1\n"
            )
        })?;
        let asked_services = if asked == Asked::Few {
            services.min(FEW)
        } else {
            services
        };
        let requests = match (growth, asked) {
            (Growth::Endpoints, Asked::Few) => (0..FEW)
                .map(|key| request(&host(0), SIZE, &format!("X-Key: {key}\r\n")))
                .collect(),
            _ => (0..asked_services)
                .map(|number| request(&host(number), SIZE, ""))
                .collect(),
        };
        let kept = match growth {
            Growth::Clients => (0..size).map(|_| idle_client(tidegate.address)).collect(),
            Growth::Tunnels => (0..size)
                .map(|_| tunnels::open(tidegate.address, "/tunnel"))
                .collect(),
            Growth::Services | Growth::Endpoints => Ok(Vec::new()),
        };
        let mut load = Load::asking(tidegate.address, ASKING, requests, SIZE)?;
        // Until there is a connection to all that are asked: where chance decides, that takes a multiple of their number.
        let in_turn = asked_services * 3;
        let by_chance = if asked == Asked::All && endpoints <= ALL_MAX {
            endpoints * 12
        } else {
            0
        };
        load.times(in_turn.max(by_chance).max(WARM_UP) as u64)
            .with_context(|| tidegate.last_words())?;
        Ok(Self {
            size,
            tidegate,
            file,
            load,
            _kept: kept?,
            _dir: dir,
        })
    }
}

const WARM_UP: usize = 5_000;

/// Connections are kept for as long as it is measured, and on a busy machine one may be long in coming.
const PATIENT: &str = "upstream_keep_alive: 1h, connect_timeout: 10s";

fn host(number: usize) -> String {
    format!("shop-{number}.example.com")
}

/// A client that was served once.
fn idle_client(proxy: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy)?;
    stream.write_all(&request(&host(0), SIZE, ""))?;
    let read = stream.read(&mut [0; 4096])?;
    ensure!(read > SIZE, "not served");
    Ok(stream)
}
