//! Whether a participant may be in the room still.

use super::auth::Authority;
use crate::http::Service;

/// A participant that was let in.
pub(super) struct Presence {
    service: Service,
    authority: Authority,
    /// The change of accounts after which the authority was last looked at; none before the first look.
    looked_at: Option<u64>,
    has_ended: bool,
}

impl Presence {
    pub(super) fn new(service: Service, authority: Authority) -> Presence {
        Presence {
            service,
            authority,
            looked_at: None,
            has_ended: false,
        }
    }

    /// Whether what the participant came in with still stands. The accounts are asked where they have changed.
    pub(super) async fn stands(&mut self) -> bool {
        self.has_ended = self.has_ended || !self.look().await;
        !self.has_ended
    }

    async fn look(&mut self) -> bool {
        if self.authority.is_over() {
            return false;
        }
        let newest = Some(self.service.news().of_accounts());
        if self.looked_at == newest {
            return true;
        }
        let (accounts, authority) = (self.service.accounts().clone(), self.authority.clone());
        let look = move || authority.holds(&accounts);
        let holds = self.service.calls().run(look).await.unwrap_or(false);
        self.looked_at = newest;
        holds
    }

    /// Whether it was found not to stand any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }
}
