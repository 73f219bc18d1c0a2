//! Who runs which slice of a campaign: elements of a job on many machines share them out through a folder, without a daemon
//! and without a port.
//!
//! ```text
//! DIR/NAME.part-0007-of-0064.sqlite     the results of a slice, replaced as a whole now and then
//! DIR/slices/0007-of-0064.json          who runs it; written again every half a minute
//! ```
//!
//! A slice is taken by making its file, which one of many can; the file system sees to that with a hard link, which is
//! atomic on NFS, Lustre and GPFS alike, where locks may mean nothing. One whose owner has left it, or has not been heard
//! of for [`STALE`], is taken over.
//!
//! Invariant: **nothing depends on who runs a slice, or on its being run once**: its results are the same, and a file is
//! replaced as a whole.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::campaign::Shard;
use crate::files::{private_folder_in, remove_file, write_atomically};
use crate::pack::error::{PackError, io_error};

/// How often an owner is to be heard of.
pub const BEAT: Duration = Duration::from_secs(30);

/// After so long without a word a slice is free again.
pub const STALE: Duration = Duration::from_secs(300);

/// How a slice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is being run.
    Running,
    /// Its owner ended before it was done.
    Left,
    /// All its trials have a result.
    Done,
}

/// Who runs a slice, and how it stands: what its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Look {
    /// Which part of the plan.
    pub shard: Shard,
    /// The campaign, by its seal.
    pub seal: String,
    /// Which element of which job.
    pub element: String,
    /// One process of it; another one of the same element has another.
    pub token: String,
    /// Its machine.
    pub host: String,
    /// How it stands.
    pub state: State,
    /// How many results there are.
    pub done: u64,
    /// How many there will be.
    pub trials: u64,
}

/// A slice that was seen in a folder.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What its file says.
    pub look: Look,
    /// How long ago that was written, by the clock of its file system.
    pub ago: Duration,
}

impl Seen {
    /// Whether its owner has gone without a word.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.look.state == State::Running && self.ago > STALE
    }
}

/// The slices of a campaign in a folder that all elements see.
#[derive(Clone, Debug)]
pub struct Slices {
    folder: PathBuf,
    name: String,
    seal: String,
    element: String,
    host: String,
    token: String,
    /// What an earlier process of this element had begun when this one came, and the token of that process.
    begun: Vec<(Shard, String)>,
}

/// A slice that is this process's to run.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which part of the plan.
    pub shard: Shard,
}

/// What can be taken.
#[derive(Clone, Debug)]
pub enum Taken {
    /// A slice, which another may have begun.
    Slice(Claim),
    /// Nothing: of those that are not done, so many are being run by others.
    Nothing(u64),
}

impl Slices {
    /// Of a campaign by its name and its seal, for an element of a job on a machine. The folder is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or read, or is of another campaign.
    pub fn join(
        folder: &Path,
        name: &str,
        seal: &str,
        element: &str,
        host: &str,
    ) -> Result<Slices, PackError> {
        let claims = folder.join(CLAIMS);
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&claims);
        made.map_err(io_error("make", &claims))?;
        let seen = seen(folder)?;
        if let Some(other) = seen.iter().find(|seen| seen.look.seal != seal) {
            let found = format!("seal {}", &other.look.seal.get(..16).unwrap_or(&other.look.seal));
            return Err(PackError::OtherCampaign { folder: folder.to_owned(), found });
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let token = format!("{host}-{}-{}", std::process::id(), now.as_nanos());
        check(folder)?;
        let [name, seal, element, host] = [name, seal, element, host].map(str::to_owned);
        let mut slices =
            Slices { folder: folder.to_owned(), name, seal, element, host, token, begun: Vec::new() };
        let begun = seen.into_iter().filter(|seen| slices.had(seen) && seen.look.state != State::Done);
        slices.begun = begun.map(|seen| (seen.look.shard, seen.look.token)).collect();
        Ok(slices)
    }

    /// Where the results of a slice come together.
    #[must_use]
    pub fn part(&self, shard: Shard) -> PathBuf {
        self.folder.join(format!("{}.part-{}.sqlite", self.name, written(shard)))
    }

