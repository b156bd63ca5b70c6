//! One cell over time: requests in flight, tokens per second, KV cache in use.

use super::{
    Chart, about,
    plane::Plane,
    scale::Scale,
    scope::Scope,
    sheet::{EDGE, NARROW, Sheet},
    svg::{Anchor, Svg},
    text::width,
};
use crate::{
    measure::Window,
    report::{number, origin::Origin},
    store::{CellFile, StoredRun},
};

const HEIGHT: f64 = 92.0;
const GAP: f64 = 44.0;

/// One row of the picture.
struct Panel {
    title: String,
    lines: Vec<Curve>,
    /// The largest value that is shown, where it is known before: 1 for a part.
    most: Option<f64>,
    /// Whether it counts something: no line between whole numbers.
    whole: bool,
}

/// A line over time.
struct Curve {
    label: &'static str,
    colour: usize,
    /// Whether a value holds until the next one.
    stepped: bool,
    points: Vec<(f64, f64)>,
}

/// The picture, of the best cell, or the first one that has a timeline; `None` where none has.
pub(super) fn draw(run: &StoredRun, scope: &Scope<'_>) -> Option<Chart> {
    let cell = scope
        .best
        .filter(|cell| cell.timeline.len() > 1)
        .or_else(|| scope.measured().find(|cell| cell.timeline.len() > 1))?;
    let place = about::place(scope, cell);
    let chart = Chart::new(
        "timeline",
        scope.workload,
        format!("{}: one cell over time", scope.workload),
        format!("Requests in flight and output over time, {place}."),
    );
    let panels = panels(cell, scope.wide <= NARROW);
    let length = panels
        .iter()
        .flat_map(|panel| &panel.lines)
        .flat_map(|line| &line.points)
        .map(|(t, _)| *t)
        .fold(0.0, f64::max);
    let mut sheet = Sheet::new(
        &chart.title,
        &format!("{place} · {}", about::source(run)),
        run,
        &[],
        scope.wide,
    );
    let mut top = sheet.top() + 34.0;
    let window = window(cell);
    let last = panels.len() - 1;
    let mut bottom = top;
    for (index, panel) in panels.iter().enumerate() {
        let plane = Plane {
            left: EDGE + 52.0,
            right: scope.wide - EDGE - 14.0,
            top,
            bottom: top + HEIGHT,
        };
        let x = Scale::over([length].into_iter(), false, plane.left, plane.right)?;
        let x = Scale::between(
            0.0,
            length.max(x.max() * 1e-6),
            false,
            plane.left,
            plane.right,
        );
        row(&mut sheet.svg, &plane, panel, &x, window, index == last)?;
        bottom = plane.bottom;
        top = bottom + GAP;
    }
    let measured = if window.is_some() {
        "Grey: the measured window, without warm-up.".to_owned()
    } else {
        String::new()
    };
    let preempted = cell
        .server_side
        .as_ref()
        .and_then(|side| side.engine.as_ref()?.preemptions)
        .map_or_else(String::new, |number| match number {
            0 => "The server preempted no request.".into(),
            number => format!(
                "The server preempted requests {} times.",
                number::thousands(Some(number as f64))
            ),
        });
    let clock = if panels
        .iter()
        .any(|panel| panel.lines.iter().any(|line| line.colour > 1))
    {
        "Lines from the server start at its first scrape, just before the first request."
    } else {
        ""
    };
    let repeat = if cell.repeats.len() > 1 {
        "This is the last repeat."
    } else {
        ""
    };
    let kind = match scope.letter(cell) {
        "" => String::new(),
        _ => format!("This cell was {}, not measured.", Origin::of(cell).word()),
    };
    let notes = super::notes([kind, measured, preempted, clock.into(), repeat.into()]);
    Some(sheet.finish(bottom + Plane::BELOW, &notes, chart))
}

