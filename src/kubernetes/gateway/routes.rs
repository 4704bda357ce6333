//! Routes: which listeners they attach to, and what they add there. Pure.

use super::api::{GROUP, GatewaySpec, GrpcRoute, GrpcSpec, HttpRoute, HttpSpec, Kind, Reference};
use super::conditions::Condition;
use super::filters::broken;
use super::grants::From;
use super::listeners::{Entry, GRPC, HTTP};
use super::rules::{Faults, Reader, Rule};
use super::{World, oldest_first, status};
use crate::kubernetes::desk::Status;
use crate::kubernetes::draft::Draft;
use crate::kubernetes::objects::Name;
use crate::kubernetes::part::GatewaySettings;
use crate::route::{Conditions, Host, Matcher};
use crate::snapshot::Protocol;

/// A route of either kind.
struct Route<'r> {
    kind: &'static str,
    name: &'r Name,
    parents: &'r [Reference],
    hostnames: &'r [String],
    rules: Vec<Rule>,
    faults: Faults,
}

/// What a route is told of one of its parents.
#[derive(Debug)]
pub(super) struct Told<'r> {
    pub(super) parent: &'r Reference,
    pub(super) conditions: Vec<Condition>,
}

/// The HTTPRoutes.
pub(super) fn http(
    world: &World<'_>,
    settings: &GatewaySettings,
    entries: &mut [&mut Entry],
    draft: &mut Draft,
    now: &str,
) -> Vec<Status> {
    let mut statuses = Vec::new();
    for (name, object) in oldest_first::<HttpRoute>(world.http) {
        let Ok(spec) = &object.spec else { continue };
        let HttpSpec {
            parent_refs,
            hostnames,
            rules,
        } = spec;
        let mut reader = reader(*world, HTTP, name, None);
        let rules = rules.iter().map(|rule| reader.http(rule)).collect();
        let route = Route {
            kind: HTTP,
            name,
            parents: parent_refs,
            hostnames,
            rules,
            faults: reader.faults,
        };
        let told = route.attach(world, entries, draft);
        statuses.extend(status::route(name, object, &told, settings, now));
    }
    statuses
}

/// The GRPCRoutes. Their endpoints speak HTTP/2.
pub(super) fn grpc(
    world: &World<'_>,
    settings: &GatewaySettings,
    entries: &mut [&mut Entry],
    draft: &mut Draft,
    now: &str,
) -> Vec<Status> {
    let mut statuses = Vec::new();
    for (name, object) in oldest_first::<GrpcRoute>(world.grpc) {
        let Ok(spec) = &object.spec else { continue };
        let GrpcSpec {
            parent_refs,
            hostnames,
            rules,
        } = spec;
        let mut reader = reader(*world, GRPC, name, Some(Protocol::Http2));
        let rules = rules.iter().map(|rule| reader.grpc(rule)).collect();
        let route = Route {
            kind: GRPC,
            name,
            parents: parent_refs,
            hostnames,
            rules,
            faults: reader.faults,
        };
        let told = route.attach(world, entries, draft);
        statuses.extend(status::route(name, object, &told, settings, now));
    }
    statuses
}

fn reader<'r>(
    world: World<'r>,
    kind: &'r str,
    name: &'r Name,
    protocol: Option<Protocol>,
) -> Reader<'r> {
    Reader {
        world,
        from: From {
            kind,
            namespace: &name.namespace,
        },
        protocol,
        faults: Faults::default(),
    }
}

