//! Commits: revisions, requirements, form, and when they are seen.

use bytes::Bytes;

use super::Harness;
use super::tools::{
    PUBLIC, all_changes, contents, delete, fail, make, open, order, put, put_in, refusal, require,
    row, rows, value,
};
use crate::backend::{Backend, Commit, Outcome, Requirement, Tree, View};
use crate::error::Error;
use crate::options::Durability;

fn latest(backend: &dyn Backend, key: &str) -> Option<Bytes> {
    let row = backend.get(View::Latest, Tree::Entries, key.as_bytes());
    row.unwrap().map(|row| row.value)
}

pub(super) fn revisions_rise(harness: &dyn Harness) {
    let backend = open(harness);
    assert_eq!(backend.history().newest, 0);
    let mut last = 0;
    for round in 0..30 {
        let writes = (0..round % 3).map(|n| put(format!("k{n}"), "")).collect();
        let durability = match round % 5 {
            0 => Durability::Immediate,
            _ => Durability::Eventual,
        };
        let commit = Commit {
            durability,
            ..rows(writes)
        };
        let revision = make(&*backend, commit);
        assert!(revision > last, "{revision} follows {last}");
        assert_eq!(backend.history().newest, revision);
        last = revision;
    }
}

pub(super) fn ordered_is_called_once_before_commit_returns(harness: &dyn Harness) {
    let backend = open(harness);
    for durability in [Durability::Immediate, Durability::Eventual] {
        let mut calls = Vec::new();
        let commit = Commit {
            durability,
            ..rows(vec![put("key", "value")])
        };
        let outcome = backend.commit(commit, &mut |revision| calls.push(revision));
        let [revision] = calls[..] else {
            panic!("called with {calls:?}");
        };
        assert_eq!(outcome.unwrap(), Outcome::Ordered(revision));
        backend.settle(revision).unwrap();
        assert_eq!(row(&*backend, "key").unwrap().revision, revision);
    }
}

pub(super) fn requirements_decide(harness: &dyn Harness) {
    let backend = open(harness);
    let guarded = |required, text: &'static str| Commit {
        requires: vec![required],
        ..rows(vec![put("key", text)])
    };
    let ask = |required| refusal(&*backend, guarded(required, "refused"));
    assert_eq!(ask(require("key", Some(1))), 0);
    let first = make(&*backend, guarded(require("key", None), "1"));
    assert_eq!(ask(require("key", None)), 0);
    assert_eq!(ask(require("key", Some(first + 1))), 0);
    let second = make(&*backend, guarded(require("key", Some(first)), "2"));
    assert_eq!(ask(require("key", Some(first))), 0);
    make(&*backend, guarded(require("key", Some(second)), "3"));
    assert_eq!(value(&*backend, "key").unwrap(), "3");
    for tree in PUBLIC {
        let revision = make(&*backend, rows(vec![put_in(tree, "other", "")]));
        let required = |revision| Requirement {
            tree,
            key: Bytes::from("other"),
            revision,
        };
        assert_eq!(ask(required(None)), 0, "{tree:?}");
        make(&*backend, guarded(required(Some(revision)), "4"));
    }
}

pub(super) fn the_first_broken_requirement_is_named(harness: &dyn Harness) {
    let backend = open(harness);
    let revision = make(&*backend, rows(vec![put("there", "")]));
    let holds = [require("there", Some(revision)), require("absent", None)];
    let broken = [
        require("there", None),
        require("absent", Some(revision)),
        require("there", Some(revision + 1)),
    ];
    for required in broken {
        let mut requires = holds.to_vec();
        requires.push(required.clone());
        requires.push(required);
        let commit = Commit {
            requires,
            ..Commit::default()
        };
        assert_eq!(refusal(&*backend, commit), 2);
    }
    let all = Commit {
        requires: holds.to_vec(),
        ..Commit::default()
    };
    make(&*backend, all);
}

pub(super) fn requirements_look_at_the_latest_state(harness: &dyn Harness) {
    let backend = open(harness);
    // A chain of commits, each of which requires the one before, none of which is waited for.
    let mut last = None;
    for _ in 0..20 {
        let commit = Commit {
            requires: vec![require("key", last)],
            writes: vec![put("key", "")],
            ..Commit::default()
        };
        last = Some(order(&*backend, commit));
    }
    backend.settle(last.unwrap()).unwrap();
    assert_eq!(row(&*backend, "key").map(|row| row.revision), last);
}

pub(super) fn a_row_made_again_is_another_row(harness: &dyn Harness) {
    let backend = open(harness);
    let first = make(&*backend, rows(vec![put("key", "same")]));
    make(&*backend, rows(vec![delete("key")]));
    let guarded = |revision| Commit {
        requires: vec![require("key", revision)],
        ..rows(vec![put("key", "same")])
    };
    assert_eq!(refusal(&*backend, guarded(Some(first))), 0);
    make(&*backend, guarded(None));
    assert_eq!(refusal(&*backend, guarded(Some(first))), 0);
}

