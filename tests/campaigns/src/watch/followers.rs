//! Consumers that follow a store by watchers: fast and slow ones, ones that stop and go on from their position, ones of a
//! folder or a scope. What each was told is kept with the place it began at, to be held against the whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use komatik::{Error, Since, Store, Watcher};

use super::log::{Event, Log, Mirror, difference};
use crate::common::Random;

/// How long a follower waits for news.
const PAUSE: Duration = Duration::from_millis(5);

/// How a follower follows.
#[derive(Debug, Clone, Copy)]
pub struct Habit {
    /// The folder that the store is scoped to, `""` or with its closing `/`.
    pub scope: &'static str,
    /// The folder watched in it.
    pub folder: &'static str,
    /// Whether it drops the watcher from time to time and goes on from its position.
    pub hops: bool,
    /// How long it sleeps from time to time.
    pub sleeps: Duration,
}

/// What was told from one place on.
struct Stretch {
    after: u64,
    until: u64,
    log: Log,
}

/// What a follower has got.
pub struct Followed {
    habit: Habit,
    stretches: Vec<Stretch>,
    /// What it made of the changes; of all there is.
    mirror: Option<Mirror>,
    /// How often the history no longer reached back to it.
    pub compacted: u64,
}

impl Habit {
    fn watch(&self, store: &Store, since: Since) -> komatik::Result<Watcher> {
        store.scoped(self.scope)?.watch(self.folder, since)
    }

    fn sees_all(&self) -> bool {
        self.scope.is_empty() && self.folder.is_empty()
    }

    /// Follows until there is nothing more to come.
    pub fn follow(
        self,
        store: &Store,
        is_over: &AtomicBool,
        seed: u64,
    ) -> Result<Followed, String> {
        let mut random = Random::new(seed);
        let mut followed = Followed {
            habit: self,
            stretches: Vec::new(),
            mirror: self.sees_all().then(Mirror::default),
            compacted: 0,
        };
        let mut since = Since::Start;
        loop {
            let watcher = self.watch(store, since).map_err(failed)?;
            let after = watcher.revision();
            let hops_after = if self.hops {
                1 + random.below(400)
            } else {
                usize::MAX
            };
            let mut stretch = Stretch {
                after,
                until: after,
                log: Log::default(),
            };
            let ended = self.read(
                store,
                watcher,
                &mut stretch,
                hops_after,
                is_over,
                &mut random,
            );
            stretch.log.drop_unfinished();
            let until = stretch.until;
            if let Some(mirror) = &mut followed.mirror {
                stretch
                    .log
                    .events()
                    .iter()
                    .for_each(|event| mirror.apply(event));
            }
            followed.stretches.push(stretch);
            match ended? {
                End::Over => return Ok(followed),
                End::Hopped => since = Since::After(until),
                End::Compacted(oldest) if oldest > until + 1 => {
                    followed.compacted += 1;
                    let watcher = self.watch(store, Since::Now).map_err(failed)?;
                    since = Since::After(watcher.revision());
                    if let Some(mirror) = &mut followed.mirror {
                        *mirror = Mirror::of(store).map_err(failed)?;
                    }
                }
                End::Compacted(oldest) => {
                    return Err(format!(
                        "compacted up to {oldest} while it stood at {until}"
                    ));
                }
            }
        }
    }

    fn read(
        &self,
        store: &Store,
        mut watcher: Watcher,
        stretch: &mut Stretch,
        most: usize,
        is_over: &AtomicBool,
        random: &mut Random,
    ) -> Result<End, String> {
        for _ in 0..most {
            if random.below(200) == 0 {
                std::thread::sleep(self.sleeps);
            }
            // Asked before: what comes after the end is not missed.
            let was_over = is_over.load(Ordering::Acquire);
            let before = watcher.revision();
            let change = match random.below(2) {
                0 => watcher.try_recv(),
                _ => watcher.recv_timeout(PAUSE),
            };
            let after = watcher.revision();
            match change {
                Ok(Some(change)) => {
                    let event = Event::from(&change);
                    let is_safe = match event.last {
                        true => after >= event.revision,
                        false => after < event.revision,
                    };
                    if !is_safe || after < before {
                        return Err(format!("at {after} behind {event:?}, before at {before}"));
                    }
                    if store.history().newest < event.revision {
                        return Err(format!("told before it had settled: {event:?}"));
                    }
                    stretch.log.add(event)?;
                }
                Ok(None) if !watcher.caught_up() => {
                    return Err(format!("nothing more at {after}, and not caught up"));
                }
                Ok(None) if was_over => {
                    stretch.until = after;
                    return Ok(End::Over);
                }
                Ok(None) => {}
                Err(Error::Compacted { oldest }) => return Ok(End::Compacted(oldest)),
                Err(error) => return Err(failed(error)),
            }
            stretch.until = after;
        }
        Ok(End::Hopped)
    }
}

enum End {
    Over,
    Hopped,
    Compacted(u64),
}

fn failed(error: Error) -> String {
    format!("a watcher: {error:?}")
}

impl Followed {
    /// Everything, where it was told from the beginning without a gap.
    pub fn whole(&self) -> Result<Log, String> {
        let mut whole = Log::default();
        for stretch in &self.stretches {
            for event in stretch.log.events() {
                whole.add(event.clone())?;
            }
        }
        Ok(whole)
    }

    /// Whether it was told exactly what it had to be, and its mirror is what the store holds.
    pub fn check(&self, whole: &Log, store: &Store) -> Result<(), String> {
        let habit = self.habit;
        let within = match habit.folder {
            "" => habit.scope.to_owned(),
            folder => format!("{}{folder}/", habit.scope),
        };
        for stretch in &self.stretches {
            let expected = whole.seen_from(habit.scope, &within, stretch.after, stretch.until);
            if let Some(difference) = difference(stretch.log.events(), &expected) {
                return Err(format!(
                    "{habit:?}, behind {} to {}: {difference}",
                    stretch.after, stretch.until
                ));
            }
        }
        match &self.mirror {
            Some(mirror) => mirror
                .check(store)
                .map_err(|what| format!("{habit:?}: {what}")),
            None => Ok(()),
        }
    }

    pub fn count(&self) -> u64 {
        let counts = self
            .stretches
            .iter()
            .map(|stretch| stretch.log.events().len());
        counts.sum::<usize>() as u64
    }
}
