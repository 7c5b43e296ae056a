//! What a view sees: one folder, and perhaps not all of it.

use std::fmt;

use crate::error::{Error, Result};
use crate::key::{Folder, Key};

/// The folder of a view, without a folder in it that the view does not see.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    folder: Folder,
    /// Whole, and the root where there is none.
    hidden: Folder,
}

impl Scope {
    /// Everything.
    pub(crate) fn root() -> Scope {
        Scope::from(Folder::root())
    }

    /// The scope of `name` in this one.
    pub(crate) fn narrowed(&self, name: &str) -> Result<Scope> {
        Ok(Scope {
            folder: self.folder(name)?,
            hidden: self.hidden.clone(),
        })
    }

    /// This scope without a child of it.
    pub(crate) fn without(&self, name: &str) -> Result<Scope> {
        let refused = |reason: &str| {
            Err(Error::InvalidArgument {
                what: "folder to hide",
                reason: reason.to_owned(),
            })
        };
        let hidden = Folder::from(&self.key(name)?);
        if self
            .folder
            .strip(hidden.as_str())
            .is_none_or(|name| name.contains('/'))
        {
            return refused("it is no direct child of the view");
        }
        if !self.is_whole() {
            return refused("the view hides one already");
        }
        Ok(Scope {
            folder: self.folder.clone(),
            hidden,
        })
    }

    /// Whether nothing is hidden.
    pub(crate) fn is_whole(&self) -> bool {
        self.hidden.is_root()
    }

    pub(crate) fn is_root(&self) -> bool {
        self.folder.is_root()
    }

    pub(crate) fn as_folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn as_str(&self) -> &str {
        self.folder.as_str()
    }

    pub(crate) fn as_prefix(&self) -> &str {
        self.folder.as_prefix()
    }

    /// The key of `name`.
    pub(crate) fn key(&self, name: &str) -> Result<Key> {
        let key = self.folder.key(name)?;
        if self.hides(key.as_str()) {
            return Err(Error::InvalidKey {
                key: name.to_owned(),
                rule: "it is reserved",
            });
        }
        Ok(key)
    }

    /// The folder of `name`; the empty name and `/` are the scope itself.
    pub(crate) fn folder(&self, name: &str) -> Result<Folder> {
        if name.is_empty() || name == "/" {
            return Ok(self.folder.clone());
        }
        self.key(name).map(|key| Folder::from(&key))
    }

    /// The name of a whole key, `None` where it lies elsewhere or is hidden.
    pub(crate) fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        self.folder.strip(key).filter(|_| !self.hides(key))
    }

    /// Whether a whole key, or the row of a folder, is one that the view does not see.
    pub(crate) fn hides(&self, key: &str) -> bool {
        !self.is_whole() && (self.hidden.strip(key).is_some() || key == self.hidden.as_str())
    }
}

impl From<Folder> for Scope {
    fn from(folder: Folder) -> Scope {
        Scope {
            folder,
            hidden: Folder::root(),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.folder, f)
    }
}
