//! `/v1/changes`: what happened, as a stream of events or by asking again and again.
//!
//! A stream is a watcher that is asked when there is news, so that one who waits holds no thread.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::auth::Caller;
use super::key::Asked;
use super::problem::{Answer, Problem};
use super::standing::Standing;
use super::{Service, accounts};
use crate::{Change, ChangeKind, Events, Since, Store, Subscription, Watcher};

/// How many changes an answer has where the request does not say, and how many a stream reads at a time.
const BATCH: usize = 100;
/// How many changes an answer has at most, but for those that belong to the commit of the last one.
const LARGEST_BATCH: usize = 10_000;
/// How long a request waits for a change at most, in seconds.
const LONGEST_WAIT: u64 = 300;
/// How often a stream without changes shows that it is alive, and at most how far it is.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/v1/changes", get(changes))
}

/// Tells those who wait that the store has changed, or that the service stops.
#[derive(Debug)]
pub(super) struct News {
    newest: watch::Receiver<u64>,
    /// The revision of the last change of what the service keeps of accounts.
    accounts: watch::Receiver<u64>,
    stage: watch::Sender<Stage>,
    _subscription: Subscription,
}

/// How far a service is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Stopping,
    GivenUp,
}

impl News {
    pub(super) fn of(store: &Store) -> News {
        let (tell, newest) = watch::channel(0);
        let (tell_accounts, accounts) = watch::channel(0);
        let subscription = store.on(Events::ALL, move |change| {
            // First: who is woken by the other looks at it.
            let from = match &change.kind {
                ChangeKind::Move { from } => Some(from),
                ChangeKind::Put | ChangeKind::Delete => None,
            };
            if is_of_accounts(&change.key) || from.is_some_and(|from| is_of_accounts(from)) {
                tell_accounts.send_replace(change.revision);
            }
            tell.send_replace(change.revision);
        });
        News {
            newest,
            accounts,
            stage: watch::Sender::new(Stage::Serving),
            _subscription: subscription,
        }
    }

    /// The revision of the last change of accounts that this service knows of.
    pub(super) fn of_accounts(&self) -> u64 {
        *self.accounts.borrow()
    }

    /// The service stops: who waits is to end.
    pub(super) fn stop(&self) {
        self.come_to(Stage::Stopping);
    }

    /// The service has stopped: what has not ended by now is to be broken off.
    pub(super) fn give_up(&self) {
        self.come_to(Stage::GivenUp);
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stage.borrow() >= Stage::Stopping
    }

    /// Done when the service stops. It holds nothing of the service.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        self.has_come_to(Stage::Stopping)
    }

    /// Done when the service has stopped.
    pub(super) fn given_up(&self) -> impl Future<Output = ()> + use<> {
        self.has_come_to(Stage::GivenUp)
    }

    fn come_to(&self, next: Stage) {
        self.stage.send_modify(|stage| *stage = next.max(*stage));
    }

    fn has_come_to(&self, awaited: Stage) -> impl Future<Output = ()> + use<> {
        let mut stage = self.stage.subscribe();
        async move {
            // Where the sender has gone, the service has as well.
            let _ = stage.wait_for(|stage| *stage >= awaited).await;
        }
    }
}

fn is_of_accounts(key: &str) -> bool {
    let below = key.strip_prefix(accounts::FOLDER);
    below.is_some_and(|below| below.starts_with('/'))
}

/// A watcher that can be waited for.
pub(super) struct Follower {
    service: Service,
    newest: watch::Receiver<u64>,
    /// With a call to the store, or here.
    watcher: Option<Watcher>,
    /// The revision to go on from, as of the last look.
    position: u64,
}

/// Whole commits of the history, as who asks for them is answered.
struct Page {
    json: Vec<u8>,
    is_empty: bool,
}

impl Follower {
    pub(super) async fn begin(
        service: &Service,
        store: Store,
        folder: String,
        since: Since,
    ) -> Answer<Follower> {
        let newest = service.news().newest.clone();
        let watcher = service
            .calls()
            .run(move || store.watch(&folder, since))
            .await?;
        Ok(Follower {
            service: service.clone(),
            newest,
            position: watcher.revision(),
            watcher: Some(watcher),
        })
    }

