//! Which part of the store belongs to whom. No other file makes a view of the store.
//!
//! | folder | is |
//! |---|---|
//! | the root of a user | all that `/v1/` and `/storage/` show them |
//! | `cloudstore/data/` in it | the values of CloudStore |
//! | `cloudstore/media/` in it | its media |
//! | `drive/<project>/<name>/` | a drive of a project |
//! | `uploads/<project>/<name>/` | what is being uploaded to a drive |
//! | `rooms/<project>/<room>/` | a room of a project |

use super::Service;
use super::accounts::Account;
use super::api_keys::check_project;
use super::problem::Answer;
use crate::Store;

/// A kind of folder that a project has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Drive,
    /// What a drive gets in parts, until all are there.
    Uploads,
    Room,
}

impl Place {
    fn folder(self) -> &'static str {
        match self {
            Place::Drive => "drive",
            Place::Uploads => "uploads",
            Place::Room => "rooms",
        }
    }
}

/// What CloudStore keeps of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloudStore {
    Data,
    Media,
}

impl Service {
    /// What an account sees, in its name.
    pub(super) fn view_of(&self, account: &Account) -> Answer<Store> {
        let view = self.store().scoped(&account.root)?;
        Ok(view.acting_as(&account.name))
    }

    /// What CloudStore keeps of an account, in its name.
    pub(super) fn cloud_store_of(&self, account: &Account, kept: CloudStore) -> Answer<Store> {
        let folder = match kept {
            CloudStore::Data => "cloudstore/data",
            CloudStore::Media => "cloudstore/media",
        };
        Ok(self.view_of(account)?.scoped(folder)?)
    }

    /// What is being uploaded to all drives of all projects.
    pub(super) fn uploads(&self) -> Answer<Store> {
        Ok(self.store().scoped(Place::Uploads.folder())?)
    }

    /// A drive or a room of a project. Who may have it, the caller has found out; `participant` acts in it.
    pub(super) fn place_of(
        &self,
        place: Place,
        project: &str,
        name: &str,
        participant: &str,
    ) -> Answer<Store> {
        check_project(project)?;
        let segment = crate::Key::parse(name)?;
        if segment.as_str() != name || name.contains('/') {
            return Err(super::Problem::bad_request(
                "the name of a drive or room has no `/`",
            ));
        }
        let folder = format!("{}/{project}/{name}", place.folder());
        Ok(self.store().scoped(&folder)?.acting_as(participant))
    }
}
