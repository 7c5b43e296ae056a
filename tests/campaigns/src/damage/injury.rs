//! What is done to the files of a store.

use std::fs;
use std::path::{Path, PathBuf};

use super::specimen::{Specimen, copy};
use crate::common::Random;

/// A damage. Paths are relative to the directory of the store.
#[derive(Debug, Clone)]
pub enum Injury {
    /// None: what must be found whole.
    Control,
    Flip {
        file: PathBuf,
        at: usize,
        mask: u8,
    },
    Truncate {
        file: PathBuf,
        length: usize,
    },
    Zeros {
        file: PathBuf,
        at: usize,
        length: usize,
    },
    Garbage {
        file: PathBuf,
        at: usize,
        length: usize,
        seed: u64,
    },
    /// Two ranges of the same length, which do not overlap.
    SwapRanges {
        file: PathBuf,
        first: usize,
        second: usize,
        length: usize,
    },
    SwapFiles(PathBuf, PathBuf),
    /// The second holds what the first does.
    Duplicate(PathBuf, PathBuf),
    Empty(PathBuf),
    /// A file or a directory.
    Missing(PathBuf),
    /// A file or a directory as it was at an earlier stage.
    Stale {
        stage: usize,
        path: PathBuf,
    },
}

/// The files below a directory, but not the lock, which says nothing.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().unwrap() != "LOCK" {
                found.push(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

const PARTS: [&str; 4] = ["superblock", "journal", "packs", "trees"];
const DIRECTORIES: [&str; 3] = ["trees", "packs", "journal"];

impl Injury {
    /// Any injury of this store, of every part of it and of every kind about as often.
    pub fn random(specimen: &Specimen, random: &mut Random) -> Injury {
        let store = specimen.store();
        let all = files(&store);
        let part = PARTS[random.below(PARTS.len())];
        let of_part: Vec<_> = all.iter().filter(|file| file.starts_with(part)).collect();
        let candidates = match of_part.len() {
            0 => all.iter().collect(),
            _ => of_part,
        };
        let file = candidates[random.below(candidates.len())].clone();
        let others: Vec<_> = all.iter().filter(|other| **other != file).collect();
        let other = others[random.below(others.len())].clone();
        let bytes = fs::read(store.join(&file)).unwrap();
        let size = bytes.len();
        if size < 2 {
            return Injury::Missing(file);
        }
        let place = place(&bytes, random);
        let length = length(random).min(size - place);
        match random.below(20) {
            0..6 => Injury::Flip {
                file,
                at: place,
                mask: 1 << random.below(8),
            },
            6 | 7 => Injury::Truncate {
                file,
                length: place,
            },
            8 | 9 => Injury::Zeros {
                file,
                at: place,
                length,
            },
            10 | 11 => Injury::Garbage {
                file,
                at: place,
                length,
                seed: random.next(),
            },
            12 => {
                let length = length.min(size / 2);
                let first = place.min(size - 2 * length);
                let second = first + length + random.below(size - first - 2 * length + 1);
                Injury::SwapRanges {
                    file,
                    first,
                    second,
                    length,
                }
            }
            13 => Injury::SwapFiles(file, other),
            // What is lost is the other one.
            14 => Injury::Duplicate(other, file),
            15 => Injury::Empty(file),
            16 => Injury::Missing(file),
            17 => Injury::Missing(DIRECTORIES[random.below(3)].into()),
            18 => Injury::stale(specimen, random, |stage| {
                [files(stage), vec!["superblock".into()]].concat()
            }),
            _ => Injury::stale(specimen, random, |_| {
                DIRECTORIES.map(PathBuf::from).to_vec()
            }),
        }
    }

    fn stale(
        specimen: &Specimen,
        random: &mut Random,
        paths: impl Fn(&Path) -> Vec<PathBuf>,
    ) -> Injury {
        let stages = specimen.stages();
        let stage = random.below(stages.len());
        let mut paths = paths(&stages[stage]);
        let path = paths.swap_remove(random.below(paths.len()));
        Injury::Stale { stage, path }
    }

    /// What of the store it hits.
    pub fn paths(&self) -> Vec<&PathBuf> {
        match self {
            Injury::Control => vec![],
            Injury::Flip { file, .. }
            | Injury::Truncate { file, .. }
            | Injury::Zeros { file, .. }
            | Injury::Garbage { file, .. }
            | Injury::SwapRanges { file, .. }
            | Injury::Duplicate(_, file)
            | Injury::Empty(file)
            | Injury::Missing(file)
            | Injury::Stale { path: file, .. } => vec![file],
            Injury::SwapFiles(first, second) => vec![first, second],
        }
    }

    /// The parts of the store it is in: the first names of the paths.
    pub fn parts(&self) -> Vec<&str> {
        let paths = self.paths();
        let is_hit = |part: &&str| paths.iter().any(|path| path.starts_with(part));
        PARTS.into_iter().filter(is_hit).collect()
    }

    pub fn inflict(&self, specimen: &Specimen, store: &Path) {
        let change = |file: &Path, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(store.join(file)).unwrap();
            change(&mut bytes);
            fs::write(store.join(file), bytes).unwrap();
        };
        match self {
            Injury::Control => {}
            Injury::Flip { file, at, mask } => change(file, &|bytes| bytes[*at] ^= mask),
            Injury::Truncate { file, length } => change(file, &|bytes| bytes.truncate(*length)),
            Injury::Zeros { file, at, length } => {
                change(file, &|bytes| bytes[*at..*at + length].fill(0));
            }
            Injury::Garbage {
                file,
                at,
                length,
                seed,
            } => change(file, &|bytes| {
                let garbage = Random::new(*seed).bytes(*length);
                bytes[*at..*at + length].copy_from_slice(&garbage);
            }),
            Injury::SwapRanges {
                file,
                first,
                second,
                length,
            } => change(file, &|bytes| {
                let (front, back) = bytes.split_at_mut(*second);
                front[*first..*first + length].swap_with_slice(&mut back[..*length]);
            }),
            Injury::SwapFiles(first, second) => {
                let bytes = [first, second].map(|file| fs::read(store.join(file)).unwrap());
                fs::write(store.join(first), &bytes[1]).unwrap();
                fs::write(store.join(second), &bytes[0]).unwrap();
            }
            Injury::Duplicate(from, to) => {
                let bytes = fs::read(store.join(from)).unwrap();
                fs::write(store.join(to), bytes).unwrap();
            }
            Injury::Empty(file) => fs::write(store.join(file), "").unwrap(),
            Injury::Missing(path) => remove(&store.join(path)),
            Injury::Stale { stage, path } => {
                let earlier = specimen.stages()[*stage].join(path);
                let target = store.join(path);
                if target.exists() {
                    remove(&target);
                }
                if earlier.is_dir() {
                    copy(&earlier, &target);
                } else {
                    fs::copy(earlier, target).unwrap();
                }
            }
        }
    }
}

fn remove(path: &Path) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

/// A place in a file, mostly where it says something.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    let mut place = random.below(bytes.len());
    if random.below(4) > 0 {
        for _ in 0..50 {
            if bytes[place] != 0 {
                break;
            }
            place = random.below(bytes.len());
        }
    }
    match random.below(4) {
        // As a disk loses it.
        0 => place / 512 * 512,
        _ => place,
    }
}

fn length(random: &mut Random) -> usize {
    match random.below(4) {
        0 => 512,
        1 => 4096,
        2 => 1 + random.below(100),
        _ => 1 + random.below(100_000),
    }
}
