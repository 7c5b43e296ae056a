//! The process that opens a damaged store, reads everything, and tells whether the law holds: what is returned was once
//! acknowledged; what is missing or older is reported; what comes after still works.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use komatik::{Error, ListOptions, Since, Store};

use super::expected::{Entries, Expected, PIECE_BYTES, piece, shown, token_lines};
use super::law::{Law, Takes};
use super::specimen::open;

const CHUNK_BYTES: usize = 65_536;
/// What is written into a damaged store, to see whether it still can be.
const WRITTEN: &str = "written after the damage";
/// More entries than lie in one leaf of sled: 17 blocks of 1 KiB, or a few more.
const A_LEAF: usize = 400;
/// How often the store is opened.
const ROUNDS: usize = 3;
/// What a store gives back of what it takes for unused, it begins with in this time.
const A_WHILE: Duration = Duration::from_millis(400);

/// Everything that can be read of a store.
#[derive(Default)]
struct Observed {
    entries: Entries,
    history: Vec<String>,
    /// The oldest revision of the history.
    oldest: u64,
    tokens: Vec<String>,
    /// Key, revision, number and content of each piece that could be read.
    pieces: Vec<(String, u64, usize, u32)>,
    /// Granted tokens that do not work.
    refused: Vec<String>,
    /// What was reported.
    complaints: Vec<String>,
    /// What is reported as damaged, by its place.
    named: BTreeSet<String>,
}

type Verdict = Result<&'static str, String>;

/// What the process does; the last line it says is the verdict.
pub fn judge(expected: &Path, store: &Path, law: Law) -> ExitCode {
    let expected = Expected::load(expected);
    match verdict(&expected, store, law) {
        Ok(word) => println!("{word}"),
        Err(violation) => println!("VIOLATION {violation}"),
    }
    ExitCode::SUCCESS
}

/// Opens, reads, verifies, writes and closes, again and again: what was found wrong once may be healed the next time, and
/// what was found sound is not for ever.
fn verdict(expected: &Expected, path: &Path, law: Law) -> Verdict {
    let mut states = Vec::new();
    let mut written = Vec::new();
    // What shows for the first time in the last round has another one to heal.
    while states.len() < ROUNDS
        || (law.heals && matches!(states[..], [.., Some(_), None]) && states.len() < 2 * ROUNDS)
    {
        let round = states.len();
        let was_reported = states.contains(&None) && !law.heals;
        let key = format!("{WRITTEN}{round}");
        match one_round(expected, path, law, &mut written, &key, was_reported)? {
            Round::State(state) => states.push(state),
            Round::Refused(_) if !states.is_empty() && !was_reported => {
                return Err("it was sound, and does not open again".to_owned());
            }
            Round::Refused(error) => {
                return repair(expected, path, law).map_err(|what| format!("{error}; {what}"));
            }
        }
    }
    renew(path, law, matches!(states[..], [.., Some(_)]))?;
    match states[..] {
        [.., None] if law.heals => Err("the journal has all, and it does not come back".to_owned()),
        [Some(revision), .., Some(_)] if revision < expected.last() => Ok("as after a crash"),
        _ if states.iter().all(Option::is_some) => Ok("harmless"),
        [.., Some(_)] => Ok("healed after verify"),
        _ => Ok("reported"),
    }
}

enum Round {
    /// The state it is in, `None` where damage was reported.
    State(Option<u64>),
    Refused(Error),
}

fn one_round(
    expected: &Expected,
    path: &Path,
    law: Law,
    written: &mut Vec<String>,
    key: &str,
    was_reported: bool,
) -> Result<Round, String> {
    let store = match open(path, law.past(), CHUNK_BYTES) {
        Ok(store) => store,
        Err(error) => {
            check_refusal(&error)?;
            return match law.heals {
                true => Err(format!(
                    "the journal has all, and it does not open: {error}"
                )),
                false => Ok(Round::Refused(error)),
            };
        }
    };
    let mut observed = observe(expected, &store);
    for key in written.iter() {
        if observed.entries.remove(key).is_none() && observed.complaints.is_empty() {
            return Err("what was written after the damage is gone without a word".to_owned());
        }
    }
    if law.heals && written.is_empty() {
        std::thread::sleep(A_WHILE);
    }
    observed.history.retain(|line| !line.contains(WRITTEN));
    for complaint in observed.complaints.iter().take(20) {
        eprintln!("{key}: {complaint}");
    }
    let state = check(expected, &observed, law.floor, was_reported)?;
    // What was named in a round before is not known here.
    if !was_reported || law.takes != Takes::Named {
        check_what_is_taken(expected, &observed, law.takes, state)?;
    }
    let tolerated = |doing: &str, error: Error| match state {
        Some(_) => Err(format!("{doing}: {error:?}")),
        None => check_refusal(&error),
    };
    match store.put(key, key) {
        Ok(_) => written.push(key.to_owned()),
        Err(error) => tolerated("writing", error)?,
    }
    store.close().or_else(|error| tolerated("closing", error))?;
    Ok(Round::State(state))
}

