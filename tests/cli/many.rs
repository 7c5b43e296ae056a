//! A hundred thousand files.

use std::fs;

use serde_json::json;

use crate::testenv::Env;

const FILES: usize = 100_000;

fn name(number: usize) -> String {
    format!("{}/{number:05}.txt", number % 100)
}

#[test]
fn a_hundred_thousand_files_are_stored_listed_compared_and_deleted() {
    let env = Env::new();
    for folder in 0..100 {
        fs::create_dir_all(env.path(&format!("in/{folder}"))).unwrap();
    }
    for number in 0..FILES {
        fs::write(
            env.path(&format!("in/{}", name(number))),
            number.to_string(),
        )
        .unwrap();
    }
    assert_eq!(env.object(&["put", "-r", "in", "f"])["files"], FILES);
    let listed = env.ok(&["ls", "-r", "f"]);
    let mut expected: Vec<String> = (0..FILES).map(name).collect();
    expected.sort_unstable();
    assert!(listed.lines().eq(&expected));

    let mut paged = Vec::new();
    while paged.len() < FILES {
        let after = paged.last().map_or("", String::as_str).to_owned();
        let page = env.ok(&["ls", "-r", "f", "--limit", "30000", "--after", &after]);
        paged.extend(page.lines().map(str::to_owned));
    }
    assert!(paged == expected);

    let du = env.objects(&["du", "f"]);
    assert_eq!((du.len(), &du[100]["entries"]), (101, &json!(FILES)));
    assert_eq!(env.ok(&["tree", "f"]).lines().count(), 1 + 100 + FILES);
    assert_eq!(
        env.object(&["sync", "in", "f", "--delete"])["unchanged"],
        FILES
    );
    assert_eq!(env.object(&["get", "-r", "f", "out"])["files"], FILES);
    for number in 0..FILES {
        let content = fs::read(env.path(&format!("out/{}", name(number)))).unwrap();
        assert_eq!(content, number.to_string().as_bytes());
    }
    let changes = env.ok(&["watch", "--since", "start", "--once"]);
    assert_eq!(changes.lines().count(), FILES);
    assert_eq!(env.object(&["verify"])["entries"], FILES);
    assert_eq!(
        env.ok(&["rm", "-r", "f", "--dry-run"]).lines().count(),
        FILES
    );
    assert_eq!(env.object(&["rm", "-r", "f"])["deleted"], FILES);
    assert_eq!(env.ok(&["ls"]), "");
}
