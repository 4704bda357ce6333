//! Listeners: before anybody accepts on them, and while they serve. What can fail, fails before anything changes.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use tracing::info;

use super::App;
use super::inherited::{Inherited, Kind, Set};
use crate::net::{bind_listeners, tls};
use crate::server::{self, Crowd, Door, Plan, Room};
use crate::worker::Mail;

/// A listener that can be given to the workers.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) settings: server::Settings,
    pub(super) tls: Option<tls::Acceptor>,
    /// One socket for each worker.
    pub(super) sockets: Vec<TcpListener>,
    /// Somebody lent them, who goes on with them when we are gone.
    lent: bool,
    crowd: Arc<Crowd>,
}

/// A listener that serves. Its sockets are kept here as well, so that others can go on with them; they have to be dropped
/// before the workers close theirs, or the kernel would go on to fill a queue that nobody empties.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) settings: server::Settings,
    pub(super) sockets: Vec<TcpListener>,
    pub(super) lent: bool,
    crowd: Arc<Crowd>,
}

impl Listening {
    /// At the start, for so many workers: on the sockets that are there for it, or on new ones.
    pub(super) fn first(
        settings: &server::Settings,
        workers: usize,
        inherited: &mut Inherited,
        room: &Arc<Room>,
    ) -> anyhow::Result<Self> {
        let set = inherited.take(Kind::Listener, &settings.name, &settings.address.into());
        let Some(Set { sockets, lent, .. }) = set else {
            return Self::bind(settings, workers, room);
        };
        let mut sockets: Vec<_> = sockets.into_iter().map(TcpListener::from).collect();
        let tls = acceptor(settings)?;
        // Workers without a socket share one: a new one would be filled before anybody knows that this process will serve.
        while let Some(missing) = workers.checked_sub(sockets.len())
            && missing > 0
            && !sockets.is_empty()
        {
            let more = cloned(&sockets[..missing.min(sockets.len())]);
            sockets.extend(more.with_context(|| place(settings))?);
        }
        Ok(Self {
            lent,
            ..Self::of(settings, tls, sockets, room)
        })
    }

    /// Binds it for so many workers.
    pub(super) fn bind(
        settings: &server::Settings,
        workers: usize,
        room: &Arc<Room>,
    ) -> anyhow::Result<Self> {
        let tls = acceptor(settings)?;
        let sockets = bind_listeners(settings.address, workers).with_context(|| place(settings))?;
        Ok(Self::of(settings, tls, sockets, room))
    }

    fn of(
        settings: &server::Settings,
        tls: Option<tls::Acceptor>,
        sockets: Vec<TcpListener>,
        room: &Arc<Room>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            tls,
            sockets,
            lent: false,
            crowd: Crowd::new(&settings.limits, room.clone()),
        }
    }

    /// Whether its certificates can be read, by whoever this process is now.
    pub(super) fn read_again(&self) -> anyhow::Result<()> {
        let read = self.tls.as_ref().map(tls::Acceptor::refresh).transpose();
        read.map(drop).with_context(|| place(&self.settings))
    }

    /// Goes on with the sockets of a listener that serves.
    fn after(
        settings: &server::Settings,
        before: &Place,
        room: &Arc<Room>,
    ) -> anyhow::Result<Self> {
        let tls = acceptor(settings)?;
        let sockets = cloned(&before.sockets).with_context(|| place(settings))?;
        let mut listening = Self::of(settings, tls, sockets, room);
        listening.lent = before.lent;
        if settings.limits == before.settings.limits {
            // Those that are open count as before.
            listening.crowd = before.crowd.clone();
        }
        Ok(listening)
    }
}

fn acceptor(settings: &server::Settings) -> anyhow::Result<Option<tls::Acceptor>> {
    let tls = settings.tls.as_ref().map(tls::Acceptor::new).transpose();
    tls.with_context(|| place(settings))
}

fn place(settings: &server::Settings) -> String {
    format!("listener {}", settings.name)
}

fn cloned(sockets: &[TcpListener]) -> io::Result<Vec<TcpListener>> {
    sockets.iter().map(TcpListener::try_clone).collect()
}