impl<'r> Route<'r> {
    /// Adds the route wherever it may be, and says what it is told of each parent of ours.
    fn attach(
        mut self,
        world: &World<'_>,
        entries: &mut [&mut Entry],
        draft: &mut Draft,
    ) -> Vec<Told<'r>> {
        let mut accepted = Vec::new();
        for parent in self.parents {
            let Some(gateway) = self.gateway(parent, world.gateways.all().map(|(name, _)| name))
            else {
                continue;
            };
            if entries.iter().all(|entry| entry.gateway != gateway) {
                // It is another one's, or has no listener.
                continue;
            }
            let one = self.attach_to(parent, &gateway, world, entries, draft);
            accepted.push((parent, one));
        }
        accepted
            .into_iter()
            .map(|(parent, accepted)| Told {
                parent,
                conditions: self.conditions(accepted),
            })
            .collect()
    }

    /// The Gateway that a parent is, if it is one and there.
    fn gateway<'n>(
        &self,
        parent: &Reference,
        mut known: impl Iterator<Item = &'n Name>,
    ) -> Option<Name> {
        let is_gateway = parent.group.as_deref().unwrap_or(GROUP) == GROUP
            && parent.kind.as_deref().unwrap_or(GatewaySpec::NAME) == GatewaySpec::NAME;
        let namespace = parent.namespace.as_deref();
        let name = Name::new(namespace.unwrap_or(&self.name.namespace), &parent.name);
        (is_gateway && known.any(|known| *known == name)).then_some(name)
    }

    fn attach_to(
        &mut self,
        parent: &Reference,
        gateway: &Name,
        world: &World<'_>,
        entries: &mut [&mut Entry],
        draft: &mut Draft,
    ) -> Condition {
        let section = parent.section_name.as_deref();
        let named = entries.iter_mut().filter(|entry| {
            entry.gateway == *gateway
                && section.is_none_or(|section| section == entry.name)
                && parent.port.is_none_or(|port| port == entry.port)
        });
        let mut why = ("NoMatchingParent", "the Gateway has no such listener");
        let mut is_attached = false;
        for entry in named {
            if !entry.allows(self.kind, &self.name.namespace, world.namespaces) {
                if why.0 == "NoMatchingParent" {
                    why = (
                        "NotAllowedByListeners",
                        "the listener allows no such route from this namespace",
                    );
                }
                continue;
            }
            let hosts = entry.hosts(self.hostnames);
            if hosts.is_empty() {
                why = (
                    "NoMatchingListenerHostname",
                    "the listener is for none of the hostnames",
                );
                continue;
            }
            is_attached = true;
            entry.attached += 1;
            self.add(&hosts, entry, draft);
        }
        match is_attached {
            true => Condition::holds("Accepted"),
            false => Condition::fails("Accepted", why.0, why.1),
        }
    }

    /// Adds the rules for these hosts by a listener.
    fn add(&mut self, hosts: &[Host], entry: &Entry, draft: &mut Draft) {
        let Some(listener) = &entry.served_by else {
            return;
        };
        // What a narrower listener is for is found there or nowhere.
        let own = |host: &Host| Some((host.clone(), entry.others(host)?));
        let hosts: Vec<_> = hosts.iter().filter_map(own).collect();
        let owner = self.name.to_string();
        for rule in &self.rules {
            for (path, conditions) in &rule.matches {
                let action = rule.action(path, entry.port).unwrap_or_else(|wrong| {
                    let text = format!("{wrong}: the rule is answered 500");
                    if !self.faults.values.contains(&text) {
                        self.faults.values.push(text);
                    }
                    broken()
                });
                // A redirect leads to none of them, and neither does what is broken.
                let services: &[_] = match action.services().next() {
                    Some(_) => &rule.services,
                    None => &[],
                };
                for (host, others) in &hosts {
                    let matcher = Matcher {
                        conditions: Conditions {
                            listeners: vec![listener.clone()],
                            others: others.clone(),
                            ..conditions.clone()
                        },
                        ..Matcher::new(host.clone(), path.clone())
                    };
                    // The oldest has what two ask for.
                    let _ = draft.lead(matcher, action.clone(), services, &owner);
                }
            }
        }
    }

    fn conditions(&self, accepted: Condition) -> Vec<Condition> {
        let mut all = vec![accepted];
        all.push(match self.faults.references.first() {
            None => Condition::holds("ResolvedRefs"),
            Some((reason, _)) => {
                let texts: Vec<_> = self.faults.references.iter().map(|(_, it)| &**it).collect();
                Condition::fails("ResolvedRefs", reason, texts.join("; "))
            }
        });
        if !self.faults.values.is_empty() {
            let text = self.faults.values.join("; ");
            all.push(Condition::warns(
                "PartiallyInvalid",
                "UnsupportedValue",
                text,
            ));
        }
        all
    }
}
