//! `/v1/transactions`: several operations in one step, all of them or none.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::asking::Asking;
use super::auth::Caller;
use super::conditions::Unconditional;
use super::documents::{Merging, patch_of};
use super::key::JsonBody;
use super::problem::{Answer, Problem};
use crate::{Error, MergeOptions, Patch, PatchBudget, PutMode, PutOptions, Transaction};

/// How many operations a transaction has at most.
const MOST_OPERATIONS: usize = 10_000;
/// How many bytes of documents it merges into or patches at most, those counted as often as that is done: all writers wait meanwhile.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
/// How many rows it passes in folders that it has itself written or erased, those counted as often as it comes by them.
const MOST_PASSED: u64 = 2_000_000;

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/v1/transactions", post(run))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    operations: Vec<Operation>,
}

/// What must be true of the key that is written.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Overwrite,
    Create,
    /// The entry is at this revision.
    Update(u64),
}

impl Mode {
    /// What moves and copies do by themselves, here as elsewhere.
    fn create() -> Mode {
        Mode::Create
    }
}

impl From<Mode> for PutMode {
    fn from(mode: Mode) -> PutMode {
        match mode {
            Mode::Overwrite => PutMode::Overwrite,
            Mode::Create => PutMode::Create,
            Mode::Update(revision) => PutMode::Update(revision),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    /// Fails unless the entry is at this revision, or not there where none is given.
    Check {
        key: String,
        revision: Option<u64>,
    },
    Save {
        key: String,
        value: Value,
        #[serde(default)]
        mode: Mode,
    },
    Merge {
        key: String,
        value: Value,
        #[serde(default)]
        options: Merging,
        #[serde(default)]
        mode: Mode,
    },
    MergePatch {
        key: String,
        value: Value,
        #[serde(default)]
        mode: Mode,
    },
    Patch {
        key: String,
        patch: Value,
        #[serde(default)]
        mode: Mode,
    },
    /// A blob; its bytes are in base64.
    Put {
        key: String,
        content: String,
        content_type: Option<String>,
        #[serde(default)]
        mode: Mode,
    },
    Delete {
        key: String,
    },
    Move {
        from: String,
        to: String,
        #[serde(default = "Mode::create")]
        mode: Mode,
    },
    Copy {
        from: String,
        to: String,
        #[serde(default = "Mode::create")]
        mode: Mode,
    },
    CreateFolder {
        folder: String,
    },
    DeleteFolder {
        folder: String,
    },
    MoveFolder {
        from: String,
        to: String,
    },
}

/// An operation with everything in it read, so that nothing but the store can refuse it.
enum Ready {
    Patch(String, Patch, PutMode),
    Put(String, Vec<u8>, PutOptions),
    Other(Operation),
}

impl Operation {
    fn ready(self) -> Answer<Ready> {
        Ok(match self {
            Operation::Patch { key, patch, mode } => {
                Ready::Patch(key, patch_of(patch)?, mode.into())
            }
            Operation::Put {
                key,
                content,
                content_type,
                mode,
            } => {
                let bytes = STANDARD
                    .decode(content)
                    .map_err(|_| Problem::bad_request("`content` is no base64"))?;
                let options = PutOptions {
                    content_type,
                    ..PutOptions::new().mode(mode.into())
                };
                Ready::Put(key, bytes, options)
            }
            other => Ready::Other(other),
        })
    }
}

impl Ready {
    /// The size of the document that it changes a part of: all of that is read and written again.
    fn bytes(&self, tx: &mut Transaction<'_>) -> crate::Result<u64> {
        match self {
            Ready::Patch(key, ..)
            | Ready::Other(Operation::Merge { key, .. } | Operation::MergePatch { key, .. }) => {
                Ok(tx.metadata(key)?.map_or(0, |present| present.size))
            }
            Ready::Put(..) | Ready::Other(_) => Ok(0),
        }
    }

    fn run(self, tx: &mut Transaction<'_>, budget: &mut PatchBudget) -> crate::Result<Value> {
        match self {
            Ready::Patch(key, patch, mode) => tx
                .patch_within(&key, &patch, mode, budget)
                .map(|()| json!({})),
            Ready::Put(key, bytes, options) => {
                tx.put_with(&key, bytes, options).map(|()| json!({}))
            }
            Ready::Other(operation) => operation.run(tx),
        }
    }
}

impl Ready {
    /// Asks the locks of all that the operation has to do with.
    fn ask(&self, locks: &mut Asking<'_>) -> crate::Result<()> {
        match self {
            Ready::Patch(key, ..) => locks.all(key),
            Ready::Put(key, ..) => locks.write(key),
            Ready::Other(operation) => operation.ask(locks),
        }
    }
}

impl Operation {
    fn ask(&self, locks: &mut Asking<'_>) -> crate::Result<()> {
        match self {
            Operation::Check { key, .. } => locks.read(key),
            Operation::Merge { key, .. } | Operation::MergePatch { key, .. } => locks.all(key),
            Operation::Save { key, .. } | Operation::Delete { key } => locks.write(key),
            Operation::Copy { from, to, .. } => {
                locks.read(from)?;
                locks.write(to)
            }
            // The lock comes along, and what follows may read it there.
            Operation::Move { from, to, .. } => {
                locks.all(from)?;
                locks.write(to)
            }
            Operation::DeleteFolder { folder: from } | Operation::MoveFolder { from, .. } => {
                locks.below(from)
            }
            // They ask no lock, or are another `Ready`.
            Operation::CreateFolder { .. } | Operation::Patch { .. } | Operation::Put { .. } => {
                Ok(())
            }
        }
    }

    fn run(self, tx: &mut Transaction<'_>) -> crate::Result<Value> {
        match self {
            Operation::Check { key, revision } => check(tx, &key, revision)?,
            Operation::Save { key, value, mode } => {
                tx.save_with(&key, &value, PutOptions::new().mode(mode.into()))?;
            }
            Operation::Merge {
                key,
                value,
                options,
                mode,
            } => tx.merge_with(&key, &value, options.options().mode(mode.into()))?,
            Operation::MergePatch { key, value, mode } => {
                let options = MergeOptions::rfc7396().mode(mode.into());
                tx.merge_with(&key, &value, options)?;
            }
            Operation::Delete { key } => {
                return Ok(json!({"deleted": tx.delete(&key)?}));
            }
            Operation::Move { from, to, mode } => tx.rename(&from, &to, mode.into())?,
            Operation::Copy { from, to, mode } => tx.copy(&from, &to, mode.into())?,
            Operation::CreateFolder { folder } => tx.create_folder(&folder)?,
            Operation::DeleteFolder { folder } => {
                return Ok(json!({"deleted": tx.delete_folder(&folder)?}));
            }
            Operation::MoveFolder { from, to } => {
                return Ok(json!({"moved": tx.rename_folder(&from, &to)?}));
            }
            // They are another `Ready`.
            Operation::Patch { .. } | Operation::Put { .. } => {}
        }
        Ok(json!({}))
    }
}

fn check(tx: &mut Transaction<'_>, key: &str, expected: Option<u64>) -> crate::Result<()> {
    let found = tx.metadata(key)?.map(|present| present.revision);
    match (expected, found) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Error::AlreadyExists {
            key: key.to_owned(),
        }),
        (Some(expected), found) if found == Some(expected) => Ok(()),
        (Some(expected), found) => Err(Error::RevisionMismatch {
            key: key.to_owned(),
            expected,
            found,
        }),
    }
}

