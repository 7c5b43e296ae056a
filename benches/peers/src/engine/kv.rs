//! What the engines with ordered keys have in common.

use super::Durability;

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Entries,
    /// Pieces of long values.
    Chunks,
    Changes,
}

impl Table {
    pub const ALL: [Table; 3] = [Table::Entries, Table::Chunks, Table::Changes];

    pub fn name(self) -> &'static str {
        match self {
            Table::Entries => "entries",
            Table::Chunks => "chunks",
            Table::Changes => "changes",
        }
    }
}

/// A row to write, or to delete where it has no value.
pub struct Row<'a> {
    pub table: Table,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    pub fn new(table: Table, key: &'a [u8], value: &'a [u8]) -> Row<'a> {
        Row {
            table,
            key,
            value: Some(value),
        }
    }
}

/// Tells keys and values in order, until the function answers `false`.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

pub trait Kv: Send + Sync {
    /// Writes all rows in one atomic step.
    fn commit(&self, rows: &[Row<'_>], durability: Durability);
    /// Shows the value; `false` where there is none.
    fn get(&self, table: Table, key: &[u8], show: &mut dyn FnMut(&[u8])) -> bool;
    /// The rows from `from` on.
    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>);
    fn flush(&self);
}
