//! One work with one fault: every call answers soon, and once the fault is gone everything acknowledged is there.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use komatik::{Durability, Error, History, Store};

use super::workloads::{Action, Workload};
use crate::damage::copy;
use crate::disk::{self, Call, Fault};
use crate::kill::{check_shared, check_sound};
use crate::load::{Ledger, PASSWORD, Step, thread_folder};

/// A call that takes longer has hung.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// What is told of one that did.
pub const TOO_LONG: &str = "took too long";
/// After so many failures the work ends: each leaves open whether it was done.
const MAX_FAILURES: usize = 4;

/// What fails in which work.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub workload: Workload,
    pub call: Call,
    pub errno: i32,
    pub sticky: bool,
    /// So many calls succeed before.
    pub after: u64,
}

/// A work under way.
struct Work {
    store: Option<Store>,
    path: PathBuf,
    beside: PathBuf,
    ledger: Ledger,
    /// Copies that are said to be whole.
    copies: Vec<PathBuf>,
    failures: Vec<Error>,
}

fn open(path: &Path) -> komatik::Result<Store> {
    Store::builder(path)
        .overlay_bytes(64 * 1024)
        .history(History::of_bytes(64 * 1024))
        .eventual_interval(Duration::from_millis(20))
        .password_cost(komatik::PasswordCost::new(8, 1))
        .open()
}

/// Runs a case; answers whether the fault struck.
pub fn run(case: Case, root: &Path) -> Result<bool, String> {
    disk::watch(root);
    let mut work = Work {
        store: None,
        path: root.join("store"),
        beside: root.join("beside"),
        ledger: Ledger::new(),
        copies: Vec::new(),
        failures: Vec::new(),
    };
    std::fs::create_dir(&work.beside).map_err(|error| error.to_string())?;
    work.prepare(case.workload)?;
    disk::fail(Fault {
        kind: Some(case.call),
        after: case.after,
        sticky: case.sticky,
        errno: case.errno,
    });
    for (number, action) in case.workload.actions().iter().enumerate() {
        if work.failures.len() >= MAX_FAILURES {
            break;
        }
        work.act(number, action)?;
    }
    // A fault that is still there when the store is closed must not hold it up either.
    let store = work.store.take();
    let struck = disk::struck();
    if let Some(struck) = &struck
        && case.call == Call::Read
        && let Some(store) = &store
    {
        check_read_fault(store, struck, &mut work)?;
    }
    timed("closing", || {
        match store {
            Some(store) if case.after.is_multiple_of(2) => drop(store.close()),
            store => drop(store),
        }
        Ok(())
    })?;
    let struck = struck.is_some() || disk::struck().is_some();
    disk::heal();
    let checked = work.check_healed();
    disk::release();
    let failures = &work.failures;
    checked.map_err(|error| format!("{error}; before: {failures:?}"))?;
    Ok(struck)
}

/// Reading is no reason to refuse writes, but for sled, whose reads may write.
fn check_read_fault(store: &Store, struck: &Path, work: &mut Work) -> Result<(), String> {
    disk::heal();
    let step = Step::Save("after a read".to_owned(), 1);
    match work.ledger.perform(&step, store, &work.beside) {
        Err(error) if !struck.iter().any(|part| part == "trees") => Err(format!(
            "a failed read of {} ended the writing: {error:?}",
            struck.display()
        )),
        _ => Ok(()),
    }
}

fn timed<R>(what: &str, call: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    let begun = Instant::now();
    let answer = call()?;
    match begun.elapsed() {
        time if time > CALL_LIMIT => Err(format!("{what} {TOO_LONG}: {time:?}")),
        _ => Ok(answer),
    }
}

impl Work {
    fn prepare(&mut self, workload: Workload) -> Result<(), String> {
        let steps = workload.before();
        if steps.is_empty() {
            return Ok(());
        }
        let failed = |error| format!("before the fault: {error:?}");
        let store = open(&self.path).map_err(failed)?;
        for step in &steps {
            self.ledger
                .perform(step, &store, &self.beside)
                .map_err(failed)?;
        }
        if workload == Workload::Openings {
            // As a kill leaves it, in files to which what is left of this store has no handle.
            let killed = self.path.with_extension("killed");
            let outside = self.beside.parent().unwrap().with_extension("killed");
            disk::freeze();
            copy(&self.path, &outside);
            drop(store);
            disk::heal();
            let failed = |error: std::io::Error| error.to_string();
            std::fs::rename(&self.path, &killed).map_err(failed)?;
            std::fs::rename(&outside, &self.path).map_err(failed)?;
        } else {
            self.store = Some(store);
        }
        Ok(())
    }

    fn act(&mut self, number: usize, action: &Action) -> Result<(), String> {
        let done = timed(&format!("{action:?}"), || Ok(self.perform(number, action)))?;
        if let Err(error) = done {
            if let Error::Damaged { .. } = error {
                return Err(format!(
                    "{action:?} takes a failed call for damage: {error:?}"
                ));
            }
            self.failures.push(error);
        }
        let Some(store) = &self.store else {
            return Ok(());
        };
        let looked = timed("looking", || self.ledger.look(store));
        looked.map_err(|error| format!("behind {action:?}: {error}"))
    }

    fn perform(&mut self, number: usize, action: &Action) -> komatik::Result<()> {
        let store = match self.store.take() {
            Some(store) => store,
            None => open(&self.path)?,
        };
        if let Action::Reopen = action {
            let closed = store.close();
            drop(store);
            self.store = Some(open(&self.path)?);
            return closed;
        }
        let store = self.store.insert(store);
        let durability = match number % 2 {
            0 => Durability::Immediate,
            _ => Durability::Eventual,
        };
        match action {
            Action::Step(step) => {
                let store = store.with_durability(durability);
                self.ledger.perform(step, &store, &self.beside)
            }
            Action::Backup => {
                let copy = self.beside.join(number.to_string());
                store.backup(&copy, |_| ControlFlow::Continue(()))?;
                self.copies.push(copy);
                Ok(())
            }
            Action::Export => {
                let own = store.scoped(&thread_folder(0))?.unlocked_with(PASSWORD);
                own.export(std::io::sink(), |_| ControlFlow::Continue(()))
                    .map(drop)
            }
            Action::Verify => store.verify(|_| ControlFlow::Continue(())).map(drop),
            Action::Reopen => Ok(()),
        }
    }

    /// All is well with the disk again.
    fn check_healed(&mut self) -> Result<(), String> {
        let opened = |when: &str| {
            open(&self.path).map_err(|error| format!("it does not open {when}: {error:?}"))
        };
        let store = opened("again")?;
        self.ledger.check(&store)?;
        check_shared(&store)?;
        check_sound(&store)?;
        let step = Step::Together(99, (77, 10_000));
        let written = self.ledger.perform(&step, &store, &self.beside);
        written.map_err(|error| format!("writing again: {error:?}"))?;
        store
            .close()
            .map_err(|error| format!("closing: {error:?}"))?;
        let store = opened("a second time")?;
        self.ledger.check(&store)?;
        check_sound(&store)?;
        for copy in &self.copies {
            let copy = open(copy).map_err(|error| format!("a copy does not open: {error:?}"))?;
            check_sound(&copy)?;
        }
        Ok(())
    }
}
