//! C2: the power is cut, on a file system of its own. What was acknowledged as durable is there, and the rest as far as
//! some commit. The control arms have a disk that lies, and must lose something: else the cuts would prove nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::Run;
use crate::child::Worker;
use crate::common::Random;
use crate::disk::Lie;
use crate::kill::{check_shared, check_sound};
use crate::load::{Acknowledged, Model, OPENING, Script, Seen, Settings, WORK, check_step};
use crate::tally::{Outcome, Tally};

/// The call by which ext4 and XFS stop as in a power cut: `_IOR('X', 125, u32)`.
const SHUT_DOWN: libc::Ioctl = 0x8004_587d;
/// Nothing that is under way is finished, not even the journal of the file system.
static WITHOUT_LOG: u32 = 2;
/// The file system is begun anew after so many cuts.
const CUTS_A_STORE: u64 = 10;
const IMAGE_BYTES: u64 = 1024 * 1024 * 1024;
/// What a control arm must lose at least, in percent of its cuts.
const LEAST_LOST_PERCENT: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileSystem {
    Ext4,
    Xfs,
}

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    run: Run,
    #[arg(long, value_enum, default_value = "ext4")]
    file_system: FileSystem,
    /// The control arm: a disk that lies in this way.
    #[arg(long)]
    lie: Option<Lie>,
}

pub fn run(arguments: &Arguments) -> crate::Result {
    let run = &arguments.run;
    let name = match (arguments.file_system, arguments.lie) {
        (FileSystem::Ext4, None) => "power on ext4",
        (FileSystem::Xfs, None) => "power on XFS",
        (FileSystem::Ext4, Some(_)) => "power on ext4, control",
        (FileSystem::Xfs, Some(_)) => "power on XFS, control",
    };
    let mut tally = Tally::new(name, run.seed);
    let count = run.count.unwrap_or(500);
    let mut done = 0;
    while done < count {
        let cuts = CUTS_A_STORE.min(count - done);
        let volume = match Volume::make(&run.scratch, arguments.file_system) {
            Ok(volume) => volume,
            Err(why) => return Ok(Outcome::Skipped(format!("{name}: {why}"))),
        };
        let found = store_of_cuts(&volume, run.seed + done, cuts, arguments.lie, &mut tally);
        match (found, arguments.lie) {
            (Err(violation), None) => {
                let kept = volume.keep();
                tally.violation(format!("{violation}; kept in {}", kept.display()));
            }
            (Err(_), Some(_)) => tally.add("losses", 1),
            (Ok(()), _) => {}
        }
        done += cuts;
    }
    if arguments.lie.is_some() {
        let (cuts, losses) = (tally.count("cuts"), tally.count("losses"));
        if losses * 100 < cuts * LEAST_LOST_PERCENT {
            tally.violation(format!(
                "a disk that lies lost something in {losses} of {cuts} cuts only"
            ));
        }
    } else if tally.count("steps") < count {
        tally.violation("hardly a step was done".to_owned());
    }
    Ok(Outcome::Done(tally))
}

fn store_of_cuts(
    volume: &Volume,
    first_seed: u64,
    cuts: u64,
    lie: Option<Lie>,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut models: Vec<Model> = vec![Model::new(); 8];
    let mut is_sound = true;
    for cut in 0..cuts {
        let seed = first_seed + cut;
        let failed = |what: String| format!("seed {seed}, cut {cut} of the store: {what}");
        // A control arm begins anew after each cut, so that all of them count.
        if lie.is_some() && !is_sound {
            volume.clear().map_err(failed)?;
            models = vec![Model::new(); 8];
        }
        let (acknowledged, at) = cut_while_it_works(volume, seed, lie).map_err(failed)?;
        tally.add("cuts", 1);
        tally.add("steps", acknowledged.done.iter().sum());
        let checked = check(&volume.store(), seed, &mut models, &acknowledged, at, tally);
        is_sound = checked.is_ok();
        match (checked, lie) {
            (Err(what), None) => return Err(failed(what)),
            (Err(_), Some(_)) => tally.add("losses", 1),
            (Ok(()), _) => {}
        }
    }
    Ok(())
}