/// Replaces what cannot be read, as its owner would, and has what was in its place given back: what comes in stays.
fn renew(path: &Path, law: Law, was_sound: bool) -> Result<(), String> {
    let reopened = || open(path, law.past(), CHUNK_BYTES);
    let refused = |error: &Error| match was_sound {
        true => Err(format!("it was sound, and is refused: {error:?}")),
        false => check_refusal(error),
    };
    let failed = |doing: &'static str| move |error: Error| format!("{doing}: {error:?}");
    let store = match reopened() {
        Ok(store) => store,
        Err(error) => return refused(&error),
    };
    let mut renewed = Vec::new();
    let listing = store.list_with("", ListOptions::new().recursive());
    for item in listing.map_err(failed("listing"))? {
        let Some(found) = item.ok().and_then(|item| item.metadata) else {
            continue;
        };
        if !matches!(store.get(&found.key), Err(Error::Damaged { .. })) {
            continue;
        }
        let content = vec![b'+'; usize::try_from(found.size).unwrap()];
        match store.put(&found.key, content.clone()) {
            Ok(_) => renewed.push((found.key, content)),
            // So is its row, or its lock.
            Err(error) => refused(&error)?,
        }
    }
    for error in [
        store.flush().err(),
        store.compact(|_| ControlFlow::Continue(())).err(),
        store.close().err(),
    ] {
        error.as_ref().map_or(Ok(()), refused)?;
    }
    let store = match reopened() {
        Ok(store) => store,
        Err(error) => return refused(&error),
    };
    for (key, content) in renewed {
        match store.get(&key) {
            Ok(Some(found)) if found == content => {}
            found => {
                let found = found.map(|found| found.map(|found| found.len()));
                return Err(format!(
                    "what replaced damage at `{key}` is gone: {found:?}"
                ));
            }
        }
    }
    Ok(())
}

/// An error that says what is wrong.
fn check_refusal(error: &Error) -> Result<(), String> {
    match error {
        Error::Damaged { .. } | Error::Unsupported { .. } => Ok(()),
        // The caller met one of the others before.
        Error::Poisoned { .. } => Ok(()),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Err(format!("this is no word of damage: {other:?}")),
    }
}

fn observe(expected: &Expected, store: &Store) -> Observed {
    let mut observed = Observed::default();
    if let Err(error) = read_entries(store, &mut observed) {
        observed.complaints.push(format!("listing: {error}"));
    }
    for folder in expected.entries_at(u64::MAX).keys() {
        if let Some(name) = folder.strip_suffix('/') {
            match store.exists(name) {
                Ok(true) => drop(
                    observed
                        .entries
                        .insert(folder.clone(), (0, "folder".into())),
                ),
                Ok(false) => {}
                Err(error) => observed.complaints.push(format!("{folder}: {error}")),
            }
        }
    }
    // What a list does not come to behind a damaged place is still there for who knows its key.
    for key in expected.entries_at(u64::MAX).keys() {
        if !key.ends_with('/')
            && !observed.entries.contains_key(key)
            && let Err(error) = read_entry(store, key, &mut observed)
        {
            observed.complaints.push(format!("{key}: {error}"));
        }
    }
    observed.oldest = store.history().oldest;
    if let Err(error) = read_history(store, &mut observed) {
        observed.complaints.push(format!("history: {error}"));
    }
    match token_lines(store) {
        Ok(tokens) => observed.tokens = tokens,
        Err(error) => observed.complaints.push(format!("tokens: {error}")),
    }
    for (token, key) in &expected.granted {
        match store.read_with(&token.as_str().into(), key) {
            Ok(Some(_)) => {}
            Ok(None) | Err(Error::TokenRefused) => observed.refused.push(key.clone()),
            Err(error) => observed.complaints.push(format!("token of {key}: {error}")),
        }
    }
    match store.verify(|_| ControlFlow::Continue(())) {
        Ok(report) => {
            let findings = report.findings.iter().map(|finding| format!("{finding:?}"));
            observed.complaints.extend(findings);
            let places = report.findings.into_iter().map(|finding| finding.location);
            observed.named.extend(places);
        }
        Err(error) => observed.complaints.push(format!("verify: {error}")),
    }
    observed
}

