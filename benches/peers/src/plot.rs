//! A picture of each workload: a bar an engine, for its first figure.

use std::path::Path;

use plotters::prelude::*;

use crate::engine::{KINDS, KOMATIK, Work};
use crate::report::called;
use crate::results::Results;
use crate::workload::{ALL, Better, Workload};

const WIDTH: u32 = 720;
const BAR_HEIGHT: u32 = 24;
const LABEL_WIDTH: u32 = 150;

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Writes `<workload>.svg` for each that was run.
pub fn draw_all(results: &Results, directory: &Path) -> Drawn {
    for workload in ALL {
        if results.workloads.contains_key(workload.name) {
            draw(workload, results, directory)?;
        }
    }
    Ok(())
}

fn draw(workload: &Workload, results: &Results, directory: &Path) -> Drawn {
    let metric = &workload.metrics[0];
    let figures = KINDS.iter().filter_map(|kind| {
        let figure = results.figure(workload.name, kind.name, kind.work, metric.name)?;
        Some((*kind, figure))
    });
    let mut bars: Vec<_> = figures.collect();
    bars.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    if metric.better == Better::Lower {
        bars.reverse();
    }
    let most = bars.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
    let count = u32::try_from(bars.len())?;
    let file = directory.join(format!("{}.svg", workload.name));
    let root = SVGBackend::new(&file, (WIDTH, 80 + count * BAR_HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let way = match metric.better {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
    };
    let caption = format!(
        "{}: {}, {} ({way})",
        workload.name, metric.name, metric.unit
    );
    let labels: Vec<_> = bars.iter().map(|(kind, _)| called(*kind)).collect();
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d(0.0..most * 1.05, (0..count).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(bars.len())
        .y_label_formatter(&|place| match place {
            SegmentValue::CenterOf(place) | SegmentValue::Exact(place) => {
                labels.get(*place as usize).cloned().unwrap_or_default()
            }
            SegmentValue::Last => String::new(),
        })
        .draw()?;
    chart.draw_series((0..count).zip(&bars).map(|(place, (kind, figure))| {
        let colour = match (kind.name, kind.work) {
            (KOMATIK, _) => RGBColor(20, 90, 160),
            (_, Work::Same) => RGBColor(110, 160, 210),
            (_, Work::Raw) => RGBColor(200, 205, 210),
        };
        let (from, to) = (SegmentValue::Exact(place), SegmentValue::Exact(place + 1));
        let mut bar = Rectangle::new([(0.0, from), (*figure, to)], colour.filled());
        bar.set_margin(3, 3, 0, 0);
        bar
    }))?;
    root.present()?;
    Ok(())
}