    /// Takes the next of so many slices, from the one with the number `first` on: what an earlier process of this element
    /// has begun, what was never begun, what was left, what has not been heard of.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn take(&self, count: u64, first: u64) -> Result<Taken, PackError> {
        let all = (0..count).filter_map(|at| Shard::of((first % count.max(1) + at) % count, count));
        let all: Vec<Shard> = all.collect();
        check(&self.folder)?;
        for (shard, token) in self.begun.iter().filter(|(shard, _)| shard.count() == count) {
            if self.claim(*shard, Some(token))? {
                return Ok(Taken::Slice(Claim { shard: *shard }));
            }
        }
        // As long as there are some that nobody has begun, no file of the thousands that a folder may have is read.
        let names = self.names()?;
        for shard in all.iter().copied().filter(|shard| !names.contains(self.file(*shard).as_path())) {
            if self.claim(shard, None)? {
                return Ok(Taken::Slice(Claim { shard }));
            }
        }
        let seen: HashMap<Shard, Seen> =
            seen(&self.folder)?.into_iter().map(|seen| (seen.look.shard, seen)).collect();
        let left = |seen: &Seen| seen.look.state == State::Left || self.had(seen);
        let ways: [&dyn Fn(&Seen) -> bool; 2] = [&left, &Seen::is_stale];
        for is_to_be_taken in ways {
            for (shard, seen) in all.iter().filter_map(|shard| Some((*shard, seen.get(shard)?))) {
                let is_open = seen.look.state != State::Done && is_to_be_taken(seen);
                if is_open && self.claim(shard, Some(&seen.look.token))? {
                    return Ok(Taken::Slice(Claim { shard }));
                }
            }
        }
        let busy = |shard: &&Shard| seen.get(shard).is_none_or(|seen| seen.look.state != State::Done);
        Ok(Taken::Nothing(all.iter().filter(busy).count() as u64))
    }

    /// The files of all slices that were begun.
    fn names(&self) -> Result<HashSet<PathBuf>, PackError> {
        let claims = self.folder.join(CLAIMS);
        let entries = fs::read_dir(&claims).map_err(io_error("read", &claims))?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(io_error("read", &claims))).collect()
    }

    /// Takes a slice from the process that had it, or one that was no one's; whether it is ours now.
    fn claim(&self, shard: Shard, from: Option<&String>) -> Result<bool, PackError> {
        let path = self.file(shard);
        let before = self.folder.join(CLAIMS).join(format!(".{}-{}", written(shard), self.token));
        if let Some(from) = from {
            // What cannot be read is being replaced by its owner.
            if !read(&path).is_some_and(|look| look.token == *from && look.state != State::Done) {
                return Ok(false);
            }
            // One of those that take it over gets the file away.
            match fs::rename(&path, &before) {
                Ok(()) => remove_file(&before).map_err(io_error("remove", &before))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(io_error("take", &path)(error)),
            }
        }
        self.write(&before, shard, State::Running, 0, 0)?;
        let made = fs::hard_link(&before, &path);
        remove_file(&before).map_err(io_error("remove", &before))?;
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(io_error("take", &path)(error)),
        }
    }

    /// Says how a slice stands; whether it still is ours.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn say(&self, claim: &Claim, state: State, done: u64, trials: u64) -> Result<bool, PackError> {
        if !self.is_ours(claim) {
            return Ok(false);
        }
        self.write(&self.file(claim.shard), claim.shard, state, done, trials)?;
        Ok(true)
    }

    /// Notes that an audit failed: what others have settled is not to be believed either.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn condemn(&self, why: &str) -> Result<(), PackError> {
        let path = self.folder.join(CLAIMS).join(CONDEMNED);
        let text = format!("{} on {}: {why}\n", self.element, self.host);
        write_atomically(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Says that a slice is being run, as it was said before; whether it still is ours.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn beat(&self, claim: &Claim) -> Result<bool, PackError> {
        let Some(look) = read(&self.file(claim.shard)) else { return Ok(false) };
        self.say(claim, State::Running, look.done, look.trials)
    }

    /// Takes this slice and no other, unless it is done or being run.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn take_this(&self, shard: Shard) -> Result<Taken, PackError> {
        let seen = seen(&self.folder)?.into_iter().find(|seen| seen.look.shard == shard);
        let from = match &seen {
            Some(seen) if seen.look.state == State::Done => return Ok(Taken::Nothing(0)),
            Some(seen) if !self.is_free(seen) => return Ok(Taken::Nothing(1)),
            seen => seen.as_ref().map(|seen| &seen.look.token),
        };
        Ok(if self.claim(shard, from)? { Taken::Slice(Claim { shard }) } else { Taken::Nothing(1) })
    }

    /// Whether a slice that is not done may be taken over.
    fn is_free(&self, seen: &Seen) -> bool {
        self.had(seen) || seen.look.state == State::Left || seen.is_stale()
    }

    /// Whether an earlier process of this element had it.
    fn had(&self, seen: &Seen) -> bool {
        seen.look.element == self.element && seen.look.element != ALONE && seen.look.token != self.token
    }

    /// Whether a slice has not been taken over by another.
    #[must_use]
    pub fn is_ours(&self, claim: &Claim) -> bool {
        read(&self.file(claim.shard)).is_some_and(|look| look.token == self.token)
    }

    fn write(
        &self,
        path: &Path,
        shard: Shard,
        state: State,
        done: u64,
        trials: u64,
    ) -> Result<(), PackError> {
        let [seal, element, host, token] =
            [&self.seal, &self.element, &self.host, &self.token].map(String::clone);
        let look = Look { shard, seal, element, token, host, state, done, trials };
        let text = serde_json::to_vec(&look).expect("a slice has only text keys");
        write_atomically(path, &text).map_err(io_error("write", path))
    }

    fn file(&self, shard: Shard) -> PathBuf {
        self.folder.join(CLAIMS).join(format!("{}.json", written(shard)))
    }
}

