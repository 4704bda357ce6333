use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::discovery::{Heard, News};

/// A watched file in a directory of its own.
struct Watched {
    dir: TempDir,
    path: PathBuf,
    news: mpsc::Receiver<News>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Long enough that only what the system tells can explain an answer.
const NEVER: Duration = Duration::from_secs(3600);

/// Fails a test that would wait for ever; no result depends on it.
const PATIENCE: Duration = Duration::from_secs(30);

impl Watched {
    /// Watches `name` in a new directory that `prepare` has filled.
    fn start(name: &str, reread: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let path = dir.path().join(name);
        let source = Box::new(File::new(path.clone(), None).reread_every(reread));
        assert_eq!(source.kind(), "file");
        let (out, news) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let out = Observer::new("web".into(), 1, out);
        let running = tokio::spawn(source.run(out, stop.clone()));
        Self {
            dir,
            path,
            news,
            stop,
            running,
        }
    }

    /// Watches `web.yaml`, which holds one endpoint, and has told of it.
    async fn started(reread: Duration) -> Self {
        let mut watched = Self::start("web.yaml", reread, |dir| {
            fs::write(dir.join("web.yaml"), text(1)).unwrap();
        });
        assert_eq!(watched.told().await, "1");
        watched
    }

    async fn heard(&mut self) -> Heard {
        let news = tokio::time::timeout(PATIENCE, self.news.recv());
        news.await.unwrap().unwrap().what
    }

    /// The next news but `Same`: how many endpoints there are, or the fault without the file's name.
    async fn told(&mut self) -> String {
        loop {
            match self.heard().await {
                Heard::Observation(observation) => return observation.len().to_string(),
                Heard::Fault(line) => {
                    return line.replace(self.path.to_str().unwrap(), "PATH");
                }
                Heard::Same => {}
                Heard::Relist(_) => panic!("a file is never relisted (P9)"),
            }
        }
    }

    /// As `told`, but passes over a file found empty: a disk that is busy may take its time between emptying a file and
    /// telling so, and the fault changes nothing.
    async fn told_but_empty(&mut self) -> String {
        loop {
            let told = self.told().await;
            if !told.contains("is empty") {
                return told;
            }
        }
    }

    /// Puts a finished file in place.
    fn rename(&self, text: &str) {
        let new = self.dir.path().join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.path).unwrap();
    }

    async fn stop(mut self) {
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let (outer, inner) = (inode(self.dir.path()), inode(self.path.parent().unwrap()));
        assert!(is_watched(inner));
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.running)
            .await
            .unwrap()
            .unwrap();
        assert!(
            !is_watched(inner) && !is_watched(outer),
            "a watch is left behind"
        );
        while let Some(news) = self.news.recv().await {
            assert!(matches!(news.what, Heard::Same), "{news:?}");
        }
    }
}

/// A file of so many endpoints.
fn text(count: usize) -> String {
    if count == 0 {
        return "endpoints: []\n".into();
    }
    let entries: String = (0..count)
        .map(|port| {
            format!(
                "  - {{ address: 127.0.0.1:{}, id: web-{port} }}\n",
                9000 + port
            )
        })
        .collect();
    format!("endpoints:\n{entries}")
}

/// Whether this process watches the directory with this inode, as the system has it.
fn is_watched(inode: u64) -> bool {
    let needle = format!(" ino:{inode:x} ");
    fs::read_dir("/proc/self/fdinfo").unwrap().any(|entry| {
        // Descriptors of other tests come and go.
        fs::read_to_string(entry.unwrap().path()).is_ok_and(|info| info.contains(&needle))
    })
}

#[tokio::test]
async fn sees_a_rename() {
    let mut watched = Watched::started(NEVER).await;
    for count in [2, 0, 3] {
        watched.rename(&text(count));
        assert_eq!(watched.told().await, count.to_string());
    }
    watched.stop().await;
}

#[tokio::test]
async fn sees_a_write_in_place() {
    let mut watched = Watched::started(NEVER).await;
    for count in [2, 0, 3] {
        fs::write(&watched.path, text(count)).unwrap();
        assert_eq!(watched.told().await, count.to_string());
    }
    watched.stop().await;
}

