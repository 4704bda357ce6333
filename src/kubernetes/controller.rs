//! Looks at all objects of a cluster together, and says what they add to the config.
//!
//! Every change is answered by reading everything anew: what an object means depends on others (an Ingress on classes,
//! Services and Secrets), and a reading takes milliseconds for thousands. Changes are gathered for a moment, and what means
//! the same as before is told to nobody. Nothing is told before everything was listed once, and after that a part stays in
//! force whatever cannot be seen (P9).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

use super::certificates::{Certificates, FIELDS};
use super::desk::{self, Wanted};
use super::draft::Draft;
use super::gateway::{self, Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use super::ingress::{self, World};
use super::objects::{Follow, Objects};
use super::part::{Known, Note, Part, Publish, Settings};
use super::place::Place;

/// What is watched, and what was last made of it.
struct Controller {
    settings: Settings,
    ingresses: Follow<Ingress>,
    classes: Follow<IngressClass>,
    gateway: Gateways,
    services: Follow<Service>,
    secrets: Follow<Secret>,
    certificates: Certificates,
    noted: HashSet<Note>,
}

/// The objects of the Gateway API, and what only that speaks of.
struct Gateways {
    classes: Follow<GatewayClass>,
    gateways: Follow<Gateway>,
    http: Follow<HttpRoute>,
    grpc: Follow<GrpcRoute>,
    grants: Follow<ReferenceGrant>,
    namespaces: Follow<Namespace>,
}

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// Watches until nobody wants to know any more.
pub(super) async fn run(settings: Settings, tell: watch::Sender<Known>) {
    // Dropped at the end, and with it whatever still runs.
    let mut tasks = JoinSet::new();
    let (want, wanted) = watch::channel(Wanted::default());
    let name = settings.ingress.as_ref().map(|it| it.controller.clone());
    let gateway = settings.gateway.as_ref().map(|it| it.controller.clone());
    let name = name.or(gateway);
    let desk = desk::run(settings.lease.clone(), name.unwrap_or_default(), wanted);
    let watching = async move {
        let mut controller = Controller::new(settings, &mut tasks);
        loop {
            controller.look(&tell, &want);
            tokio::select! {
                biased;
                () = tell.closed() => break,
                () = controller.changed() => {}
            }
            sleep(GATHER).await;
        }
        // Nobody wants to write any more, either, and the desk closes.
        drop(want);
    };
    tokio::join!(watching, desk);
}

impl Gateways {
    fn follow(places: &[Place], tasks: &mut JoinSet<()>) -> Self {
        Self {
            classes: Follow::cluster("gatewayclasses", tasks),
            gateways: Follow::places(places, "gateways", None, tasks),
            http: Follow::places(places, "httproutes", None, tasks),
            grpc: Follow::extra(places, "grpcroutes", tasks),
            grants: Follow::extra(places, "referencegrants", tasks),
            namespaces: Follow::cluster("namespaces", tasks),
        }
    }

    fn nothing() -> Self {
        Self {
            classes: Follow::nothing(),
            gateways: Follow::nothing(),
            http: Follow::nothing(),
            grpc: Follow::nothing(),
            grants: Follow::nothing(),
            namespaces: Follow::nothing(),
        }
    }

    async fn changed(&mut self) {
        tokio::select! {
            biased;
            () = self.classes.changed() => {}
            () = self.gateways.changed() => {}
            () = self.http.changed() => {}
            () = self.grpc.changed() => {}
            () = self.grants.changed() => {}
            () = self.namespaces.changed() => {}
        }
    }
}

impl Controller {
    fn new(settings: Settings, tasks: &mut JoinSet<()>) -> Self {
        let places: Vec<Place> = match &*settings.namespaces {
            [] => vec![Place::Cluster],
            names => names.iter().cloned().map(Place::Namespace).collect(),
        };
        let ingress = settings.ingress.as_ref();
        let shows_secrets =
            ingress.is_some_and(|ingress| ingress.https.is_some()) || settings.gateway.is_some();
        let (ingresses, classes) = match ingress {
            Some(_) => (
                Follow::places(&places, "ingresses", None, tasks),
                Follow::cluster("ingressclasses", tasks),
            ),
            None => (Follow::nothing(), Follow::nothing()),
        };
        let secrets = if shows_secrets {
            Follow::places(&places, "secrets", Some(FIELDS), tasks)
        } else {
            Follow::nothing()
        };
        // The Service by which we are reached may stand elsewhere.
        let mut of_services = places.clone();
        let published = [
            ingress.map(|it| &it.publish),
            settings.gateway.as_ref().map(|it| &it.publish),
        ];
        for publish in published.into_iter().flatten() {
            let Publish::Service { namespace, .. } = publish else {
                continue;
            };
            let own = Place::Namespace(namespace.clone());
            if !of_services.contains(&Place::Cluster) && !of_services.contains(&own) {
                of_services.push(own);
            }
        }
        Self {
            gateway: match settings.gateway {
                Some(_) => Gateways::follow(&places, tasks),
                None => Gateways::nothing(),
            },
            ingresses,
            classes,
            services: Follow::places(&of_services, "services", None, tasks),
            secrets,
            certificates: Certificates::default(),
            noted: HashSet::new(),
            settings,
        }
    }

    async fn changed(&mut self) {
        tokio::select! {
            biased;
            () = self.ingresses.changed() => {}
            () = self.classes.changed() => {}
            () = self.services.changed() => {}
            () = self.secrets.changed() => {}
            () = self.gateway.changed() => {}
        }
    }

    /// Reads everything, and tells what is new.
    fn look(&mut self, tell: &watch::Sender<Known>, want: &watch::Sender<Wanted>) {
        if let Some(waiting) = self.waiting() {
            tell.send_if_modified(|known| {
                let is_new = known.part.is_none() && known.waiting != waiting;
                if is_new {
                    known.waiting = waiting;
                }
                is_new
            });
            return;
        }
        let (part, wanted) = self.read();
        self.tell_notes(&wanted.notes);
        want.send_if_modified(|known| {
            let is_new = *known != wanted;
            if is_new {
                *known = wanted;
            }
            is_new
        });
        tell.send_if_modified(|known| {
            let is_new = known.part.as_deref() != Some(&part);
            if is_new {
                known.part = Some(Arc::new(part));
            }
            is_new
        });
    }

    /// Why not everything is known yet.
    fn waiting(&self) -> Option<String> {
        fn of<K>(what: &str, set: &Objects<K>) -> Option<String> {
            if set.is_complete() {
                return None;
            }
            let fault = set.fault().unwrap_or("the API server has not answered yet");
            Some(format!("no {what} yet: {fault}"))
        }
        of("ingresses", &self.ingresses.now())
            .or_else(|| of("ingress classes", &self.classes.now()))
            .or_else(|| of("services", &self.services.now()))
            .or_else(|| of("secrets", &self.secrets.now()))
            .or_else(|| of("gateway classes", &self.gateway.classes.now()))
            .or_else(|| of("gateways", &self.gateway.gateways.now()))
            .or_else(|| of("HTTP routes", &self.gateway.http.now()))
            .or_else(|| of("gRPC routes", &self.gateway.grpc.now()))
            .or_else(|| of("reference grants", &self.gateway.grants.now()))
            .or_else(|| of("namespaces", &self.gateway.namespaces.now()))
    }

    fn read(&mut self) -> (Part, Wanted) {
        let mut draft = Draft::default();
        let mut statuses = Vec::new();
        if let Some(settings) = &self.settings.ingress {
            let world = World {
                ingresses: &self.ingresses.now(),
                classes: &self.classes.now(),
                services: &self.services.now(),
                secrets: &self.secrets.now(),
                pods: self.settings.pods,
            };
            let ours = ingress::ours(&world, settings);
            ingress::translate(world, settings, &ours, &mut self.certificates, &mut draft);
            statuses = ingress::statuses(&ours, &settings.publish, world.services);
        }
        if let Some(settings) = &self.settings.gateway {
            let Gateways {
                classes,
                gateways,
                http,
                grpc,
                grants,
                namespaces,
            } = &self.gateway;
            let world = gateway::World {
                classes: &classes.now(),
                gateways: &gateways.now(),
                http: &http.now(),
                grpc: &grpc.now(),
                grants: &grants.now(),
                namespaces: &namespaces.now(),
                services: &self.services.now(),
                secrets: &self.secrets.now(),
                pods: self.settings.pods,
            };
            let addresses = ingress::addresses(&settings.publish, world.services);
            let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            statuses.extend(gateway::translate(
                world,
                settings,
                addresses.as_deref(),
                &mut self.certificates,
                &mut draft,
                &now,
            ));
        }
        self.certificates.sweep();
        let (part, notes) = draft.finish();
        (part, Wanted { statuses, notes })
    }

    /// Each is told once, for as long as it holds.
    fn tell_notes(&mut self, notes: &[Note]) {
        for note in notes.iter().filter(|note| !self.noted.contains(note)) {
            let about = format!("{} {}", note.about.kind, note.about.name);
            warn!(object = about, reason = note.reason, "{}", note.text);
        }
        self.noted = notes.iter().cloned().collect();
    }
}
