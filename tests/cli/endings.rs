//! However it ends: nobody reads, the disk is full, or somebody presses Ctrl-C. It says so, and harms nothing.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use crate::testenv::{Env, Said, signal, wait_until};

const MIB: usize = 1024 * 1024;

fn filled() -> Env {
    Env::with(|store| {
        store
            .save("document", &serde_json::json!({"a": 1}))
            .unwrap();
        for number in 0..2_000 {
            store.put(&format!("folder/{number}"), "x").unwrap();
        }
        store.grant("document", komatik::Grant::new()).unwrap();
    })
}

/// Every command that answers on standard output.
const ANSWERS: [&[&str]; 17] = [
    &["load", "document"],
    &["diff", "document", "2"],
    &["merge", "document", "2", "--dry-run"],
    &["get", "document"],
    &["ls", "-r"],
    &["ls", "-r", "--json"],
    &["tree"],
    &["stat", "document"],
    &["du"],
    &["rm", "-r", "folder", "--dry-run"],
    &["tokens"],
    &["token", "document"],
    &["watch", "--since", "start", "--once"],
    &["stats"],
    &["verify", "--json"],
    &["export"],
    &["man"],
];

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let env = filled();
    for arguments in ANSWERS {
        let mut child = env.start(&mut env.command(arguments));
        drop(child.stdout.take());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!(
            (said.code, said.complaint.as_str()),
            (Some(141), ""),
            "{arguments:?}"
        );
    }
    for arguments in [
        &["ls", "-r"][..],
        &["export"],
        &["tree"],
        &["completions", "bash"],
    ] {
        let mut child = env.start(&mut env.command(arguments));
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0]).unwrap();
        drop(output);
        let said = Said::of(child.wait_with_output().unwrap());
        // What fits into the pipe is written before anybody closes it.
        assert!(matches!(said.code, Some(0 | 141)), "{arguments:?}");
        assert!(!said.complaint.contains("panicked"), "{}", said.complaint);
    }
    let mut help = env.start(&mut env.command(&["--help"]));
    drop(help.stdout.take());
    assert!(
        !Said::of(help.wait_with_output().unwrap())
            .complaint
            .contains("panicked")
    );
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let env = filled();
    for arguments in ANSWERS {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let said = Said::of(env.command(arguments).stdout(full).output().unwrap());
        assert!(
            matches!(said.code, Some(1 | 10)),
            "{arguments:?} {:?}",
            said.code
        );
        assert!(
            said.complaint.contains("No space left"),
            "{}",
            said.complaint
        );
    }
}

#[test]
fn an_input_that_is_interrupted_leaves_nothing() {
    let env = filled();
    let spaces = vec![b' '; 2 * MIB];
    let archive = env.run(&["export"]).output;
    let inputs: [(&[&str], &[u8]); 4] = [
        (&["put", "new"], &spaces),
        (&["append", "new"], &spaces),
        (&["save", "new"], &spaces),
        (&["import", "--overwrite"], &archive[..MIB]),
    ];
    for (arguments, piped) in inputs {
        let mut child = env.start(env.command(arguments).stdin(Stdio::piped()));
        let mut input = child.stdin.take().unwrap();
        input.write_all(piped).unwrap();
        // It has read all but what a pipe holds, and waits for more.
        signal(&child, "INT");
        let said = Said::of(child.wait_with_output().unwrap());
        let ended = (said.code, said.text(), said.complaint.as_str());
        assert_eq!(ended, (Some(130), "", ""), "{arguments:?}");
        assert!(!env.store().exists("new").unwrap());
    }
    assert_eq!(env.object(&["verify"])["entries"], 2_001);
}

#[test]
fn a_tree_that_is_interrupted_goes_on_by_sync() {
    let env = Env::new();
    for number in 0..3_000 {
        env.write(
            &format!("in/{}/{number}", number % 7),
            number.to_string().repeat(2_000),
        );
    }
    let has_begun =
        || fs::read_dir(env.path("store/packs")).is_ok_and(|mut packs| packs.next().is_some());
    let arguments = ["put", "-r", "in", "f"];
    let said = interrupt_by(&env, "TERM", &arguments, has_begun, || {
        fs::remove_dir_all(env.path("store")).unwrap();
    });
    assert_eq!(
        (said.code, said.text()),
        (Some(143), ""),
        "{}",
        said.complaint
    );
    let stored = env.object(&["verify"]);
    assert_eq!(stored["sound"], true);
    let stored = stored["entries"].as_u64().unwrap();
    assert!(stored < 3_000, "it was not interrupted");
    let synced = env.object(&["sync", "in", "f"]);
    assert_eq!(
        (synced["unchanged"].as_u64(), synced["files"].as_u64()),
        (Some(stored), Some(3_000 - stored))
    );
}

