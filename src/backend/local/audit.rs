//! What an opening must know of all rows: what of each pack is in use and, after a crash, that no row is missing.
//!
//! sled does not tell of everything it lost: damage in the part of its log that no snapshot covers it takes for the end of
//! a segment, and opens with rows missing or older. The digest over all rows, which every commit carries, shows that. It is
//! looked at before anything is given back, since a pack whose rows are missing looks unused. What the journal still
//! holds is written again then.
//!
//! After an orderly end the rows of the packs tell what is in use. No digest is over them, and they are the last that sled was
//! given, where damage is least told: so each must be there, and of this end and no earlier one. Else all rows are counted.

use std::collections::BTreeMap;

use super::Core;
use super::keys::{self, ChunkRow};
use super::replay::replay_into_trees;
use super::row::{self, Totals};
use super::view::LATEST;
use crate::backend::Tree;
use crate::error::{Error, Result};

/// Rows read at once.
const ROWS_A_STEP: usize = 4096;

/// Bytes in use by pack.
type Live = BTreeMap<u64, u64>;

/// Counts the packs; where the store was not closed in good order all rows, which must come to what the last commit says.
///
/// # Errors
/// `Damaged` where they do not, and the journal cannot give back what is missing.
pub(super) fn audit(core: &Core, base: u64, is_clean: bool) -> Result<()> {
    let noted = match is_clean {
        true => live_at_the_end(core, base)?,
        false => None,
    };
    let live = match noted {
        Some(live) => live,
        None => live_of_all_rows(core)?,
    };
    for (number, bytes) in live {
        if bytes > 0 && !core.packs.set_live(number, bytes) {
            tracing::error!(pack = number, "a pack is missing; what lies in it is lost");
            // Its number is known by the rows alone, and given to no other pack as long as each opening counts them: what is then
            // released of it would count for the other, which would go with what is in use.
            core.health.distrust_trees();
        }
    }
    Ok(())
}

fn lost() -> Error {
    Error::damaged(
        "trees",
        "rows are missing or older than what was acknowledged, and the journal does not reach back to them",
    )
}

/// What the rows use of each pack, once they are known to be all there are.
fn live_of_all_rows(core: &Core) -> Result<Live> {
    let expected = core.writer.lock().totals().digest;
    let (digest, live) = count(core)?;
    if digest == Some(expected) {
        return Ok(live);
    }
    tracing::warn!("the trees lost rows; the journal is to give them back");
    // Not only to where the replay began: it may have brought more of the journal to the trees since.
    let applied = core.overlay.read().checkpoint();
    replay_into_trees(core, applied)?;
    match count(core)? {
        (Some(digest), live) if digest == expected => Ok(live),
        _ => Err(lost()),
    }
}

/// What the end at the revision `base` has noted; `None` where that is not of exactly the packs there are.
fn live_at_the_end(core: &Core, base: u64) -> Result<Option<Live>> {
    let mut live = Live::new();
    let (start, end) = (keys::pack(0), keys::pack(u64::MAX));
    let rows = core
        .trees
        .range(Tree::Pending, &start, Some(&end), usize::MAX)?;
    for (key, bytes) in rows {
        let Ok(row) = row::open(Tree::Pending, &key, &bytes) else {
            return Ok(None);
        };
        let count = <[u8; 8]>::try_from(&row.value[..]).map(u64::from_be_bytes);
        match (keys::parse_pack(&key), count) {
            (Some(number), Ok(count))
                if row.revision == base && core.packs.may_hold(number, count) =>
            {
                live.insert(number, count)
            }
            _ => return Ok(None),
        };
    }
    let packs = core.packs.live();
    let is_whole = packs.iter().map(|(number, _)| number).eq(live.keys());
    if !is_whole {
        tracing::warn!("what is in use of the packs is not known; all rows are counted");
    }
    Ok(is_whole.then_some(live))
}

/// Reads all rows: their digest, `None` where one is damaged, and what they use of each pack.
fn count(core: &Core) -> Result<(Option<u128>, Live)> {
    let mut totals = Totals::default();
    let mut live = Live::new();
    let mut is_whole = true;
    for tree in Tree::ALL {
        let mut start = Vec::new();
        loop {
            let (rows, more) = core.rows(tree, &start, None, LATEST, ROWS_A_STEP)?;
            for (key, row) in rows {
                let row = match row {
                    Ok(row) => row,
                    Err(Error::Damaged { .. }) => {
                        is_whole = false;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if keys::is_of_the_trees(tree, &key) {
                    continue;
                }
                totals.add(tree, &key, &row);
                if tree == Tree::Chunks
                    && let Some(ChunkRow::Packed(location)) = ChunkRow::decode(&row.value)
                {
                    *live.entry(location.pack).or_default() += location.frame_bytes();
                }
            }
            match more {
                Some(last) => start = [&last[..], &[0]].concat(),
                None => break,
            }
        }
    }
    Ok((is_whole.then_some(totals.digest), live))
}
