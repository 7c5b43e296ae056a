//! The tables.

use std::fmt::Write;

use crate::engine::{KINDS, Kind};
use crate::results::Results;
use crate::targets::{Judged, judge};
use crate::workload::{ALL, Workload};

/// All of it as Markdown, with links to the plots beside it.
pub fn markdown(results: &Results) -> String {
    let mut text = String::from(
        "# Komatik beside other engines\n\n\
        Written by `cargo run --release -- run` in `benches/peers`. Every figure is the median of its repetitions, which \
        took turns over the engines. *Same work* is value, metadata, change record and checksum in one atomic commit, as \
        Komatik does; *raw* is the value alone. What does not wait for the disk is with the system when the call returns, so \
        that a killed process loses nothing; but redb and sled, which have nothing between that and a sync, may. Peak memory is what the \
        process took beyond its start; pages of mapped files count.\n\n## Machine\n\n| | |\n|---|---|\n",
    );
    for (name, value) in &results.machine {
        line(&mut text, format_args!("| {name} | {value} |"));
    }
    for (name, unit, value) in &results.limits {
        line(
            &mut text,
            format_args!("| {name} | {} {unit} |", number(*value)),
        );
    }
    text.push_str("\n## What must be reached\n\n| workload | figure | asked | found | |\n|---|---|---|---|---|\n");
    for judged in judge(results) {
        line(&mut text, format_args!("{}", row(&judged)));
    }
    for workload in ALL {
        if results.workloads.contains_key(workload.name) {
            table(&mut text, workload, results);
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A `String` takes whatever it is given.
    let _ = writeln!(text, "{line}");
}

fn row(judged: &Judged) -> String {
    let Judged {
        workload,
        metric,
        asked,
        found,
        is_met,
    } = judged;
    let met = if *is_met { "met" } else { "**missed**" };
    format!(
        "| {workload} | {metric} | {asked} | {} | {met} |",
        number(*found)
    )
}

fn table(text: &mut String, workload: &Workload, results: &Results) {
    line(
        text,
        format_args!("\n## {}\n\n![]({}.svg)\n", workload.title, workload.name),
    );
    let names = workload
        .metrics
        .iter()
        .map(|metric| format!(" {}, {} |", metric.name, metric.unit));
    line(
        text,
        format_args!("| engine |{}", names.collect::<String>()),
    );
    line(
        text,
        format_args!("|---|{}", "---|".repeat(workload.metrics.len())),
    );
    for kind in KINDS {
        let figures = workload
            .metrics
            .iter()
            .map(|metric| results.figure(workload.name, kind.name, kind.work, metric.name));
        let figures: Vec<_> = figures.collect();
        if figures.iter().all(Option::is_none) {
            continue;
        }
        let cells = figures
            .iter()
            .map(|figure| format!(" {} |", figure.map_or_else(|| "–".to_owned(), number)));
        line(
            text,
            format_args!("| {} |{}", called(kind), cells.collect::<String>()),
        );
    }
}

/// An engine and its work in words.
pub fn called(kind: Kind) -> String {
    format!("{}, {}", kind.name, kind.work.name())
}

/// Three digits that matter, thousands apart.
fn number(value: f64) -> String {
    if value < 100.0 {
        let decimals = if value < 10.0 { 2 } else { 1 };
        return format!("{value:.decimals$}");
    }
    let digits = format!("{value:.0}");
    let mut apart = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}