#[tokio::test]
async fn sees_the_swap_of_a_config_map() {
    let volume = |dir: &Path, version: usize| {
        fs::create_dir(dir.join(format!("..{version}"))).unwrap();
        fs::write(dir.join(format!("..{version}/web.yaml")), text(version)).unwrap();
        symlink(format!("..{version}"), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    let mut watched = Watched::start("web.yaml", NEVER, |dir| {
        volume(dir, 1);
        symlink("..data/web.yaml", dir.join("web.yaml")).unwrap();
    });
    assert_eq!(watched.told().await, "1");
    for version in 2..6 {
        let dir = watched.dir.path();
        volume(dir, version);
        // As the kubelet does it: what nobody points to any more goes.
        fs::remove_dir_all(dir.join(format!("..{}", version - 1))).unwrap();
        assert_eq!(watched.told().await, version.to_string());
    }
    let last = watched.dir.path().join("..5");
    fs::write(last.join("web.yaml"), text(7)).unwrap();
    assert_eq!(watched.told().await, "7");
    let inode = fs::metadata(last).unwrap().ino();
    watched.stop().await;
    assert!(!is_watched(inode));
}

#[tokio::test]
async fn sees_another_directory_behind_a_link() {
    let mut watched = Watched::start("current/web.yaml", NEVER, |dir| {
        fs::create_dir(dir.join("one")).unwrap();
        fs::create_dir(dir.join("two")).unwrap();
        fs::write(dir.join("one/web.yaml"), text(1)).unwrap();
        fs::write(dir.join("two/web.yaml"), text(2)).unwrap();
        symlink("one", dir.join("current")).unwrap();
    });
    assert_eq!(watched.told().await, "1");
    // Not in one step: removed, and made anew.
    fs::remove_file(watched.dir.path().join("current")).unwrap();
    symlink("two", watched.dir.path().join("current")).unwrap();
    assert_eq!(watched.told().await, "2");
    fs::write(watched.dir.path().join("two/web.yaml"), text(3)).unwrap();
    assert_eq!(watched.told().await, "3");
    watched.stop().await;
}

#[tokio::test]
async fn keeps_the_set_when_the_file_goes_and_tells_when_it_is_back() {
    let mut watched = Watched::started(NEVER).await;
    fs::remove_file(&watched.path).unwrap();
    assert_eq!(watched.told().await, "PATH: is not there");
    // The same set as before, told again: the source can be seen.
    watched.rename(&text(1));
    assert_eq!(watched.told().await, "1");
    fs::remove_file(&watched.path).unwrap();
    assert_eq!(watched.told().await, "PATH: is not there");
    fs::write(&watched.path, text(2)).unwrap();
    assert_eq!(watched.told().await, "2");
    watched.stop().await;
}

#[tokio::test]
async fn believes_no_half_of_a_file_while_its_writer_is_at_work() {
    let mut watched = Watched::started(Duration::from_millis(20)).await;
    let whole = text(100);
    // Ends between two endpoints, so that the half is as good a file as the whole.
    let (one, other) = whole.split_at(whole.match_indices("  - ").nth(50).unwrap().0);
    assert!(parse(one, None).is_ok());
    for _ in 0..3 {
        let mut writer = fs::File::create(&watched.path).unwrap();
        writer.write_all(one.as_bytes()).unwrap();
        // The re-read has seen it before this is said.
        assert_eq!(
            watched.told_but_empty().await,
            "PATH: is still open for writing; it is read when its writer closes it"
        );
        writer.write_all(other.as_bytes()).unwrap();
        drop(writer);
        assert_eq!(watched.told().await, "100");
        watched.rename(&text(1));
        assert_eq!(watched.told().await, "1");
    }
    watched.stop().await;
}

#[tokio::test]
async fn believes_only_whole_files_of_a_busy_writer() {
    let mut watched = Watched::started(Duration::from_millis(5)).await;
    let path = watched.path.clone();
    let writer = tokio::task::spawn_blocking(move || {
        for round in 0..200 {
            let whole = text(10 + round % 2);
            let (one, other) = whole.split_at(whole.match_indices("  - ").nth(5).unwrap().0);
            let mut writer = fs::File::create(&path).unwrap();
            writer.write_all(one.as_bytes()).unwrap();
            writer.write_all(other.as_bytes()).unwrap();
        }
        fs::write(&path, text(12)).unwrap();
    });
    loop {
        match watched.told_but_empty().await.as_str() {
            "10" | "11" => {}
            "12" => break,
            // Said of a writer that was slow to be scheduled.
            line if line.contains("still open for writing") => {}
            other => panic!("believed what nobody finished: {other}"),
        }
    }
    writer.await.unwrap();
    watched.stop().await;
}

#[tokio::test]
async fn says_what_is_wrong_in_one_line_and_keeps_looking() {
    let mut watched = Watched::started(NEVER).await;
    for (wrong, said) in [
        (
            &b"endpoints:\n  - { adress: 1.2.3.4:80 }\n"[..],
            "PATH:2:7: adress: is no known key; did you mean address?",
        ),
        (
            b"",
            "PATH:1:1: is empty; an empty set is written `endpoints: []`",
        ),
        (b"\xff", "PATH:1:1: is not UTF-8"),
        (b"endpoints: [\n", "PATH:2:1: is not YAML: "),
        (
            b"\"a\\nb\": 1\n",
            "PATH:1:1: endpoints: is missing (and 1 more)",
        ),
    ] {
        fs::write(&watched.path, wrong).unwrap();
        let line = watched.told().await;
        assert!(line.starts_with(said), "{line}");
        assert!(!line.contains('\n'));
    }
    fs::remove_file(&watched.path).unwrap();
    assert_eq!(watched.told().await, "PATH: is not there");
    fs::create_dir(&watched.path).unwrap();
    assert_eq!(
        watched.told().await,
        "PATH: is a directory, should be a file"
    );
    fs::remove_dir(&watched.path).unwrap();
    assert_eq!(watched.told().await, "PATH: is not there");
    symlink("web.yaml", &watched.path).unwrap();
    assert!(watched.told().await.starts_with("PATH: cannot be read: "));
    watched.rename(&text(1));
    assert_eq!(watched.told().await, "1");
    watched.stop().await;
}

#[tokio::test]
async fn finds_a_directory_that_appears_later() {
    let mut watched = Watched::start("one/two/web.yaml", NEVER, |_| {});
    assert_eq!(watched.told().await, "PATH: is not there");
    // Made in place, a step after the other.
    fs::create_dir_all(watched.dir.path().join("one/two")).unwrap();
    fs::write(&watched.path, text(1)).unwrap();
    assert_eq!(watched.told().await, "1");
    fs::write(&watched.path, text(2)).unwrap();
    assert_eq!(watched.told().await, "2");
    // Gone, and renamed into place.
    fs::remove_dir_all(watched.dir.path().join("one")).unwrap();
    assert_eq!(watched.told().await, "PATH: is not there");
    fs::create_dir_all(watched.dir.path().join("new/two")).unwrap();
    fs::write(watched.dir.path().join("new/two/web.yaml"), text(3)).unwrap();
    fs::rename(
        watched.dir.path().join("new"),
        watched.dir.path().join("one"),
    )
    .unwrap();
    assert_eq!(watched.told().await, "3");
    watched.rename(&text(4));
    assert_eq!(watched.told().await, "4");
    watched.stop().await;
}

#[tokio::test]
async fn finds_a_directory_that_another_took_the_place_of() {
    let mut watched = Watched::start("here/web.yaml", NEVER, |dir| {
        fs::create_dir(dir.join("here")).unwrap();
        fs::write(dir.join("here/web.yaml"), text(1)).unwrap();
    });
    assert_eq!(watched.told().await, "1");
    let dir = watched.dir.path().to_owned();
    // The directory's own name is no link and is not watched; that it left is.
    fs::rename(dir.join("here"), dir.join("gone")).unwrap();
    assert_eq!(watched.told().await, "PATH: is not there");
    fs::create_dir(dir.join("new")).unwrap();
    fs::write(dir.join("new/web.yaml"), text(2)).unwrap();
    fs::rename(dir.join("new"), dir.join("here")).unwrap();
    assert_eq!(watched.told().await, "2");
    fs::write(&watched.path, text(3)).unwrap();
    assert_eq!(watched.told().await, "3");
    let inode = fs::metadata(dir.join("gone")).unwrap().ino();
    assert!(!is_watched(inode), "the one that left is still watched");
    watched.stop().await;
}

#[tokio::test]
async fn reads_again_what_nobody_tells_of() {
    let mut watched = Watched::started(Duration::from_millis(10)).await;
    assert!(matches!(watched.heard().await, Heard::Same));
    assert!(matches!(watched.heard().await, Heard::Same));
    // Through another name in another directory, of which the watched one hears nothing.
    let elsewhere = tempfile::tempdir_in(watched.dir.path()).unwrap();
    let name = elsewhere.path().join("name");
    fs::hard_link(&watched.path, &name).unwrap();
    fs::write(&name, text(2)).unwrap();
    assert_eq!(watched.told().await, "2");
    assert!(matches!(watched.heard().await, Heard::Same));
    watched.stop().await;
}

#[tokio::test]
async fn is_not_disturbed_by_its_neighbours() {
    let mut watched = Watched::started(NEVER).await;
    for number in 0..1000 {
        fs::write(
            watched.dir.path().join(number.to_string()),
            "endpoints: []\n",
        )
        .unwrap();
    }
    watched.rename(&text(2));
    assert_eq!(watched.told().await, "2");
    watched.stop().await;
}

#[tokio::test]
async fn stops_while_the_writer_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let (out, _news) = mpsc::channel(1);
    let observer = Observer::new("web".into(), 1, out);
    observer.tell(Heard::Same).await;
    let stop = CancellationToken::new();
    let source = Box::new(File::new(dir.path().join("web.yaml"), None));
    let running = tokio::spawn(source.run(observer, stop.clone()));
    stop.cancel();
    tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap();
    let inode = fs::metadata(dir.path()).unwrap().ino();
    assert!(!is_watched(inode));
}

/// Looks until something is told, or nothing more is to come.
fn look(eye: &mut Eye, mut stir: Stir) -> Option<String> {
    loop {
        let look = eye.look(stir);
        match look.heard {
            Some(Heard::Observation(observation)) => {
                return Some(observation.len().to_string());
            }
            Some(Heard::Same) => return Some("same".into()),
            Some(Heard::Fault(line)) => return Some(line),
            Some(Heard::Relist(_)) => panic!("a file is never relisted (P9)"),
            None if look.stir.is_none() && look.wait == NEVER => return None,
            None => stir = look.stir.unwrap_or(Stir::Maybe),
        }
    }
}

fn eye(path: &Path) -> Eye {
    File::new(path.into(), None).reread_every(NEVER).eye()
}

#[test]
fn tells_a_fault_once_until_something_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yaml");
    let mut eye = eye(&path);
    let missing = format!("{}: is not there", path.display());
    assert_eq!(look(&mut eye, Stir::Whole), Some(missing.clone()));
    assert_eq!(look(&mut eye, Stir::Whole), None);
    assert_eq!(look(&mut eye, Stir::Maybe), None);
    fs::write(&path, "").unwrap();
    let empty = look(&mut eye, Stir::Whole).unwrap();
    assert!(empty.contains("is empty"), "{empty}");
    assert_eq!(look(&mut eye, Stir::Whole), None);
    fs::write(&path, "# still nothing\n").unwrap();
    assert_eq!(look(&mut eye, Stir::Whole), None);
    fs::write(&path, text(1)).unwrap();
    assert_eq!(look(&mut eye, Stir::Whole), Some("1".into()));
    assert_eq!(look(&mut eye, Stir::Whole), Some("same".into()));
    fs::write(&path, "").unwrap();
    assert_eq!(look(&mut eye, Stir::Whole), Some(empty));
    fs::write(&path, text(1)).unwrap();
    assert_eq!(look(&mut eye, Stir::Whole), Some("1".into()));
    fs::remove_file(&path).unwrap();
    assert_eq!(look(&mut eye, Stir::Whole), Some(missing));
}

