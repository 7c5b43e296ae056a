//! What a store is busy with when a call fails: short works that between them make every kind of call for every purpose.

use clap::ValueEnum;

use crate::load::Step;

/// A work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// From the creation of the store on.
    Documents,
    Blobs,
    Transactions,
    /// Space that is to come back.
    Space,
    /// Copies and archives.
    Copies,
    /// Opening after a kill, after that in good order.
    Openings,
}

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Action {
    Step(Step),
    Backup,
    Export,
    Verify,
    /// Closes the store and opens it again.
    Reopen,
}

fn put(key: &str, size: usize) -> Step {
    Step::Put(key.to_owned(), (size as u64, size))
}

fn append(key: &str, size: usize) -> Step {
    Step::Append(key.to_owned(), (size as u64 + 1, size))
}

fn save(key: &str, number: u64) -> Step {
    Step::Save(key.to_owned(), number)
}

fn merge(key: &str, number: u64) -> Step {
    Step::Merge(key.to_owned(), number)
}

fn delete(key: &str) -> Step {
    Step::Delete(key.to_owned())
}

fn rename(from: &str, to: &str) -> Step {
    Step::Rename(from.to_owned(), to.to_owned())
}

fn copy(from: &str, to: &str) -> Step {
    Step::Copy(from.to_owned(), to.to_owned())
}

impl Workload {
    /// What is there before; the store does not exist where that is nothing.
    pub fn before(self) -> Vec<Step> {
        match self {
            Workload::Documents => vec![],
            Workload::Blobs => vec![put("old", 200_000), put("small", 3_000)],
            Workload::Transactions => vec![
                put("in/blob0", 70_000),
                put("in/blob1", 2_000),
                put("blob2", 5_000),
                Step::Together(1, (5, 40_000)),
            ],
            Workload::Space => {
                let blobs = (0..6).map(|number| put(&format!("blob{number}"), 150_000 + number));
                blobs.chain([save("document", 1050)]).collect()
            }
            Workload::Copies => vec![
                put("blob0", 150_000),
                put("in/blob1", 4_000),
                save("document0", 1_999),
                save("document1", 60_050),
                Step::Lock("document1".to_owned()),
            ],
            // First so much that the journal no longer holds the beginning: what the trees lose is lost.
            Workload::Openings => (0..64)
                .map(|number| put(&format!("old{number}"), 3_900 + number))
                .chain([Step::Compact])
                .chain([
                    save("document0", 1_001),
                    put("blob0", 100_000),
                    Step::Flush,
                    put("blob1", 90_000),
                    delete("blob0"),
                    Step::Together(2, (9, 20_000)),
                    save("document1", 70_050),
                    save("document2", 1_700),
                ])
                .collect(),
        }
    }

    /// What is done while calls fail.
    pub fn actions(self) -> Vec<Action> {
        let steps = |steps: Vec<Step>| steps.into_iter().map(Action::Step).collect::<Vec<_>>();
        match self {
            Workload::Documents => steps(vec![
                save("document0", 1_001),
                save("document1", 60_050),
                merge("document0", 3),
                save("document2", 1_777),
                Step::Lock("document2".to_owned()),
                merge("document2", 4),
                save("document1", 90_050),
                delete("document0"),
                Step::Flush,
                Step::Unlock("document2".to_owned()),
                save("document3", 40_050),
                merge("document3", 6),
                delete("document1"),
            ]),
            Workload::Blobs => steps(vec![
                put("small", 100),
                put("tiny", 3_500),
                put("medium", 30_001),
                put("large", 400_000),
                append("small", 5_000),
                append("old", 100_000),
                copy("old", "copied"),
                put("old", 70_001),
                Step::Abandon(60_000),
                delete("medium"),
                append("new", 1_000),
                rename("large", "moved"),
            ]),
            Workload::Transactions => steps(vec![
                Step::Together(10, (20, 50_000)),
                Step::MoveFolder,
                rename("blob2", "in/blob0"),
                Step::DeleteFolder,
                Step::Together(11, (21, 1_000)),
                put("in/blob3", 3_000),
                Step::MoveFolder,
                Step::DeleteFolder,
                Step::Together(12, (22, 100_000)),
                Step::MoveFolder,
            ]),
            Workload::Space => steps(vec![
                delete("blob0"),
                delete("blob1"),
                put("blob2", 90_000),
                delete("blob3"),
                Step::Compact,
                put("blob4", 120_000),
                save("document", 2_222),
                Step::Compact,
                Step::Flush,
                delete("blob5"),
                put("blob0", 60_000),
                Step::Compact,
            ]),
            Workload::Copies => vec![
                Action::Backup,
                Action::Export,
                Action::Step(save("document0", 1_234)),
                Action::Verify,
                Action::Step(append("blob0", 30_000)),
                Action::Backup,
                Action::Export,
            ],
            Workload::Openings => vec![
                Action::Verify,
                Action::Step(save("document1", 1_111)),
                Action::Reopen,
                Action::Step(put("blob1", 80_000)),
                Action::Step(merge("document2", 8)),
                Action::Reopen,
                Action::Verify,
                Action::Step(delete("document0")),
            ],
        }
    }
}