/// The element of a process that is in no job: two of that name are not the same.
pub const ALONE: &str = "alone";

/// The folder in the folder.
const CLAIMS: &str = "slices";

/// In it, once an audit failed.
const CONDEMNED: &str = "audit-failed.txt";

/// Refuses a folder in which an audit failed.
///
/// # Errors
/// [`PackError::Condemned`].
pub fn check(folder: &Path) -> Result<(), PackError> {
    match crate::files::read_plain(&folder.join(CLAIMS).join(CONDEMNED)) {
        Ok(why) => {
            let why = String::from_utf8_lossy(&why).trim().to_owned();
            Err(PackError::Condemned { folder: folder.to_owned(), why })
        }
        Err(_) => Ok(()),
    }
}

/// `0007-of-0064`.
fn written(shard: Shard) -> String {
    format!("{:04}-of-{:04}", shard.index() + 1, shard.count())
}

fn read(path: &Path) -> Option<Look> {
    serde_json::from_slice(&crate::files::read_plain(path).ok()?).ok()
}

/// All slices that were begun in a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn seen(folder: &Path) -> Result<Vec<Seen>, PackError> {
    let claims = folder.join(CLAIMS);
    let error = io_error("read", &claims);
    let now = now_there(&claims);
    let mut all = Vec::new();
    for entry in fs::read_dir(&claims).map_err(&error)? {
        let entry = entry.map_err(&error)?;
        let is_one = entry.file_name().to_str().is_some_and(|name| {
            !name.starts_with('.') && Path::new(name).extension().is_some_and(|ending| ending == "json")
        });
        if !is_one {
            continue;
        }
        // What is being replaced just now is read the next time.
        let Some(look) = read(&entry.path()) else { continue };
        let written = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(now);
        all.push(Seen { look, ago: now.duration_since(written).unwrap_or_default() });
    }
    all.sort_by_key(|seen| (seen.look.shard.count(), seen.look.shard.index()));
    Ok(all)
}

