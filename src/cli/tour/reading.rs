//! Listing what was stored, and reading in the middle of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Instant;

use komatik::{ListItem, ListOptions};

use super::random::Random;
use super::tree::FILES;
use super::{Said, Stored, Tour};
use crate::cli::failure::{Doing, Failure, Outcome, ensure};
use crate::cli::show;

/// Items of a page.
const PAGE: usize = 100;

/// Lists every file, and compares what the store knows of each.
pub(super) fn list(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let listing = tour
        .store
        .list_with(FILES, ListOptions::new().recursive())?;
    let items = listing.collect::<komatik::Result<Vec<ListItem>>>()?;
    let time = clock.elapsed();
    ensure(items.len() == tour.stored.len(), || {
        format!(
            "{} entries are listed of {}",
            items.len(),
            tour.stored.len()
        )
    })?;
    for (item, stored) in items.iter().zip(&tour.stored) {
        let known = item.metadata.as_ref();
        let is_same = item.name == stored.file.name
            && known.is_some_and(|known| {
                (known.size, known.digest, known.revision)
                    == (
                        stored.metadata.size,
                        stored.metadata.digest,
                        stored.metadata.revision,
                    )
            });
        ensure(is_same, || {
            format!("{item:?} is listed in the place of {}", stored.file.name)
        })?;
    }
    Ok(Said::from(format!(
        "{} at any depth: {}",
        entries(items.len()),
        show::rate(items.len(), time),
    )))
}

/// Lists the folder with the most children page by page.
pub(super) fn page(tour: &mut Tour) -> Outcome<Said> {
    let children = children_by_folder(&tour.stored);
    let largest = children.iter().max_by_key(|(_, children)| children.len());
    let (folder, expected) = largest.ok_or_else(|| Failure::told("there is no folder"))?;
    let clock = Instant::now();
    let mut listed = Vec::new();
    let mut pages = 0;
    loop {
        let mut options = ListOptions::new().limit(PAGE);
        options.after = listed.last().cloned();
        let before = listed.len();
        for item in tour.store.list_with(folder, options)? {
            listed.push(item?.cursor());
        }
        pages += 1;
        if listed.len() - before < PAGE {
            break;
        }
    }
    let time = clock.elapsed();
    ensure(listed.iter().eq(expected), || {
        format!("{folder} is listed with other children than it has")
    })?;
    Ok(Said::from(format!(
        "{} of {} in {} of {PAGE}: {}",
        show::number_of(listed.len(), "child", "children"),
        folder.escape_debug(),
        show::number_of(pages, "page", "pages"),
        show::rate(listed.len(), time),
    )))
}

/// The children of every folder, each as its cursor: the name, and a `/` behind that of a folder.
fn children_by_folder(stored: &[Stored]) -> BTreeMap<String, BTreeSet<String>> {
    let mut children: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in stored.iter().map(|stored| stored.file.key()) {
        let mut rest = key.as_str();
        let mut mark = "";
        while let Some((folder, child)) = rest.rsplit_once('/') {
            let of_folder = children.entry(folder.to_owned()).or_default();
            of_folder.insert(format!("{child}{mark}"));
            (rest, mark) = (folder, "/");
        }
    }
    children
}

/// Lists the files of the commonest extension.
pub(super) fn glob(tour: &mut Tour) -> Outcome<Said> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for extension in tour
        .stored
        .iter()
        .filter_map(|stored| extension(&stored.file.name))
    {
        *numbers.entry(extension).or_default() += 1;
    }
    let commonest = numbers.into_iter().max_by_key(|(_, number)| *number);
    let (extension, expected) = commonest.unwrap_or(("none", 0));
    let pattern = format!("**/*.{extension}");
    let clock = Instant::now();
    let options = ListOptions::new().recursive().glob(&pattern);
    let listing = tour.store.list_with(FILES, options)?;
    let found = listing.collect::<komatik::Result<Vec<ListItem>>>()?.len();
    let time = clock.elapsed();
    ensure(found == expected, || {
        format!("{pattern} finds {found} of {expected}")
    })?;
    Ok(Said::from(format!(
        "{} match {pattern}: {} looked at",
        entries(found),
        show::rate(tour.stored.len(), time),
    )))
}

/// The extension of a name, where it means nothing to a glob.
fn extension(name: &str) -> Option<&str> {
    let (_, extension) = name.rsplit_once('.')?;
    let is_plain = extension.chars().all(|c| c.is_ascii_alphanumeric());
    (is_plain && !extension.is_empty()).then_some(extension)
}

/// Places that are read of the large blob, and how many bytes at most.
const READS: u64 = 1_000;
const READ_BYTES: u64 = 64 * 1024;

/// Reads at random places of the largest blob, and from its end.
pub(super) fn seek(tour: &mut Tour) -> Outcome<Said> {
    let largest = tour.stored.iter().max_by_key(|stored| stored.metadata.size);
    let stored = largest.ok_or_else(|| Failure::told("there is no blob"))?;
    let key = stored.file.key();
    let reader = tour.store.reader(&key)?;
    let mut reader = reader.ok_or_else(|| Failure::told(format!("{key} is gone")))?;
    let mut file = fs::File::open(&stored.file.path).doing(|| stored.file.name.clone())?;
    let mut random = Random::new(2);
    let mut clock = Stopwatch::default();
    let mut bytes = 0;
    for _ in 0..READS {
        let offset = random.below(reader.len());
        let count = (1 + random.below(READ_BYTES)).min(reader.len() - offset);
        let mut found = buffer(count);
        clock.time(|| reader.read_exact_at(&mut found, offset))?;
        let mut expected = buffer(count);
        read_from(&mut file, SeekFrom::Start(offset), &mut expected)
            .doing(|| stored.file.name.clone())?;
        ensure(found == expected || stored.file.has_changed(), || {
            format!("{count} bytes of {key} from {offset} on are not those of the file")
        })?;
        bytes += count;
    }
    let (mut found, mut expected) = (buffer(10), buffer(10));
    let ends = read_from(&mut reader, SeekFrom::End(-10), &mut found)
        .and_then(|()| read_from(&mut file, SeekFrom::End(-10), &mut expected));
    ends.doing(|| format!("reading the end of {key}"))?;
    ensure(found == expected || stored.file.has_changed(), || {
        format!("{key} ends in other bytes than the file")
    })?;
    Ok(Said::from(format!(
        "{} reads in a blob of {}, as in the file: {}, {}",
        show::count(READS),
        show::bytes(reader.len()),
        show::rate(READS, clock.total),
        show::byte_rate(bytes, clock.total),
    )))
}

fn read_from(
    source: &mut (impl Read + Seek),
    place: SeekFrom,
    buffer: &mut [u8],
) -> io::Result<()> {
    source.seek(place)?;
    source.read_exact(buffer)
}

/// A buffer of so many bytes, which are few.
fn buffer(count: u64) -> Vec<u8> {
    vec![0; usize::try_from(count).unwrap_or(0)]
}

/// Adds up the time that parts of the work take.
#[derive(Default)]
struct Stopwatch {
    total: std::time::Duration,
}

impl Stopwatch {
    fn time<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let answer = work();
        self.total += began.elapsed();
        answer
    }
}

fn entries(number: usize) -> String {
    show::number_of(number, "entry", "entries")
}
