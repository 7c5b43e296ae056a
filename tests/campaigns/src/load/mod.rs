//! What the processes that are killed do: steps that follow from numbers, so that another process knows what must be there.

mod content;
mod ledger;
mod script;
mod seen;
mod work;

pub use content::Model;
pub use ledger::Ledger;
pub use script::{PASSWORD, SHARED, Script, Step, thread_folder};
pub use seen::{Seen, check_step};
pub use work::{Acknowledged, EVENTUAL_BOUND, OPENING, Settings, WORK, beside, work};
