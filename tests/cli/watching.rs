//! Changes, one a line.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};
use std::time::Duration;

use serde_json::{Value, json};

use crate::testenv::{Env, Said, signal, wait_until};

fn filled() -> Env {
    Env::with(|store| {
        let ann = store.acting_as("ann");
        ann.put("rooms/1", "one").unwrap();
        store.save("other", &1).unwrap();
        store
            .rename("rooms/1", "rooms/2", komatik::PutMode::Create)
            .unwrap();
        store.delete("other").unwrap();
    })
}

/// A running `watch`, and its lines.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(env: &Env, arguments: &[&str]) -> Watching {
        let mut child = env.start(&mut env.command(&[&["watch", "--json"], arguments].concat()));
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watching { child, lines }
    }

    /// From the third change on, started by another program.
    fn behind(env: &Env, starter: &[&str]) -> Watching {
        let [program, arguments @ ..] = starter else {
            panic!("no program");
        };
        let watch = env.command(&["watch", "--json", "--since", "3"]);
        let mut command = std::process::Command::new(program);
        command
            .args(arguments)
            .arg(watch.get_program())
            .args(watch.get_args())
            .current_dir(env.directory())
            .env("KOMATIK_STORE", "store");
        let mut child = env.start(&mut command);
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watching { child, lines }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn end(self, name: &str) -> Said {
        signal(&self.child, name);
        Said::of(self.child.wait_with_output().unwrap())
    }
}

#[test]
fn the_history_is_told_from_where_it_is_asked() {
    let env = filled();
    let text = env.ok(&["watch", "--since", "start", "--once"]);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap().1.trim())
        .collect();
    assert_eq!(
        lines,
        [
            "1 put    rooms/1  blob, 3 B, by ann",
            "2 put    other  document, 1 B",
            "3 move   rooms/1 → rooms/2  blob, 3 B",
            "4 delete other  document, 1 B",
        ]
    );
    let objects = env.objects(&["watch", "rooms", "--since", "1", "--once"]);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["change"], "move");
    assert_eq!(
        (&objects[0]["from"], &objects[0]["key"]),
        (&json!("rooms/1"), &json!("rooms/2"))
    );
    assert_eq!(env.ok(&["watch", "--once"]), "");
    assert_eq!(env.run(&["watch", "--since", "tomorrow"]).code, Some(2));
    env.fails(2, "usage", &["watch", "a//b", "--once"]);
    let none = Env::new();
    none.fails(3, "not_found", &["watch"]);
}

#[test]
fn a_history_that_is_no_longer_kept_is_told() {
    let env = filled();
    env.ok(&["backup", "copy"]);
    // It begins anew in a copy.
    let told = env.fails(
        9,
        "compacted",
        &["--store", "copy", "watch", "--since", "1"],
    );
    let (_, behind) = told.split_once("`--since ").unwrap();
    let (since, rest) = behind.split_once('`').unwrap();
    assert!(rest.starts_with(" tells what is still kept"), "{told}");
    assert_eq!(
        env.ok(&["--store", "copy", "watch", "--since", since, "--once"]),
        ""
    );
}

#[test]
fn what_lies_before_damage_in_the_history_is_told() {
    const COMMITS: usize = 10;
    const EACH: usize = 10_000;
    let env = Env::with(|store| {
        for commit in 0..COMMITS {
            let fill = |transaction: &mut komatik::Transaction<'_>| {
                (0..EACH).try_for_each(|number| {
                    let key = format!("{commit}/{number}/{}", "x".repeat(100));
                    transaction.put(&key, "x").map(drop)
                })
            };
            store.transaction(fill).unwrap();
        }
    });
    let segments = std::fs::read_dir(env.path("store/journal")).unwrap();
    let mut segments: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    // Opening reads the newest.
    assert!(segments.len() > 1, "{segments:?}");
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let said = env.run(&["watch", "--since", "start", "--once"]);
    assert_eq!(said.code, Some(8), "{}", said.complaint);
    let told = said.text().lines().count();
    assert!(
        (EACH..EACH * COMMITS).contains(&told) && told.is_multiple_of(EACH),
        "{told}"
    );
}

#[test]
fn changes_of_other_processes_come_as_they_are_made() {
    let env = filled();
    let mut watching = Watching::start(&env, &["rooms", "--since", "start"]);
    assert_eq!(watching.next()["key"], "rooms/1");
    assert_eq!(watching.next()["key"], "rooms/2");
    for number in 0..3 {
        // By the command, which finds the store free.
        env.ok(&["save", &format!("rooms/c{number}"), "1", "--wait", "30s"]);
        assert_eq!(watching.next()["key"], format!("rooms/c{number}"));
    }
    // By a program that keeps the store open: told once it lets go.
    let store = env.store_when_free();
    store.put("rooms/x", "x").unwrap();
    store.put("rooms/y", "y").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    store.put("rooms/z", "z").unwrap();
    drop(store);
    for key in ["rooms/x", "rooms/y", "rooms/z"] {
        assert_eq!(watching.next()["key"], key);
    }
    let said = watching.end("INT");
    assert_eq!((said.code, said.complaint.as_str()), (Some(0), ""));
    assert_eq!(env.object(&["verify"])["sound"], true);
}