#[test]
fn gives_a_glimpse_a_moment_to_prove_itself() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir_in(dir.path()).unwrap();
    let path = dir.path().join("web.yaml");
    fs::write(&path, text(1)).unwrap();
    let unseen = other.path().join("name");
    fs::hard_link(&path, &unseen).unwrap();
    let mut eye = eye(&path);
    assert_eq!(look(&mut eye, Stir::Whole), Some("1".into()));
    for count in 2..100 {
        fs::write(&unseen, text(count)).unwrap();
        let look = eye.look(Stir::Maybe);
        assert!(look.heard.is_none(), "believed while it changed");
        assert!(look.wait <= Duration::from_millis(50));
    }
    let still = tokio::time::Instant::now();
    assert_eq!(look(&mut eye, Stir::Maybe), Some("99".into()));
    assert!(still.elapsed() >= Duration::from_millis(40));
}

#[test]
fn finds_what_the_queue_was_too_short_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yaml");
    fs::write(&path, text(1)).unwrap();
    let mut eye = eye(&path);
    assert_eq!(look(&mut eye, Stir::Whole), Some("1".into()));
    for number in 0..1000 {
        fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    let new = dir.path().join(".new");
    fs::write(&new, text(2)).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(look(&mut eye, Stir::Maybe), Some("2".into()));
}