fn panels(cell: &CellFile, narrow: bool) -> Vec<Panel> {
    let start = cell
        .timeline
        .first()
        .map_or(0.0, |point| point.t_s.min(0.0));
    let flight = cell
        .timeline
        .iter()
        .map(|point| (point.t_s - start, point.in_flight))
        .collect();
    let per_chunk = cell
        .summary
        .as_ref()
        .and_then(|summary| summary.tokens_per_chunk);
    let chunks = cell
        .timeline
        .iter()
        .map(|point| (point.t_s - start, point.chunks_s * per_chunk.unwrap_or(1.0)))
        .collect();
    let side = cell
        .server_side
        .as_ref()
        .map_or(&[][..], |side| side.timeline.as_slice());
    let gauge = |get: fn(&crate::observe::GaugePoint) -> Option<f64>| -> Vec<(f64, f64)> {
        side.iter()
            .filter_map(|point| Some((point.t_s, get(point)?)))
            .collect()
    };
    let mut requests = vec![Curve {
        label: if narrow {
            "in flight"
        } else {
            "in flight, by the client"
        },
        colour: 0,
        stepped: false,
        points: flight,
    }];
    let waiting = gauge(|point| point.waiting);
    if waiting.len() > 1 {
        requests.push(Curve {
            label: if narrow {
                "waiting"
            } else {
                "waiting, by the server"
            },
            colour: 3,
            stepped: true,
            points: waiting,
        });
    }
    let mut panels = vec![
        Panel {
            title: "requests".into(),
            lines: requests,
            most: None,
            whole: true,
        },
        Panel {
            title: match per_chunk {
                Some(tokens) if narrow || (tokens - 1.0).abs() < 0.005 => {
                    "output tokens per second".into()
                }
                Some(tokens) => format!(
                    "output tokens per second (chunks × {} tokens each)",
                    number::thousands(Some((tokens * 100.0).round() / 100.0))
                ),
                None => "chunks with output per second".into(),
            },
            lines: vec![Curve {
                label: "",
                colour: 1,
                stepped: false,
                points: chunks,
            }],
            most: None,
            whole: false,
        },
    ];
    let kv = gauge(|point| point.kv_usage.map(|part| part * 100.0));
    if kv.len() > 1 {
        panels.push(Panel {
            title: "KV cache in use, %".into(),
            lines: vec![Curve {
                label: "",
                colour: 2,
                stepped: true,
                points: kv,
            }],
            most: Some(100.0),
            whole: false,
        });
    }
    panels
}

/// The measured window of the repeat that is shown.
fn window(cell: &CellFile) -> Option<Window> {
    match cell.repeats.last() {
        Some(last) => last.window,
        None => cell.summary.as_ref()?.window,
    }
}

fn row(
    svg: &mut Svg,
    plane: &Plane,
    panel: &Panel,
    x: &Scale,
    window: Option<Window>,
    is_last: bool,
) -> Option<()> {
    let values = panel
        .lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|(_, value)| *value);
    let y = match panel.most {
        Some(most) => Scale::between(0.0, most, false, plane.bottom, plane.top),
        None => Scale::over(values, false, plane.bottom, plane.top)?,
    };
    if let Some(window) = window {
        let (from, to) = (x.at(window.start_s), x.at(window.start_s + window.length_s));
        svg.rect(
            from,
            plane.top,
            to - from,
            plane.bottom - plane.top,
            0.0,
            "window",
        );
    }
    let mut ticks = y.ticks();
    if panel.whole {
        ticks.retain(|(value, _)| value.fract() == 0.0);
        for (value, text) in &mut ticks {
            *text = number::thousands(Some(*value));
        }
    }
    // A low panel has room for a few lines only.
    let every = ticks.len().div_ceil(4).max(1);
    for (value, text) in ticks.iter().step_by(every) {
        let at = y.at(*value);
        svg.line((plane.left, at), (plane.right, at), "grid");
        svg.text((plane.left - 8.0, at + 4.5), Anchor::End, "tick", text);
    }
    plane.title(svg, &panel.title);
    let mut label = plane.right;
    for line in panel.lines.iter().rev() {
        let points: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|(t, value)| (x.at(*t), y.at(*value)))
            .collect();
        let points = if line.stepped {
            stepped(&points)
        } else {
            points
        };
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let mut area = vec![(first.0, plane.bottom)];
            area.extend(&points);
            area.push((last.0, plane.bottom));
            svg.polygon(&area, &format!("area f{}", line.colour));
        }
        svg.polyline(&points, &format!("line s{}", line.colour));
        if !line.label.is_empty() {
            svg.text(
                (label, plane.top - 12.0),
                Anchor::End,
                &format!("key f{}", line.colour),
                line.label,
            );
            label -= width(line.label, 12.0) + 18.0;
        }
    }
    if is_last {
        let ticks: Vec<(f64, String)> = x
            .ticks()
            .into_iter()
            .map(|(value, text)| (x.at(value), text))
            .collect();
        plane.below(svg, &ticks, "seconds since the cell began");
    } else {
        plane.below(svg, &[], "");
    }
    Some(())
}

/// The corners of a line that holds each value until the next one.
fn stepped(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners = Vec::with_capacity(points.len() * 2);
    for point in points {
        if let Some((_, y)) = corners.last().copied() {
            corners.push((point.0, y));
        }
        corners.push(*point);
    }
    corners
}
