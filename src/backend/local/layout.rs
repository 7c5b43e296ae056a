//! What lies in the directory of a store.

/// The file that who has the store open holds a lock on.
pub(super) const LOCK: &str = "LOCK";
/// The file that tells of a write or a sync that failed.
pub(super) const FAILED: &str = "failed";
/// The file that says what the trees hold durably.
pub(super) const SUPERBLOCK: &str = "superblock";
/// A superblock that is not whole yet.
pub(super) const NEW_SUPERBLOCK: &str = "superblock.new";
/// The directory of the journal.
pub(super) const JOURNAL: &str = "journal";
/// The directory of sled.
pub(super) const TREES: &str = "trees";
/// The directory of trees that are being made anew.
pub(super) const TREES_ASIDE: &str = "trees.aside";
/// The directory of packs.
pub(super) const PACKS: &str = "packs";

/// All of it.
pub(super) const KNOWN: [&str; 8] = [
    LOCK,
    FAILED,
    SUPERBLOCK,
    NEW_SUPERBLOCK,
    JOURNAL,
    TREES,
    TREES_ASIDE,
    PACKS,
];