/// How listeners become those of a new config.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// New ones, and those that go on with others' sockets.
    come: Vec<Listening>,
    /// Whose sockets somebody else goes on with.
    handed_over: Vec<Arc<str>>,
    gone: Vec<Arc<str>>,
}

impl Change {
    /// What it takes to have these listeners; nothing has changed yet. A listener with the address of an old one goes on with
    /// its sockets, so that none of its connections is lost.
    pub(super) fn to(
        new: &[server::Settings],
        places: &[Place],
        workers: usize,
        room: &Arc<Room>,
    ) -> anyhow::Result<Self> {
        let mut change = Self::default();
        let mut kept = Vec::new();
        for settings in new {
            let same = |place: &&Place| place.settings.name == settings.name;
            let there = |place: &&Place| place.settings.address == settings.address;
            // A port that the kernel chose belongs to the name.
            let before = if settings.address.port() == 0 {
                places.iter().find(same).filter(there)
            } else {
                places.iter().find(there)
            };
            match before {
                Some(before) if before.settings == *settings => kept.push(&before.settings.name),
                Some(before) => {
                    change.come.push(Listening::after(settings, before, room)?);
                    change.handed_over.push(before.settings.name.clone());
                }
                None => change.come.push(Listening::bind(settings, workers, room)?),
            }
        }
        let names = places.iter().map(|place| &place.settings.name);
        change.gone = names
            .filter(|name| !kept.contains(name) && !change.handed_over.contains(name))
            .cloned()
            .collect();
        Ok(change)
    }
}

impl App {
    /// Makes the listeners those of a new config. First what goes, so that every name is free for what comes.
    pub(super) async fn change_listeners(&mut self, change: Change, plan: Plan) {
        for name in change.gone {
            info!(listener = %name, "the listener leaves");
            self.forget_place(&name);
            self.tell_workers(|| Mail::Unlisten(name.clone(), plan))
                .await;
        }
        for name in change.handed_over {
            self.hand_over_listener(&name).await;
        }
        for listening in change.come {
            self.listen(listening).await;
        }
    }

    /// Somebody else goes on with its sockets.
    pub(super) async fn hand_over_listener(&mut self, name: &str) {
        let name: Arc<str> = name.into();
        self.forget_place(&name);
        self.tell_workers(|| Mail::HandOver(name.clone())).await;
    }

    /// Drops our own handles on its sockets; the workers have theirs.
    fn forget_place(&mut self, name: &Arc<str>) {
        self.certificates.forget(name);
        self.places.retain(|place| place.settings.name != *name);
    }

    async fn tell_workers(&self, mail: impl Fn() -> Mail) {
        for worker in &self.mail {
            // A worker that is gone accepts nothing.
            let _ = worker.send(mail()).await;
        }
    }

    /// Has every worker accept on its own socket of a listener.
    pub(super) async fn listen(&mut self, listening: Listening) {
        let Listening {
            settings,
            tls,
            sockets,
            lent,
            crowd,
        } = listening;
        // Where it really is: the kernel may have chosen the port.
        let address = sockets.first().and_then(|socket| socket.local_addr().ok());
        let address = address.unwrap_or(settings.address);
        info!(listener = %settings.name, %address, "listening");
        if let Some(acceptor) = &tls {
            acceptor.offer(self.in_force.part().offers(&settings.name));
            self.certificates.follow(&settings.name, acceptor.clone());
        }
        // Without descriptors for it the listener serves all the same; it can only not be handed over.
        let kept = cloned(&sockets).unwrap_or_default();
        self.places.push(Place {
            settings: settings.clone(),
            sockets: kept,
            lent,
            crowd: crowd.clone(),
        });
        // More sockets than workers: some accept on several, and none is left with connections that nobody takes.
        let door = if lent { Door::Lent } else { Door::Socket };
        for (mail, socket) in self.mail.iter().cycle().zip(sockets) {
            // A worker that is gone accepts nothing.
            let _ = mail
                .send(Mail::Listen {
                    settings: settings.clone(),
                    tls: tls.clone(),
                    door: door(socket),
                    crowd: crowd.clone(),
                })
                .await;
        }
    }
}