fn read_entries(store: &Store, observed: &mut Observed) -> komatik::Result<()> {
    for item in store.list_with("", ListOptions::new().recursive())? {
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                observed.complaints.push(format!("listing: {error}"));
                continue;
            }
        };
        if item.metadata.is_none() {
            continue;
        }
        match read_entry(store, &item.name, observed) {
            Ok(true) => {}
            Ok(false) => observed
                .complaints
                .push(format!("{} is listed only", item.name)),
            Err(error) => observed.complaints.push(format!("{}: {error}", item.name)),
        }
        if let Err(error) = read_pieces(store, &item.name, observed) {
            let complaint = format!("pieces of {}: {error}", item.name);
            observed.complaints.push(complaint);
        }
    }
    Ok(())
}

/// Answers whether it is there.
fn read_entry(store: &Store, key: &str, observed: &mut Observed) -> komatik::Result<bool> {
    let (Some(metadata), Some(bytes)) = (store.metadata(key)?, store.get(key)?) else {
        return Ok(false);
    };
    let entry = (metadata.revision, shown(&bytes));
    observed.entries.insert(key.to_owned(), entry);
    Ok(true)
}

fn read_pieces(store: &Store, key: &str, observed: &mut Observed) -> komatik::Result<()> {
    let Some(reader) = store.reader(key)? else {
        return Ok(());
    };
    let revision = reader.metadata().revision;
    let mut buffer = vec![0; PIECE_BYTES];
    for (number, offset) in (0..reader.len()).step_by(PIECE_BYTES).enumerate() {
        match reader.read_at(&mut buffer, offset) {
            Ok(count) => {
                let piece = piece(&buffer[..count]);
                let piece = (key.to_owned(), revision, number, piece);
                observed.pieces.push(piece);
            }
            Err(error) => observed
                .complaints
                .push(format!("a piece of {key}: {error}")),
        }
    }
    Ok(())
}

fn read_history(store: &Store, observed: &mut Observed) -> komatik::Result<()> {
    let mut watcher = store.watch("", Since::Start)?;
    while let Some(change) = watcher.try_recv()? {
        observed.history.push(format!("{change:?}"));
    }
    Ok(())
}

/// Which state it is; `None` where it is none, and that is reported.
fn check(
    expected: &Expected,
    observed: &Observed,
    floor: u64,
    was_reported: bool,
) -> Result<Option<u64>, String> {
    check_nothing_is_wrong(expected, observed)?;
    if !observed.complaints.is_empty() {
        return Ok(None);
    }
    let mut nearest = String::new();
    for revision in expected.revisions_from(floor).into_iter().rev() {
        match difference(expected, observed, revision) {
            None => return Ok(Some(revision)),
            Some(difference) if nearest.is_empty() => nearest = difference,
            Some(_) => {}
        }
    }
    match was_reported {
        true => Ok(None),
        false => Err(format!("not a word of this: {nearest}")),
    }
}

fn check_nothing_is_wrong(expected: &Expected, observed: &Observed) -> Result<(), String> {
    for (key, entry) in &observed.entries {
        if !key.starts_with(WRITTEN) && !expected.has_held(key, entry) {
            return Err(format!("{key} never held {entry:?}"));
        }
    }
    for (key, revision, number, piece) in &observed.pieces {
        if !key.starts_with(WRITTEN) && !expected.has_shown(key, *revision, *number, *piece) {
            return Err(format!(
                "piece {number} of {key} at {revision} was never that"
            ));
        }
    }
    let all = expected.lines(0, u64::MAX);
    let mut rest = all.iter();
    for line in &observed.history {
        if !line.contains(WRITTEN) && !rest.any(|other| other == line) {
            return Err(format!("the history never said {line}"));
        }
    }
    match observed
        .tokens
        .iter()
        .find(|token| !expected.has_granted(token))
    {
        Some(token) => Err(format!("{token} was never granted")),
        None => Ok(()),
    }
}

