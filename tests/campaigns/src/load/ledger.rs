//! What may be in a store when some steps failed: each of those was done or was not.

use std::path::Path;

use komatik::{Error, Store};

use super::content::Model;
use super::script::{PASSWORD, SHARED, Step, thread_folder};
use super::seen::Seen;

/// The entries of one thread as they may be: one of these models.
#[derive(Debug, Clone)]
pub struct Ledger {
    models: Vec<Model>,
}

impl Ledger {
    pub fn new() -> Ledger {
        Ledger {
            models: vec![Model::new()],
        }
    }

    /// Does a step, and notes what may be there now.
    pub fn perform(&mut self, step: &Step, store: &Store, beside: &Path) -> komatik::Result<()> {
        let perform = || {
            let own = store.scoped(&thread_folder(0))?.unlocked_with(PASSWORD);
            step.perform(&own, &store.scoped(SHARED)?, store, beside)
        };
        let performed = perform();
        let before = match performed {
            Ok(_) => Vec::new(),
            Err(_) => self.models.clone(),
        };
        // Of any other error it is open whether the step was done.
        let tells_of_nothing = matches!(performed, Err(Error::NoSpace { .. } | Error::Io { .. }));
        if tells_of_nothing && step.is_one_commit() {
            self.models.clear();
        }
        for model in &mut self.models {
            step.apply(model);
        }
        self.models.extend(before);
        // Not sorted, and few.
        let mut different: Vec<Model> = Vec::new();
        for model in self.models.drain(..) {
            if !different.contains(&model) {
                different.push(model);
            }
        }
        self.models = different;
        performed.map(drop)
    }

    /// Holds what is seen now against what may be there. A read may be refused, and then says nothing.
    pub fn look(&self, store: &Store) -> Result<(), String> {
        match Seen::read(store, 0) {
            Ok(seen) => self.model_of(&seen).map(drop),
            Err(Error::Io { .. } | Error::NoSpace { .. } | Error::Poisoned { .. }) => Ok(()),
            Err(error) => Err(format!("reading: {error:?}")),
        }
    }

    /// Holds what is there against what may be, and then knows which of it is.
    pub fn check(&mut self, store: &Store) -> Result<(), String> {
        let seen = Seen::read(store, 0).map_err(|error| format!("reading: {error:?}"))?;
        self.models = vec![self.model_of(&seen)?];
        Ok(())
    }

    fn model_of(&self, seen: &Seen) -> Result<Model, String> {
        let mut digests = Default::default();
        let mut closest = String::new();
        let found = self.models.iter().rev().find(|model| {
            let difference = seen.difference(model, &mut digests);
            closest = difference.unwrap_or_default();
            closest.is_empty()
        });
        let found = found.cloned();
        found.ok_or_else(|| format!("none of {} models: {closest}", self.models.len()))
    }
}