    /// The next changes, at most so many; none where there are none yet. A commit may have a million of them, and be read in parts.
    pub(super) async fn read(&mut self, limit: usize) -> Answer<Vec<Change>> {
        self.look(move |watcher| {
            let mut changes = Vec::new();
            while changes.len() < limit
                && let Some(change) = watcher.try_recv()?
            {
                changes.push(change);
            }
            Ok(changes)
        })
        .await
    }

    /// The next changes, about so many, to the end of a commit; none where there are none yet.
    async fn read_page(&mut self, limit: usize) -> Answer<Page> {
        self.look(move |watcher| page(watcher, limit)).await
    }

    async fn look<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Watcher) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        // Before the look, so that what comes after it is news.
        self.newest.borrow_and_update();
        let Some(mut watcher) = self.watcher.take() else {
            return Err(Problem::internal("a watcher was lost"));
        };
        let look = move || look(&mut watcher).map(|seen| (watcher, seen));
        let (watcher, seen) = self.service.calls().run(look).await?;
        self.position = watcher.revision();
        self.watcher = Some(watcher);
        Ok(seen)
    }

    /// There may be more than was read: the next [`Follower::wait`] is over at once.
    pub(super) fn look_again(&mut self) {
        self.newest.mark_changed();
    }

    /// Waits until there may be more; false where the service stops.
    pub(super) async fn wait(&mut self) -> bool {
        tokio::select! {
            changed = self.newest.changed() => changed.is_ok(),
            () = self.service.news().stopped() => false,
        }
    }
}