/// Damage takes no more than it may, of the last state where it is none.
fn check_what_is_taken(
    expected: &Expected,
    observed: &Observed,
    takes: Takes,
    state: Option<u64>,
) -> Result<(), String> {
    let mut lost = expected.entries_at(state.unwrap_or(expected.last()));
    lost.retain(|key, entry| observed.entries.get(key) != Some(entry));
    match takes {
        Takes::Any => return Ok(()),
        Takes::Named => lost.retain(|key, _| !observed.named.contains(key)),
        Takes::Leaf if lost.len() <= A_LEAF => return Ok(()),
        Takes::Leaf | Takes::Nothing => {}
    }
    match lost.is_empty() {
        true => Ok(()),
        false => Err(format!("more is lost than was damaged: {:?}", lost.keys())),
    }
}

fn difference(expected: &Expected, observed: &Observed, revision: u64) -> Option<String> {
    let entries = expected.entries_at(revision);
    if entries != observed.entries {
        return Some(differing(&entries, &observed.entries));
    }
    let history = expected.lines(observed.oldest, revision);
    if history != observed.history {
        return Some(format!(
            "{} changes from {} instead of {}",
            observed.history.len(),
            observed.oldest,
            history.len()
        ));
    }
    if !expected.had_tokens(revision, &observed.tokens) {
        return Some(format!("the tokens are {:?}", observed.tokens));
    }
    let is_last = revision == expected.last();
    (is_last && !observed.refused.is_empty())
        .then(|| format!("the tokens of {:?} do not work", observed.refused))
}

fn differing(expected: &Entries, found: &Entries) -> String {
    let mut all: BTreeMap<&String, [Option<u64>; 2]> = BTreeMap::new();
    for (place, entries) in [expected, found].into_iter().enumerate() {
        for (key, (revision, _)) in entries {
            all.entry(key).or_default()[place] = Some(*revision);
        }
    }
    all.retain(|key, _| expected.get(*key) != found.get(*key));
    format!("revisions expected and found: {all:?}")
}

/// Saves what can be saved of a store that does not open. Nothing that is saved is wrong, and what is lost is listed.
fn repair(expected: &Expected, damaged: &Path, law: Law) -> Verdict {
    let into = damaged.with_extension("repaired");
    let repaired = match Store::repair(damaged, &into, |_| ControlFlow::Continue(())) {
        Ok(repaired) => repaired,
        Err(error) => {
            check_refusal(&error)?;
            return match law.takes {
                Takes::Any => Ok("refused, nothing saved"),
                _ => Err(format!("nothing saved: {error}")),
            };
        }
    };
    let store =
        open(&into, law.past(), CHUNK_BYTES).map_err(|error| format!("repaired: {error:?}"))?;
    let mut observed = observe(expected, &store);
    if !observed.complaints.is_empty() {
        return Err(format!("repaired: {:?}", observed.complaints));
    }
    // What was written after the damage, and the history, which begins anew.
    observed.entries.retain(|key, _| !key.starts_with(WRITTEN));
    observed
        .named
        .extend(repaired.lost.iter().map(|finding| finding.location.clone()));
    observed.history.clear();
    observed.oldest = u64::MAX;
    check_nothing_is_wrong(expected, &observed).map_err(|what| format!("repaired: {what}"))?;
    store
        .close()
        .map_err(|error| format!("repaired: {error:?}"))?;
    check_what_is_taken(expected, &observed, law.takes, None)
        .map_err(|what| format!("repaired: {what}"))?;
    let states = expected.revisions_from(law.floor).into_iter().rev();
    let is_a_state = states
        .map(|revision| difference(expected, &observed, revision))
        .find(Option::is_none);
    match (is_a_state.is_some(), repaired.lost.is_empty()) {
        (true, _) => Ok("refused, all saved"),
        (false, false) => Ok("refused, the rest saved"),
        (false, true) => Err(format!(
            "repaired, and not a word of what is lost: {:?}",
            difference(expected, &observed, expected.last())
        )),
    }
}
