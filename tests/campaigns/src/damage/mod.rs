//! C6: the files of a store are damaged. It answers a store or an error; it returns nothing that was never written; what
//! is missing or older is reported; and where the journal has everything, damaged trees come back whole.

mod expected;
mod injury;
mod judge;
mod law;
mod specimen;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;

use crate::Run;
use crate::child::{Worker, hush_sled};
use crate::common::Random;
use crate::tally::{Outcome, Tally};
use injury::{Injury, files};
pub use judge::judge;
pub use law::Law;
pub use specimen::copy;
use specimen::{ENDS, Past, Specimen};

/// The name of the command that judges.
const JUDGE: &str = "judge";
/// A byte with so many zeros on both sides lies in a stretch of them.
const ZEROS: usize = 16;
/// With so many violations it is of no use to go on.
const MANY: usize = 20;
/// Who takes more of the processor's time hangs. A read that sled gives up took it a million steps, and salvage may ask for
/// a hundred of them.
const LIMIT: Duration = Duration::from_secs(60);
/// A process mostly waits, so that more of them are at work than there are processors.
const AT_A_TIME: usize = 8;
/// A large store is done with after so many damages.
const DAMAGES_A_STORE: u64 = 100;
/// One damage in so many at least is not harmless: else nothing was damaged. It is one in two.
const LEAST_TOLD: u64 = 10;
/// What verdicts there are, for the tally.
const VERDICTS: [&str; 7] = [
    "harmless",
    "as after a crash",
    "reported",
    "healed after verify",
    "refused, all saved",
    "refused, the rest saved",
    "refused, nothing saved",
];

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    run: Run,
    /// Flips every byte of the small stores, instead of random damages; of long stretches of zeros only one in so many.
    #[arg(long)]
    every: Option<usize>,
    /// Flips the small store of this end only, instead of all: 0 closed, 1 covered by a snapshot, 2 killed.
    #[arg(long)]
    end: Option<usize>,
}

pub fn run(arguments: &Arguments) -> crate::Result {
    hush_sled();
    let run = &arguments.run;
    let mut tally = Tally::new("damage", run.seed);
    let directory = tempfile::tempdir_in(&run.scratch)?;
    if let Some(every) = arguments.every {
        for (number, end) in ENDS.into_iter().enumerate() {
            if arguments.end.is_some_and(|only| only != number) {
                continue;
            }
            let specimen = Specimen::small(&directory.path().join(format!("small{number}")), end);
            let injuries = flips(&specimen, every, run.seed);
            damage(&specimen, &injuries, run, &mut tally);
        }
        return Ok(Outcome::Done(tally));
    }
    let count = run.count.unwrap_or(2_000);
    let mut done = 0;
    while done < count && tally.violations() < MANY {
        let seed = run.seed + done;
        let path = directory.path().join(format!("large{seed}"));
        let mut random = Random::new(seed);
        random.next();
        let end = ENDS[random.below(3)];
        let past = [Past::Whole, Past::Short][random.below(2)];
        let specimen = Specimen::large(&path, seed, end, past);
        let damages = DAMAGES_A_STORE.min(count - done);
        let injuries: Vec<_> = std::iter::once(Injury::Control)
            .chain((0..damages).map(|_| Injury::random(&specimen, &mut random)))
            .collect();
        damage(&specimen, &injuries, run, &mut tally);
        std::fs::remove_dir_all(path)?;
        done += damages;
    }
    let told: u64 = VERDICTS[1..].iter().map(|told| tally.count(told)).sum();
    if done >= DAMAGES_A_STORE && told * LEAST_TOLD < done && tally.violations() == 0 {
        tally.violation("hardly a damage was one".to_owned());
    }
    Ok(Outcome::Done(tally))
}

/// Every byte of every file, once; in stretches of zeros, which say nothing in most places, one in so many.
fn flips(specimen: &Specimen, every: usize, seed: u64) -> Vec<Injury> {
    let mut random = Random::new(seed);
    let mut injuries = vec![Injury::Control];
    for file in files(&specimen.store()) {
        let bytes = std::fs::read(specimen.store().join(&file)).unwrap();
        for at in 0..bytes.len() {
            let around = at.saturating_sub(ZEROS)..(at + ZEROS).min(bytes.len());
            let is_empty = bytes[around].iter().all(|byte| *byte == 0);
            if !is_empty || random.below(every) == 0 {
                injuries.push(Injury::Flip {
                    file: file.clone(),
                    at,
                    mask: 1 << (at % 8),
                });
            }
        }
    }
    injuries
}

/// Inflicts each injury on a copy of its own, several at a time.
fn damage(specimen: &Specimen, injuries: &[Injury], run: &Run, tally: &mut Tally) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(tally);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(injury) = injuries.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = one(specimen, injury, run);
                    let mut tally = results.lock().unwrap();
                    tally.add("damages", u64::from(!matches!(injury, Injury::Control)));
                    match found {
                        Ok(verdict) => tally.add(verdict, 1),
                        Err(violation) => {
                            let kept = keep(specimen, injury, run);
                            tally.violation(format!(
                                "{}: {injury:?}: {violation}; kept in {}",
                                specimen.name,
                                kept.display()
                            ));
                        }
                    }
                }
            });
        }
    });
}

fn one(specimen: &Specimen, injury: &Injury, run: &Run) -> Result<&'static str, String> {
    let directory = tempfile::tempdir_in(&run.scratch).unwrap();
    let store = directory.path().join("store");
    copy(&specimen.store(), &store);
    injury.inflict(specimen, &store);
    let law = Law::of(specimen, injury);
    let mut arguments = vec![
        JUDGE.into(),
        specimen.expected_file().into_os_string(),
        store.into_os_string(),
        "--floor".into(),
        law.floor.to_string().into(),
    ];
    arguments.extend(["--takes".into(), law.takes.name().into()]);
    arguments.extend(law.heals.then(|| "--heals".into()));
    arguments.extend(law.whole_past.then(|| "--whole-past".into()));
    let ended = Worker::start(arguments, |mut output| {
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        said
    })
    .wait(LIMIT);
    if ended.panicked() {
        return Err(format!("it panicked: {}", ended.errors));
    }
    match ended.status {
        None => return Err("it hangs".to_owned()),
        Some(status) if !status.success() => return Err(format!("{status}: {}", ended.errors)),
        Some(_) => {}
    }
    let verdict = ended.said.lines().last().unwrap_or_default();
    let known = VERDICTS.iter().find(|known| **known == verdict);
    match (known, injury) {
        (Some(&"harmless"), _) => Ok("harmless"),
        (Some(known), Injury::Control) => Err(format!("undamaged, and it is {known}")),
        (Some(known), _) => Ok(known),
        (None, _) => Err(format!("{verdict}: {}", ended.errors)),
    }
}

/// A damaged copy that nobody has opened yet.
fn keep(specimen: &Specimen, injury: &Injury, run: &Run) -> PathBuf {
    let directory = tempfile::tempdir_in(&run.scratch).unwrap().keep();
    let kept: &Path = &directory.join("store");
    copy(&specimen.store(), kept);
    injury.inflict(specimen, kept);
    std::fs::copy(specimen.expected_file(), directory.join("expected")).unwrap();
    directory
}