/// Starts the command and interrupts it once it has begun. Where it was done by then, it is undone and tried again.
#[track_caller]
fn interrupt(env: &Env, arguments: &[&str], has_begun: impl Fn() -> bool, undo: impl Fn()) {
    let said = interrupt_by(env, "INT", arguments, has_begun, undo);
    let ended = (said.code, said.text(), said.complaint.as_str());
    assert_eq!(ended, (Some(130), "", ""), "{arguments:?}");
}

#[track_caller]
fn interrupt_by(
    env: &Env,
    name: &str,
    arguments: &[&str],
    has_begun: impl Fn() -> bool,
    undo: impl Fn(),
) -> Said {
    for _ in 0..5 {
        let child = env.start(&mut env.command(arguments));
        wait_until(&has_begun);
        signal(&child, name);
        let said = Said::of(child.wait_with_output().unwrap());
        if said.code != Some(0) {
            return said;
        }
        undo();
    }
    panic!("{arguments:?} was always done before it could be interrupted");
}

#[test]
fn copies_that_are_interrupted_leave_nothing_half_done() {
    let env = Env::with(|store| {
        for number in 0..96_u8 {
            store.put(&number.to_string(), vec![number; MIB]).unwrap();
        }
    });
    let has_begun = || env.path("copy").exists();
    interrupt(&env, &["backup", "copy"], has_begun, || {
        fs::remove_dir_all(env.path("copy")).unwrap();
    });
    assert!(!env.path("copy").exists());

    let has_begun = || {
        let mut names = fs::read_dir(env.directory()).unwrap().flatten();
        names.any(|entry| entry.file_name().to_string_lossy().starts_with(".komatik-"))
    };
    interrupt(&env, &["export", "archive.tar"], has_begun, || {
        fs::remove_file(env.path("archive.tar")).unwrap();
    });
    assert!(!has_begun() && !env.path("archive.tar").exists());

    // Half of it is written to a pipe, then nobody reads on for a while.
    let mut child = env.start(&mut env.command(&["export"]));
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut vec![0; 10 * MIB]).unwrap();
    signal(&child, "INT");
    let rest = output.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest < 50 * MIB, "{rest} more bytes");
    // Once it has the store, it listens.
    let has_begun = || fs::read(env.path("store/LOCK")).is_ok_and(|lock| !lock.is_empty());
    interrupt(&env, &["verify"], has_begun, || ());
    interrupt(&env, &["get", "-r", "/", "out"], has_begun, || ());
    assert_eq!(env.object(&["verify"])["entries"], 96);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let env = filled();
    let mut child = env.start(&mut env.command(&["export"]));
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 4096]).unwrap();
    // It hangs in a pipe that nobody reads.
    std::thread::sleep(std::time::Duration::from_millis(100));
    signal(&child, "INT");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none());
    let mut ended = None;
    wait_until(|| {
        // One that comes before the first was taken is one with it.
        signal(&child, "INT");
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(130));
    assert_eq!(env.object(&["verify"])["sound"], true);
}

/// sled would wait for ever for threads that the system did not give it.
#[test]
fn without_room_for_threads_it_says_so_and_does_not_wait() {
    let env = filled();
    for arguments in [&["ls"][..], &["save", "new", "{}"], &["verify"]] {
        // No address space holds such a stack.
        let mut command = env.command(arguments);
        let said = Said::of(
            command
                .env("RUST_MIN_STACK", "140000000000000")
                .output()
                .unwrap(),
        );
        assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.complaint);
        assert!(
            said.complaint.contains("starting the 7 threads"),
            "{}",
            said.complaint
        );
    }
    assert_eq!(env.run(&["load", "new"]).code, Some(3));
    env.ok(&["verify"]);
}