/// Others would be told that it is in use, and files be looked at by the thousand.
#[test]
fn a_store_in_which_nothing_happens_stays_free() {
    let env = filled();
    std::fs::create_dir(env.path("store/more")).unwrap();
    for number in 0..5000 {
        env.write(&format!("store/more/{number}"), "");
    }
    let mut watching = [(); 2].map(|()| {
        let arguments = ["--since", "3", "--wait", "30s"];
        let mut watching = Watching::start(&env, &arguments);
        assert_eq!(watching.next()["revision"], 4);
        watching
    });
    // The one may have to look once more behind the other.
    wait_until(|| stays(&env, Duration::from_secs(1)));
    assert!(stays(&env, Duration::from_secs(2)), "it was opened");
    let store = env.store_when_free();
    store.put("rooms/later", "x").unwrap();
    drop(store);
    for watching in &mut watching {
        assert_eq!(watching.next()["key"], "rooms/later");
    }
    for watching in watching {
        assert_eq!(watching.end("INT").code, Some(0));
    }
}

/// Whether the superblock stays as it is for so long.
fn stays(env: &Env, time: Duration) -> bool {
    let superblock = || std::fs::read(env.path("store/superblock")).unwrap();
    let before = superblock();
    std::thread::sleep(time);
    superblock() == before
}

/// Two that follow a store would open it by turns for ever, where that takes its time.
#[test]
fn a_store_that_was_closed_without_a_change_is_not_opened() {
    let env = filled();
    let mut watching = Watching::start(&env, &["--since", "3"]);
    assert_eq!(watching.next()["revision"], 4);
    let left_alone = (0..5).filter(|_| {
        let store = env.store_when_free();
        std::thread::sleep(Duration::from_millis(500));
        store.close().unwrap();
        drop(store);
        stays(&env, Duration::from_millis(500))
    });
    // It may look just before the store is closed, and open it just behind.
    assert!(left_alone.count() >= 3, "it was opened");
    assert_eq!(watching.end("INT").code, Some(0));
}

/// Its first commits are in the journal alone.
#[cfg(feature = "http")]
#[test]
fn what_a_process_committed_that_was_killed_at_once_is_told() {
    let env = filled();
    let mut watching = Watching::start(&env, &["--since", "3"]);
    assert_eq!(watching.next()["revision"], 4);
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--wait",
        "30s",
    ];
    let mut serving = env.start(&mut env.command(&serve));
    let mut greeting = String::new();
    let mut output = BufReader::new(serving.stdout.take().unwrap());
    output.read_line(&mut greeting).unwrap();
    assert!(greeting.contains("password"), "{greeting}");
    signal(&serving, "KILL");
    serving.wait().unwrap();
    assert_eq!(watching.next()["key"], ".komatik/users/admin");
    assert_eq!(watching.end("INT").code, Some(0));
}

#[test]
fn it_ends_in_good_order_however_it_is_asked() {
    let env = filled();
    for name in ["INT", "TERM", "HUP"] {
        // Whoever runs the tests may have had it ignored.
        let mut watching = Watching::behind(&env, &["env", "--default-signal=HUP"]);
        assert_eq!(watching.next()["revision"], 4);
        let said = watching.end(name);
        assert_eq!(
            (said.code, said.complaint.as_str()),
            (Some(0), ""),
            "{name}"
        );
    }
}

#[test]
fn behind_nohup_it_goes_on_without_its_terminal() {
    let env = filled();
    let mut watching = Watching::behind(&env, &["env", "--ignore-signal=HUP"]);
    assert_eq!(watching.next()["revision"], 4);
    signal(&watching.child, "HUP");
    std::thread::sleep(Duration::from_millis(300));
    let store = env.store_when_free();
    store.put("rooms/later", "x").unwrap();
    drop(store);
    assert_eq!(watching.next()["key"], "rooms/later");
    assert_eq!(watching.end("INT").code, Some(0));
}

#[test]
fn a_command_is_run_for_each_change() {
    let env = filled();
    let komatik = env!("CARGO_BIN_EXE_komatik");
    let command = format!(
        "echo $KOMATIK_REVISION $KOMATIK_CHANGE $KOMATIK_KIND $KOMATIK_KEY $KOMATIK_FROM $KOMATIK_SIZE $KOMATIK_PARTICIPANT. >>told; \
         '{komatik}' -q save log/$KOMATIK_REVISION 1"
    );
    env.ok(&[
        "watch", "rooms", "--since", "start", "--once", "--exec", &command,
    ]);
    let told = std::fs::read_to_string(env.path("told")).unwrap();
    assert_eq!(
        told,
        "1 put blob rooms/1 3 ann.\n3 move blob rooms/2 rooms/1 3 .\n"
    );
    assert_eq!(env.ok(&["ls", "log"]), "1\n3\n");

    // The first that fails ends it, so that it can go on from there.
    let said = env.run(&[
        "watch",
        "--since",
        "start",
        "--once",
        "--exec",
        "test $KOMATIK_REVISION -lt 3",
    ]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.text().lines().count(), 3);
    assert!(said.complaint.contains("--since 2"), "{}", said.complaint);
}
