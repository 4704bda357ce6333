//! The admin side: its sockets, and what it is given of everything else.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info};

use super::App;
use super::inherited::{Kind, Set};
use super::peers::Others;
use super::scrape::Scrape;
use crate::admin::{self, Admin, Listener, Until};
use crate::config::Config;
use crate::net::Address;
use crate::telemetry::AccessLog;

impl App {
    pub(super) fn serve_admin(
        &mut self,
        sockets: Vec<(Kind, Listener)>,
        settings: watch::Receiver<Arc<admin::Settings>>,
    ) {
        let bound = sockets.iter();
        let ports = bound.filter_map(|(_, socket)| Some(socket.tcp()?.port()));
        let others = Others::new(settings.clone(), self.cluster.clone(), ports.collect());

        let last_reload = self.last_reload.clone();
        let losses = self.log.as_ref().map(AccessLog::losses).unwrap_or_default();
        let rates = admin::Rates::default();
        let scrape = Scrape::new(
            &self.metrics,
            &self.handle,
            &self.mail,
            losses,
            rates.clone(),
            &self.in_force.config().admin,
        );
        let house = scrape.clone().keep_house(self.stop.clone());
        self.tasks.spawn_local(house);
        let admin = Admin {
            handle: self.handle.clone(),
            probes: self.probes.clone(),
            settings,
            metrics: Arc::new(move || {
                let scrape = scrape.clone();
                Box::pin(async move { scrape.text().await })
            }),
            config: Arc::new(move || {
                last_reload
                    .lock()
                    .map_or(serde_json::Value::Null, |last| last.describe())
            }),
            others: Arc::new(move || others.now()),
            admissions: admin::Admissions::default(),
            rates,
        };
        let addresses = admin_addresses(self.in_force.config());
        for ((kind, socket), (_, address)) in sockets.into_iter().zip(addresses) {
            let place = socket.tcp().map_or(address.clone(), Address::Tcp);
            info!(admin = kind.as_str(), address = %place, "listening");
            // Without a descriptor for it it serves all the same; it can only not be handed over.
            self.admin_sockets.push(Set {
                kind: Some(kind),
                name: kind.as_str().into(),
                address,
                sockets: socket.try_clone().into_iter().collect(),
                lent: false,
            });
            let router = match kind {
                Kind::Probes => admin::probes_router(&admin),
                _ => admin::router(&admin),
            };
            self.tasks
                .spawn_local(serve(socket, router, self.admin_until.clone()));
        }
    }
}

/// Where it listens, and for what.
pub(super) fn admin_addresses(config: &Config) -> Vec<(Kind, Address)> {
    let probes = config.admin.probes_address.map(Address::Tcp);
    std::iter::once((Kind::Admin, config.admin.address.clone()))
        .chain(probes.map(|address| (Kind::Probes, address)))
        .collect()
}

async fn serve(socket: Listener, router: axum::Router, until: Until) {
    if let Err(error) = admin::serve(socket, router, until).await {
        error!(%error, "the admin side has ended");
    }
}
