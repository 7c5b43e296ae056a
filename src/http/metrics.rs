//! Figures of the service, for Prometheus: `/metrics`, for admins.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Service;
use super::auth::Admin;
use super::problem::{Answer, Problem};
use crate::Stats;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/metrics", get(show))
}

/// What was counted since the service began.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram>,
    received: Counter,
    sent: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        // From 0.5 ms to 16 s.
        let buckets = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let mut metrics = Metrics {
            registry: Registry::with_prefix("komatik"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            received: Counter::default(),
            sent: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "http_requests",
            "Requests answered, by method, route and status",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the head of its answer, by route",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register_with_unit(
            "http_received",
            "Bytes of the bodies of requests",
            Unit::Bytes,
            metrics.received.clone(),
        );
        registry.register_with_unit(
            "http_sent",
            "Bytes of the bodies of answers",
            Unit::Bytes,
            metrics.sent.clone(),
        );
        metrics
    }

    /// The figures as text, those of the store behind them.
    fn text(&self, stats: &Stats) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        // The text of a registry ends with this mark, which is to come but once.
        let end = "# EOF\n";
        text.truncate(text.strip_suffix(end).unwrap_or(&text).len());
        encode(&mut text, &of_store(stats))?;
        Ok(text)
    }
}

fn of_store(stats: &Stats) -> Registry {
    let mut registry = Registry::with_prefix("komatik_store");
    let counts = [
        (
            "entries",
            "Documents, blobs and explicit folders",
            stats.entries,
        ),
        ("tokens", "Tokens that were granted", stats.tokens),
        ("revision", "The newest revision", stats.history.newest),
    ];
    for (name, help, value) in counts {
        registry.register(name, help, ConstGauge::new(value));
    }
    let sizes = [
        ("row", "Keys, metadata and small contents", stats.row_bytes),
        ("chunk", "Larger contents", stats.chunk_bytes),
        ("dead", "Waiting to be given back", stats.dead_bytes),
        ("journal", "The journal on disk", stats.journal_bytes),
        ("tree", "The sled trees on disk", stats.tree_bytes),
        ("pack", "The packs on disk", stats.pack_bytes),
    ];
    for (name, help, value) in sizes {
        registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(value));
    }
    registry
}

async fn show(State(service): State<Service>, _: Admin) -> Answer {
    let store = service.store().clone();
    let stats = service.calls().run(move || store.stats()).await?;
    let text = service.metrics().text(&stats);
    let text = text.map_err(|_| Problem::internal("writing the figures"))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// Counts a request and its answer.
pub(super) async fn count(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = method_name(request.method());
    // Of an address that no route has, any number could be asked for.
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or("none", MatchedPath::as_str).to_owned();
    let received = service.metrics().received.clone();
    let response = next.run(request.map(|body| counted(body, received))).await;
    let metrics = service.metrics();
    let status = response.status().as_u16().to_string();
    let labels = vec![
        ("method", method.to_owned()),
        ("route", route.clone()),
        ("status", status),
    ];
    metrics.requests.get_or_create(&labels).inc();
    let seconds = began.elapsed().as_secs_f64();
    metrics
        .seconds
        .get_or_create(&vec![("route", route)])
        .observe(seconds);
    let sent = metrics.sent.clone();
    response.map(|body| counted(body, sent))
}

fn counted(body: Body, bytes: Counter) -> Body {
    Body::new(Counted { body, bytes })
}

/// A body whose bytes are counted as they pass, and which is known to be as long as it was.
struct Counted {
    body: Body,
    bytes: Counter,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.bytes.inc_by(count);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client may make up methods without end.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