async fn run(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    JsonBody(asked): JsonBody<Asked>,
) -> Answer<Json<Value>> {
    if asked.operations.len() > MOST_OPERATIONS {
        return Err(Problem::bad_request(
            "a transaction has at most 10,000 operations",
        ));
    }
    let run = move || run_all(&caller, asked.operations);
    service.calls().run(run).await.map(Json)
}

/// Where one fails, the problem tells which: `operation`, counted from 0.
fn run_all(caller: &Caller, operations: Vec<Operation>) -> Answer<Value> {
    let store = &caller.store;
    let mut at = None;
    let mut ready = Vec::new();
    for (index, operation) in operations.into_iter().enumerate() {
        let operation = operation.ready();
        ready.push(operation.map_err(|problem| problem.with("operation", index))?);
    }
    if let Some(without_passwords) = &caller.without_passwords {
        let mut locks = Asking::of(store, without_passwords);
        for (index, operation) in ready.iter().enumerate() {
            let asked = operation.ask(&mut locks);
            asked.map_err(|error| Problem::from(error).with("operation", index))?;
        }
    }
    let results = store.transaction_with_revision(|tx| {
        let mut results = Vec::new();
        let mut bytes = 0;
        // All writers wait for all the patches together.
        let mut budget = PatchBudget::default();
        for (index, operation) in ready.into_iter().enumerate() {
            at = Some(index);
            bytes += operation.bytes(tx)?;
            if bytes > MOST_BYTES {
                return Err(Error::TooLarge {
                    what: "bytes of the documents that a transaction merges into or patches",
                    limit: MOST_BYTES,
                    found: bytes,
                });
            }
            results.push(operation.run(tx, &mut budget)?);
            if tx.passed_again() > MOST_PASSED {
                return Err(Error::TooLarge {
                    what: "count of rows that a transaction comes by again in folders",
                    limit: MOST_PASSED,
                    found: tx.passed_again(),
                });
            }
        }
        at = None;
        Ok(results)
    });
    match results {
        Ok((results, revision)) => Ok(json!({"results": results, "revision": revision})),
        Err(error) => {
            let problem = Problem::from(error);
            Err(match at {
                Some(index) => problem.with("operation", index),
                // All of them together were refused.
                None => problem,
            })
        }
    }
}