/// The time by the clock that files in a folder get theirs from, which may be another machine's.
fn now_there(folder: &Path) -> SystemTime {
    let probe = private_folder_in(folder);
    let there = probe.ok().and_then(|probe| probe.path().metadata().ok()?.modified().ok());
    there.unwrap_or_else(SystemTime::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(folder: &Path, element: &str) -> Slices {
        Slices::join(folder, "c", "5ea1", element, "n1").unwrap()
    }

    fn take(slices: &Slices, first: u64) -> Option<u64> {
        match slices.take(3, first).unwrap() {
            Taken::Slice(claim) => Some(claim.shard.index()),
            Taken::Nothing(_) => None,
        }
    }

    #[test]
    fn each_slice_is_taken_once_by_whoever_comes_first_and_from_where_it_is_to_begin() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (join(folder.path(), "7_1"), join(folder.path(), "7_2"));
        assert_eq!(one.part(Shard::of(0, 3).unwrap()).file_name().unwrap(), "c.part-0001-of-0003.sqlite");
        assert_eq!(
            (take(&one, 0), take(&two, 2), take(&two, 2), take(&one, 1)),
            (Some(0), Some(2), Some(1), None)
        );
        assert!(matches!(one.take(3, 0).unwrap(), Taken::Nothing(3)));
        let first = Claim { shard: Shard::of(0, 3).unwrap() };
        assert!(one.say(&first, State::Done, 5, 5).unwrap());
        assert!(!two.say(&first, State::Done, 5, 5).unwrap(), "it is the other's");
        assert!(matches!(one.take(3, 0).unwrap(), Taken::Nothing(2)));
        let seen = seen(folder.path()).unwrap();
        let states: Vec<_> = seen.iter().map(|seen| (seen.look.state, seen.look.element.as_str())).collect();
        assert_eq!(states, [(State::Done, "7_1"), (State::Running, "7_2"), (State::Running, "7_2")]);
        let names = fs::read_dir(folder.path().join(CLAIMS)).unwrap().count();
        assert_eq!(names, 3, "nothing else is left in the folder");
    }

    #[test]
    fn what_was_left_what_is_stale_and_what_an_earlier_process_of_the_element_had_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let first = join(folder.path(), "7_1");
        for _ in 0..3 {
            take(&first, 0).unwrap();
        }
        let claim = |index| Claim { shard: Shard::of(index, 3).unwrap() };
        let other = join(folder.path(), "7_2");
        assert_eq!(take(&other, 0), None);
        first.say(&claim(1), State::Left, 2, 5).unwrap();
        assert_eq!(take(&other, 0), Some(1));
        assert!(!first.is_ours(&claim(1)) && other.is_ours(&claim(1)));
        // Not heard of for so long.
        let file = fs::File::options().write(true).open(first.file(claim(2).shard)).unwrap();
        file.set_modified(SystemTime::now() - STALE - Duration::from_secs(5)).unwrap();
        assert!(seen(folder.path()).unwrap()[2].is_stale());
        assert_eq!(take(&other, 0), Some(2));
        // Requeued: it goes on with what it had, and with that alone. What was done meanwhile stays so.
        let late = join(folder.path(), "7_2");
        assert!(other.say(&claim(1), State::Done, 5, 5).unwrap());
        assert_eq!((take(&late, 0), seen(folder.path()).unwrap()[1].look.state), (Some(2), State::Done));
        let again = join(folder.path(), "7_1");
        assert_eq!((take(&again, 2), take(&again, 2)), (Some(0), None));
        assert!(!first.say(&claim(0), State::Done, 5, 5).unwrap(), "what it was is given up");
    }

    #[test]
    fn of_many_that_take_at_once_each_gets_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let taken: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let slices = join(folder.path(), &format!("7_{number}"));
                    scope.spawn(move || {
                        let mut own = Vec::new();
                        while let Taken::Slice(claim) = slices.take(40, number * 5).unwrap() {
                            own.push(claim.shard.index());
                        }
                        own
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn once_an_audit_failed_nothing_more_is_taken_and_nothing_is_joined() {
        let folder = tempfile::tempdir().unwrap();
        let slices = join(folder.path(), "7_1");
        check(folder.path()).unwrap();
        slices.condemn("the audit of trial 5 failed").unwrap();
        for said in [slices.take(3, 0).map(drop), check(folder.path())] {
            let said = said.unwrap_err().to_string();
            assert!(said.contains("7_1 on n1: the audit of trial 5") && said.contains("--whole"), "{said}");
        }
        assert_eq!(seen(folder.path()).unwrap().len(), 0);
    }

    #[test]
    fn a_folder_of_another_campaign_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        take(&join(folder.path(), "7_1"), 0).unwrap();
        let other = Slices::join(folder.path(), "c", "other", "7_1", "n1");
        assert!(matches!(other, Err(PackError::OtherCampaign { .. })));
    }
}