pub(super) fn a_refused_commit_does_nothing(harness: &dyn Harness) {
    let backend = open(harness);
    make(&*backend, rows(vec![put("a", "1"), put("b", "1")]));
    let before = contents(&*backend, Tree::Entries);
    let range = backend.history();
    let commit = Commit {
        requires: vec![require("c", Some(1))],
        changes: vec![Bytes::from("told")],
        ..rows(vec![put("a", "2"), delete("b"), put("c", "2")])
    };
    assert_eq!(refusal(&*backend, commit), 0);
    backend.flush().unwrap();
    assert_eq!(contents(&*backend, Tree::Entries), before);
    assert_eq!(latest(&*backend, "c"), None);
    assert_eq!(backend.history(), range);
    assert!(all_changes(&*backend).is_empty());
}

pub(super) fn private_trees_are_refused(harness: &dyn Harness) {
    let backend = open(harness);
    for tree in Tree::ALL.into_iter().filter(|tree| !tree.is_public()) {
        let required = Requirement {
            tree,
            key: Bytes::from("key"),
            revision: None,
        };
        let commits = [
            rows(vec![put("beside", ""), put_in(tree, "key", "")]),
            Commit {
                requires: vec![required],
                ..rows(vec![put("beside", "")])
            },
        ];
        for commit in commits {
            let error = fail(&*backend, commit);
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    }
    assert_eq!(latest(&*backend, "beside"), None);
}

pub(super) fn a_row_written_twice_is_refused(harness: &dyn Harness) {
    let backend = open(harness);
    for again in [put("key", "1"), put("key", "2"), delete("key")] {
        let error = fail(
            &*backend,
            rows(vec![put("key", "1"), put("between", ""), again]),
        );
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
    assert_eq!(latest(&*backend, "key"), None);
    let elsewhere = PUBLIC.map(|tree| put_in(tree, "key", "1"));
    make(&*backend, rows(elsewhere.to_vec()));
}

pub(super) fn a_broken_form_comes_before_requirements(harness: &dyn Harness) {
    let backend = open(harness);
    let commit = Commit {
        requires: vec![require("absent", Some(1))],
        ..rows(vec![put("key", "1"), put("key", "2")])
    };
    let error = fail(&*backend, commit);
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
}

pub(super) fn deleting_what_is_not_there_is_a_commit(harness: &dyn Harness) {
    let backend = open(harness);
    let first = make(&*backend, rows(vec![delete("absent")]));
    let second = make(&*backend, rows(vec![delete("absent")]));
    assert!(second > first);
    assert!(contents(&*backend, Tree::Entries).is_empty());
}

pub(super) fn the_latest_view_sees_a_commit_at_once(harness: &dyn Harness) {
    let backend = open(harness);
    for (round, durability) in [Durability::Immediate, Durability::Eventual]
        .into_iter()
        .cycle()
        .take(20)
        .enumerate()
    {
        let text = round.to_string();
        let commit = Commit {
            durability,
            ..rows(vec![put("key", text.clone())])
        };
        let revision = order(&*backend, commit);
        assert_eq!(latest(&*backend, "key").unwrap(), text);
        backend.settle(revision).unwrap();
        assert_eq!(value(&*backend, "key").unwrap(), text);
    }
}

pub(super) fn settling_settles_all_before(harness: &dyn Harness) {
    let backend = open(harness);
    for durability in [Durability::Immediate, Durability::Eventual] {
        let revisions = ["a", "b", "c"].map(|key| {
            // The first asks for more than the last, and still settles before it.
            let mut commit = Commit {
                writes: vec![put(key, format!("{durability:?}"))],
                ..Commit::default()
            };
            if key == "c" {
                commit.durability = durability;
            }
            order(&*backend, commit)
        });
        backend.settle(revisions[2]).unwrap();
        for (key, revision) in ["a", "b", "c"].into_iter().zip(revisions) {
            assert_eq!(row(&*backend, key).unwrap().revision, revision);
            backend.settle(revision).unwrap();
        }
        assert_eq!(backend.history().newest, revisions[2]);
    }
}

pub(super) fn flush_settles_everything(harness: &dyn Harness) {
    let backend = open(harness);
    backend.flush().unwrap();
    for round in 0..10 {
        order(&*backend, rows(vec![put("key", round.to_string())]));
    }
    backend.flush().unwrap();
    assert_eq!(value(&*backend, "key").unwrap(), "9");
    backend.flush().unwrap();
}