#[test]
fn hears_for_sure_what_happened_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yaml");
    let mut watch = Watch::new(path.clone());
    watch.set();
    for round in 0..500 {
        let known = watch.writes();
        let mut writer = fs::File::create(&path).unwrap();
        writer.write_all(b"endpoints: []\n").unwrap();
        if !watch.catch_up() {
            // The machine is too busy to be sure of anything.
            drop(writer);
            watch.set();
            continue;
        }
        // What made the file is a reason to look, what is written to it is none before it is closed.
        let made = (round == 0).then_some(Stir::Maybe);
        assert_eq!(watch.heard(), made);
        assert!(watch.written_since().is_some() && watch.writes() > known);
        drop(writer);
        if watch.catch_up() {
            assert_eq!(watch.heard(), Some(Stir::Whole));
            assert!(watch.written_since().is_none());
        } else {
            watch.set();
        }
    }
}

#[tokio::test]
async fn watches_a_directory_that_is_made_anew() {
    let mut watched = Watched::start("here/web.yaml", NEVER, |dir| {
        fs::create_dir(dir.join("here")).unwrap();
        fs::write(dir.join("here/web.yaml"), text(1)).unwrap();
    });
    assert_eq!(watched.told().await, "1");
    let here = watched.path.parent().unwrap().to_owned();
    for count in 2..12 {
        // In one step as far as the source can see, and as often as not with the inode of the one before.
        fs::remove_dir_all(&here).unwrap();
        fs::create_dir(&here).unwrap();
        fs::write(&watched.path, text(count)).unwrap();
        assert_eq!(watched.told().await, count.to_string());
        fs::write(&watched.path, text(count + 100)).unwrap();
        assert_eq!(watched.told().await, (count + 100).to_string());
    }
    watched.stop().await;
}

#[test]
fn goes_on_without_a_watch() {
    // No path at all: there is no directory that could be watched.
    let mut eye = eye(Path::new(""));
    assert_eq!(look(&mut eye, Stir::Whole), Some(": is not there".into()));
    assert_eq!(look(&mut eye, Stir::Maybe), None);
}

#[test]
fn checks_a_file_and_says_all_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yaml");
    let at = path.display();
    assert_eq!(check(&path, None), Err(vec![format!("{at}: is not there")]));
    fs::write(&path, "endpoints: [{ id: a }]\nmore: 1\n").unwrap();
    assert_eq!(
        check(&path, None),
        Err(vec![
            format!("{at}:1:13: address: is missing"),
            format!("{at}:2:1: more: is no known key; known here: endpoints"),
        ])
    );
    fs::write(&path, text(3)).unwrap();
    assert_eq!(check(&path, None).unwrap().len(), 3);
}