/// Each change is written as it is read: of many, their bytes take least.
fn page(watcher: &mut Watcher, limit: usize) -> Answer<Page> {
    let failed = |_| Problem::internal("writing changes");
    let mut json = br#"{"changes":["#.to_vec();
    let (mut count, mut is_within_commit) = (0, false);
    while (count < limit || is_within_commit)
        && let Some(change) = watcher.try_recv()?
    {
        if count > 0 {
            json.push(b',');
        }
        serde_json::to_writer(&mut json, &change).map_err(failed)?;
        count += 1;
        is_within_commit = !change.last;
    }
    let (position, caught_up) = (watcher.revision(), watcher.caught_up());
    let end = format!(r#"],"position":{position},"caught_up":{caught_up}}}"#);
    json.extend(end.into_bytes());
    Ok(Page {
        json,
        is_empty: count == 0,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    folder: String,
    /// A revision, `start` or `now`.
    after: Option<String>,
    /// In seconds.
    timeout: Option<u64>,
    limit: Option<usize>,
}

fn since(after: &str) -> Answer<Since> {
    match after {
        "start" => Ok(Since::Start),
        "now" => Ok(Since::Now),
        revision => revision
            .parse()
            .map(Since::After)
            .map_err(|_| Problem::bad_request("`after` is neither a revision nor start nor now")),
    }
}

async fn changes(
    State(service): State<Service>,
    standing: Standing,
    caller: Caller,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Answer {
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = last_seen
        .filter(|id| !id.is_empty())
        .or(query.after.as_deref());
    let since = since(after.unwrap_or("now"))?;
    let follower = Follower::begin(&service, caller.store, query.folder, since).await?;
    if is_stream_wanted(&headers) {
        let events =
            Sse::new(events(follower, standing)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        return Ok(events.into_response());
    }
    let limit = query.limit.unwrap_or(BATCH).clamp(1, LARGEST_BATCH);
    let wait = Duration::from_secs(query.timeout.unwrap_or(0).min(LONGEST_WAIT));
    poll(follower, standing, limit, wait).await
}

fn is_stream_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"))
}

/// The next changes, waited for.
async fn poll(
    mut follower: Follower,
    mut standing: Standing,
    limit: usize,
    wait: Duration,
) -> Answer<Response> {
    let deadline = Instant::now() + wait;
    loop {
        let page = follower.read_page(limit).await?;
        standing.check().await?;
        let waited = || tokio::time::timeout_at(deadline, std::future::pending::<()>());
        if page.is_empty {
            let is_more = tokio::select! {
                is_more = follower.wait() => is_more,
                () = standing.ended() => true,
                _ = waited() => false,
            };
            if is_more {
                continue;
            }
        }
        let kind = [(header::CONTENT_TYPE, "application/json")];
        return Ok((kind, page.json).into_response());
    }
}

/// Events without end, as long as who asked for them may. The last of each commit has its revision as id: the place to go on
/// from. So has one before all others, and one now and then where all that comes is out of sight: without it, who is broken off
/// would not know where they were, or be somewhere the history no longer reaches.
fn events(follower: Follower, standing: Standing) -> impl Stream<Item = Result<Event, Infallible>> {
    let told = Told::now(follower.position);
    let first = stream::iter([vec![told.event()]]);
    let others = stream::unfold(Some((follower, standing, told)), |asked| async {
        let (mut follower, mut standing, mut told) = asked?;
        loop {
            let read = follower.read(BATCH).await;
            let read = standing.check().await.and(read);
            let changes = match read {
                Ok(changes) => changes,
                // The head is sent, so the problem comes as the last event.
                Err(problem) => {
                    let text = problem.into_value().to_string();
                    return Some((vec![Event::default().event("problem").data(text)], None));
                }
            };
            if !changes.is_empty() {
                if let Some(end) = changes.iter().rfind(|change| change.last) {
                    told = Told::now(end.revision);
                }
                let events = changes.iter().map(event).collect();
                return Some((events, Some((follower, standing, told))));
            }
            let has_moved = follower.position != told.position;
            let due = told.at + KEEP_ALIVE;
            if has_moved && due <= Instant::now() {
                told = Told::now(follower.position);
                return Some((vec![told.event()], Some((follower, standing, told))));
            }
            let goes_on = tokio::select! {
                goes_on = follower.wait() => goes_on,
                () = standing.ended() => true,
                () = tokio::time::sleep_until(due), if has_moved => true,
            };
            if !goes_on {
                return None;
            }
        }
    });
    let events = first.chain(others);
    events.flat_map(|events| stream::iter(events.into_iter().map(Ok)))
}

/// The place to go on from that was told last.
struct Told {
    position: u64,
    at: Instant,
}

impl Told {
    fn now(position: u64) -> Told {
        let at = Instant::now();
        Told { position, at }
    }

    /// No client shows it: it has no data.
    fn event(&self) -> Event {
        Event::default().id(self.position.to_string())
    }
}

fn event(change: &Change) -> Event {
    let event = Event::default()
        .event(change.kind.as_str())
        .data(json!(change).to_string());
    match change.last {
        true => event.id(change.revision.to_string()),
        false => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PutMode;
    use crate::http::Limits;

    /// A program may do to the accounts what it likes, and one that has gone is none.
    #[test]
    fn accounts_that_are_moved_away_or_here_are_news() {
        let store = Store::in_memory().unwrap();
        let news = News::of(&store);
        store.save("mine", &1).unwrap();
        for (from, to) in [
            ("mine", ".komatik/users/ann"),
            (".komatik/users/ann", "mine"),
        ] {
            let revision = store.rename(from, to, PutMode::Create).unwrap();
            assert_eq!(news.of_accounts(), revision, "{from}");
        }
        let revision = store.rename("mine", "other", PutMode::Create).unwrap();
        assert!(news.of_accounts() < revision);
    }

    /// Who listens would hold all of a commit of a million changes.
    #[tokio::test]
    async fn of_a_large_commit_only_so_much_is_read_at_a_time() {
        let store = Store::in_memory().unwrap();
        let (service, _) = Service::new(&store, Limits::default()).unwrap();
        let view = service.store().clone();
        let begun = Follower::begin(&service, view, String::new(), Since::Now).await;
        let mut follower = begun.ok().unwrap();
        let written = store.transaction(|tx| {
            (0..250).try_for_each(|number| tx.put(&number.to_string(), "x").map(drop))
        });
        written.unwrap();
        let mut keys = Vec::new();
        for count in [100, 100, 50, 0] {
            let changes = follower.read(100).await.ok().unwrap();
            assert_eq!(changes.len(), count);
            keys.extend(changes.iter().map(|change| change.key.clone()));
            let ends = changes.iter().filter(|change| change.last).count();
            assert_eq!(ends, usize::from(count == 50));
        }
        let expected: Vec<_> = (0..250).map(|number| number.to_string()).collect();
        assert_eq!(keys, expected);
    }
}
