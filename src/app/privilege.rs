//! Who this process is, and what it may: as little as it can.
//!
//! Started as root it opens its sockets and becomes somebody else (`user:`), before there is a worker. What it reads later
//! — the config, endpoints, certificates — that user has to be able to read, and ports below 1024 are closed to it.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use nix::unistd::{Gid, Group, Uid, User, geteuid, getuid, initgroups, setgid, setgroups, setuid};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use tracing::info;

use crate::admin::{Owners, SocketFile};

/// Nothing that this process starts gets more than it has itself, and its memory, with keys in it, is written to no file and
/// shown to no other process of its user. For the first thread, while there is no other. Returns what could not be had.
#[must_use]
pub fn harden() -> Vec<String> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let done = [
        ("no_new_privs", set_no_new_privs(true)),
        ("the limit of core dumps", setrlimit(Resource::Core, none)),
        (
            "dumpable",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
    ];
    let failed = |(what, done): (&str, rustix::io::Result<()>)| {
        let error = done.err()?;
        Some(format!("cannot set {what}: {error}"))
    };
    done.into_iter().filter_map(failed).collect()
}

/// Whose the admin side's socket is to be, where the config says so.
///
/// # Errors
/// When there is no such user or group.
pub(super) fn owners(file: &SocketFile) -> anyhow::Result<Owners> {
    let user = |name: &String| {
        let found = User::from_name(name)?.map(|user| user.uid.as_raw());
        let number = name.parse().ok().or(found);
        number.with_context(|| format!("socket: there is no user {name} on this machine"))
    };
    let group = |name: &String| {
        let found = Group::from_name(name)?.map(|group| group.gid.as_raw());
        let number = name.parse().ok().or(found);
        number.with_context(|| format!("socket: there is no group {name} on this machine"))
    };
    Ok(Owners {
        user: file.owner.as_ref().map(user).transpose()?,
        group: file.group.as_ref().map(group).transpose()?,
    })
}

/// Somebody to become.
#[derive(Debug)]
pub(super) struct Identity {
    uid: Uid,
    gid: Gid,
    /// None: no groups but the one.
    name: Option<CString>,
}

impl Identity {
    /// The user of a config, by name or number. None when this process is that user already.
    ///
    /// # Errors
    /// When there is no such user, or this process may not become another.
    pub(super) fn of(user: &str) -> anyhow::Result<Option<Self>> {
        let identity = Self::find(user).with_context(|| format!("user {user}"))?;
        let own = geteuid();
        if own == identity.uid && getuid() == identity.uid {
            return Ok(None);
        }
        ensure!(
            own.is_root(),
            "user {user}: only root can become another user, and this process is uid {own}; start it as root, or as {user} with `user: null`"
        );
        Ok(Some(identity))
    }

    fn find(user: &str) -> anyhow::Result<Self> {
        let number = user.parse().ok().map(Uid::from_raw);
        let known = match number {
            Some(uid) => User::from_uid(uid)?,
            None => User::from_name(user)?,
        };
        match (known, number) {
            (Some(known), _) => Ok(Self {
                uid: known.uid,
                gid: known.gid,
                name: Some(CString::new(known.name)?),
            }),
            // In a container a number often has no name.
            (None, Some(uid)) => Ok(Self {
                uid,
                gid: Gid::from_raw(uid.as_raw()),
                name: None,
            }),
            (None, None) => bail!("there is no such user on this machine"),
        }
    }

    /// Gives a directory to that user.
    pub(super) fn own(&self, dir: &Path) -> anyhow::Result<()> {
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        std::os::unix::fs::chown(dir, Some(uid), Some(gid))
            .with_context(|| format!("{} cannot be given to uid {uid}", dir.display()))
    }

    /// Becomes that user, with all threads and for good: groups first, since afterwards that may not be.
    pub(super) fn assume(&self) -> anyhow::Result<()> {
        match &self.name {
            Some(name) => initgroups(name, self.gid),
            None => setgroups(&[]),
        }
        .context("the supplementary groups cannot be set")?;
        setgid(self.gid).context("the group cannot be set")?;
        setuid(self.uid).context("the user cannot be set")?;
        ensure!(
            self.uid.is_root() || setuid(Uid::from_raw(0)).is_err(),
            "root can be had back, which should not be"
        );
        info!(
            uid = self.uid.as_raw(),
            gid = self.gid.as_raw(),
            "became another user"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_users_by_name_and_number_and_nobody_else() {
        let root = Identity::find("root").unwrap();
        assert!(root.uid.is_root() && root.name.is_some());
        assert!(Identity::find("0").unwrap().uid.is_root());
        let number = Identity::find("3999999999").unwrap();
        assert_eq!(number.gid.as_raw(), 3_999_999_999);
        assert!(number.name.is_none());
        let error = Identity::of("no-such-user").unwrap_err();
        assert!(format!("{error:#}").contains("no such user"));
    }

    #[test]
    fn knows_whose_a_socket_is_to_be() {
        let of = |owner: &str, group: &str| {
            owners(&SocketFile {
                owner: Some(owner.into()),
                group: Some(group.into()),
                ..SocketFile::default()
            })
        };
        let root = of("root", "7").unwrap();
        assert_eq!((root.user, root.group), (Some(0), Some(7)));
        let error = of("no-such-user", "root").unwrap_err().to_string();
        assert!(error.contains("there is no user no-such-user"), "{error}");
        let error = of("root", "no-such-group").unwrap_err().to_string();
        assert!(error.contains("there is no group no-such-group"), "{error}");
    }

    #[test]
    fn is_itself_without_doing_anything() {
        assert!(Identity::of(&getuid().to_string()).unwrap().is_none());
    }
}