/// Lets a process work, cuts the power under it, and mounts what is left.
fn cut_while_it_works(
    volume: &Volume,
    seed: u64,
    lie: Option<Lie>,
) -> Result<(Acknowledged, Instant), String> {
    let mut random = Random::new(seed);
    random.next();
    let time = Duration::from_millis(100 + random.below(900) as u64);
    let threads = Settings::of(seed).threads;
    let mut arguments = vec![
        WORK.into(),
        volume.store().into_os_string(),
        seed.to_string().into(),
    ];
    if let Some(lie) = lie {
        let name = lie.to_possible_value().ok_or("no such lie")?;
        arguments.push(format!("--lie={}", name.get_name()).into());
    }
    let (opened, opens) = channel();
    let worker = Worker::start(arguments, move |output| {
        Acknowledged::read(output, threads, &opened)
    });
    let _ = opens.recv_timeout(OPENING);
    std::thread::sleep(time);
    let at = Instant::now();
    volume.cut().map_err(|error| format!("cutting: {error}"))?;
    // So that what it may still write is written, and lost.
    std::thread::sleep(Duration::from_millis(20));
    let ended = worker.kill();
    if ended.panicked() {
        return Err(format!("it panicked: {}", ended.errors));
    }
    volume.mount_again()?;
    Ok((ended.said, at))
}

fn check(
    path: &Path,
    seed: u64,
    models: &mut [Model],
    acknowledged: &Acknowledged,
    cut: Instant,
    tally: &mut Tally,
) -> Result<(), String> {
    let store = Settings::of(seed)
        .open(path)
        .map_err(|error| format!("it does not open: {error:?}"))?;
    for (thread, model) in (0..Settings::of(seed).threads).zip(models) {
        let seen = Seen::read(&store, thread).map_err(|error| format!("{error:?}"))?;
        let place = thread as usize;
        let done = acknowledged.done[place];
        let least = acknowledged.least_after_cut(place, cut);
        let there = check_step(&seen, model, Script::new(seed), thread, least, done)?;
        tally.add("undone steps", done.saturating_sub(there));
    }
    check_shared(&store)?;
    check_sound(&store)?;
    store.close().map_err(|error| format!("closing: {error:?}"))
}

/// A file system in a file, mounted.
struct Volume {
    directory: tempfile::TempDir,
}

impl Volume {
    fn make(scratch: &Path, file_system: FileSystem) -> Result<Volume, String> {
        let directory = tempfile::tempdir_in(scratch).map_err(|error| error.to_string())?;
        let volume = Volume { directory };
        let image = std::fs::File::create(volume.image()).map_err(|error| error.to_string())?;
        image
            .set_len(IMAGE_BYTES)
            .map_err(|error| error.to_string())?;
        std::fs::create_dir(volume.mounted()).map_err(|error| error.to_string())?;
        let make = match file_system {
            FileSystem::Ext4 => "mkfs.ext4",
            FileSystem::Xfs => "mkfs.xfs",
        };
        call(Command::new(make).arg("-q").arg(volume.image()))?;
        volume.mount()?;
        Ok(volume)
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    fn store(&self) -> PathBuf {
        self.mounted().join("store")
    }

    fn mount(&self) -> Result<(), String> {
        call(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(self.image())
                .arg(self.mounted()),
        )
    }

    #[allow(unsafe_code, reason = "the call exists in no other form")]
    fn cut(&self) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let root = std::fs::File::open(self.mounted())?;
        // SAFETY: the call reads a number of 32 bits, which lives long enough.
        match unsafe { libc::ioctl(root.as_raw_fd(), SHUT_DOWN, &raw const WITHOUT_LOG) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    fn mount_again(&self) -> Result<(), String> {
        self.unmount()?;
        self.mount()
    }

    /// Somebody may still be about to let go of it.
    fn unmount(&self) -> Result<(), String> {
        let mut failure = String::new();
        for _ in 0..50 {
            match call(Command::new("umount").arg(self.mounted())) {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        Err(failure)
    }

    fn clear(&self) -> Result<(), String> {
        for entry in std::fs::read_dir(self.mounted()).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Leaves the files to be looked at.
    fn keep(self) -> PathBuf {
        let _ = self.unmount();
        let path = self.directory.path().to_owned();
        let mut volume = std::mem::ManuallyDrop::new(self);
        volume.directory.disable_cleanup(true);
        path
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{error}");
        }
    }
}

fn call(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
