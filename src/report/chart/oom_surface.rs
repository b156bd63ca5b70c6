//! Where memory ends, over two server axes.
//!
//! Of more than two axes the two are shown along which what becomes of a server changes most often; the others are held
//! where the most servers of the smaller kind stand, so that the boundary is in the picture.

use std::collections::BTreeMap;

use super::{
    Chart, about,
    scope::thinned,
    sheet::{NARROW, Sheet},
    svg::Anchor,
    text::width,
    tiles::{self, Tile, Tiles},
};
use crate::{
    manifest::scalar_text,
    measure::CellOutcome,
    plan::Group,
    report::{insight::count, number},
    store::{CellFile, ServerFile, StoredRun},
};

const COLUMNS: usize = 8;
/// The same on a phone.
const FEW_COLUMNS: usize = 4;
const ROWS: usize = 12;

/// What became of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Fits,
    Partly,
    Tight,
    Oom,
    /// It was not tried, for a smaller one was out of memory.
    Implied,
    Unknown,
}

impl Fate {
    fn fill(self) -> (&'static str, &'static str) {
        match self {
            Self::Fits => ("fits", "on-fits"),
            Self::Partly | Self::Tight => ("tight", "on-tight"),
            Self::Oom => ("oom", "on-oom"),
            Self::Implied | Self::Unknown => ("none", "on-none"),
        }
    }

    fn held(self) -> Option<bool> {
        match self {
            Self::Fits | Self::Partly => Some(true),
            Self::Tight | Self::Oom | Self::Implied => Some(false),
            Self::Unknown => None,
        }
    }
}

/// The picture; `None` where no server met the end of memory, or the run has no server axis.
pub(super) fn draw(run: &StoredRun, wide: f64) -> Option<Chart> {
    let mut cells: BTreeMap<&str, Vec<&CellFile>> = BTreeMap::new();
    for cell in &run.cells {
        cells.entry(cell.server.as_str()).or_default().push(cell);
    }
    let groups: Vec<&Group> = run.plan.groups.iter().collect();
    let fates: BTreeMap<&str, Fate> = groups
        .iter()
        .map(|group| (group.id.as_str(), fate(cells.get(group.id.as_str()))))
        .collect();
    let fate_of = |group: &Group| {
        fates
            .get(group.id.as_str())
            .copied()
            .unwrap_or(Fate::Unknown)
    };
    let hit = groups
        .iter()
        .filter(|group| matches!(fate_of(group), Fate::Oom | Fate::Tight | Fate::Partly))
        .count();
    let axes: Vec<&str> = run
        .plan
        .server_axes
        .iter()
        .map(String::as_str)
        .filter(|axis| values(&groups, axis).len() > 1)
        .collect();
    if hit == 0 || axes.is_empty() {
        return None;
    }
    let shown = strongest(&groups, &axes, &fate_of);
    let rest: Vec<&str> = axes
        .iter()
        .copied()
        .filter(|axis| !shown.contains(axis))
        .collect();
    let (kept, held) = held(&groups, &rest, &fate_of);
    let narrow = wide <= NARROW;
    let (down, across) = match shown.as_slice() {
        [one] => (None, *one),
        // On a phone there is more room down than across.
        [one, other, ..] if narrow && values(&kept, other).len() > values(&kept, one).len() => {
            (Some(*other), *one)
        }
        [one, other, ..] => (Some(*one), *other),
        [] => return None,
    };
    let (rows, fewer_rows) = match down {
        Some(axis) => thinned(&values(&kept, axis), ROWS, None),
        None => (vec![String::new()], false),
    };
    let (columns, fewer_columns) = thinned(
        &values(&kept, across),
        if narrow { FEW_COLUMNS } else { COLUMNS },
        None,
    );
    let tile = |group: &Group| {
        let server = run.servers.iter().find(|server| server.id == group.id);
        tile(
            group,
            fate_of(group),
            server,
            cells.get(group.id.as_str()),
            narrow,
        )
    };
    let at = |row: &str, column: &str| {
        kept.iter().copied().find(|group| {
            down.is_none_or(|axis| text(group, axis) == row) && text(group, across) == column
        })
    };
    let table = Tiles {
        row_axis: down.unwrap_or_default().to_owned(),
        column_axis: across.to_owned(),
        tiles: rows
            .iter()
            .map(|row| {
                columns
                    .iter()
                    .map(|column| at(row, column).map(tile))
                    .collect()
            })
            .collect(),
        rows,
        columns,
    };
    let over = match down {
        Some(down) => format!("{down} and {across}"),
        None => across.to_owned(),
    };
    let chart = Chart::new(
        "oom_surface",
        "",
        format!("Where memory ends, over {over}"),
        format!(
            "Not enough memory on {hit} of {}, over {over}.",
            count(groups.len(), "server")
        ),
    );
    let mut sheet = Sheet::new(&chart.title, &about::source(run), run, &[], wide);
    keys(&mut sheet, kept.iter().map(|group| fate_of(group)));
    let bottom = tiles::draw(&mut sheet, &table);
    let numbers = kept
        .iter()
        .any(|group| fate_of(group) == Fate::Fits && most(run, group).is_some());
    let ends = [true, false].iter().all(|side| {
        kept.iter()
            .any(|group| fate_of(group).held() == Some(*side))
    });
    let notes = super::notes([
        format!(
            "Not enough memory on {hit} of {}.{}",
            count(groups.len(), "server"),
            if ends {
                " The line marks the boundary."
            } else {
                ""
            }
        ),
        if numbers {
            "Where it fits: how many full-length requests its KV cache holds at once, by its own log.".into()
        } else {
            String::new()
        },
        held,
        if fewer_rows || fewer_columns {
            "Some values of an axis are not shown.".into()
        } else {
            String::new()
        },
    ]);
    Some(sheet.finish(bottom, &notes, chart))
}

fn fate(cells: Option<&Vec<&CellFile>>) -> Fate {
    let has = |outcome: CellOutcome| {
        cells.is_some_and(|cells| cells.iter().any(|cell| cell.outcome == outcome))
    };
    let measured = cells.is_some_and(|cells| cells.iter().any(|cell| cell.outcome.is_measured()));
    if has(CellOutcome::DoesNotFit) {
        Fate::Tight
    } else if has(CellOutcome::Oom) {
        if measured { Fate::Partly } else { Fate::Oom }
    } else if measured {
        Fate::Fits
    } else if cells.is_some_and(|cells| {
        let mut cells = cells.iter();
        cells.any(|cell| cell.proved_impossible_by.is_some())
    }) {
        Fate::Implied
    } else {
        Fate::Unknown
    }
}

fn most(run: &StoredRun, group: &Group) -> Option<f64> {
    let server = run.servers.iter().find(|server| server.id == group.id)?;
    server.facts.max_concurrency.filter(|most| most.is_finite())
}

fn tile(
    group: &Group,
    fate: Fate,
    server: Option<&ServerFile>,
    cells: Option<&Vec<&CellFile>>,
    narrow: bool,
) -> Tile {
    let facts = server.map(|server| &server.facts);
    let most = facts
        .and_then(|facts| facts.max_concurrency)
        .filter(|most| most.is_finite());
    let length = facts.and_then(|facts| facts.estimated_max_model_len);
    let phase = server.map(|server| server.outcome.to_string());
    let phase = phase
        .as_deref()
        .and_then(|text| text.strip_prefix("oom("))
        .map(|text| text.trim_end_matches(')').replace('_', " "));
    let lines = match fate {
        Fate::Fits => match most {
            Some(most) => vec![
                "fits".into(),
                format!("{} at once", number::rate_bare(Some(most))),
            ],
            None => vec!["fits".into()],
        },
        Fate::Partly => vec!["OOM under load".into(), lost(cells)],
        Fate::Tight => match length {
            Some(length) => vec![
                "does not fit".into(),
                format!("longest {}", number::thousands(Some(length as f64))),
            ],
            None => vec!["does not fit".into()],
        },
        Fate::Oom => match phase {
            Some(phase) => vec!["OOM".into(), phase],
            None => vec!["OOM".into()],
        },
        Fate::Implied => vec!["not tried".into(), "a smaller one ended".into()],
        Fate::Unknown => vec!["no result".into()],
    };
    let told = lines.join(", ");
    // Of a narrow tile the picture's keys say the rest.
    let lines = if narrow { shortened(lines) } else { lines };
    let axes: Vec<String> = group
        .axes
        .iter()
        .map(|(axis, value)| format!("{axis} {}", scalar_text(value)))
        .collect();
    let (fill, ink) = fate.fill();
    Tile {
        fill,
        ink,
        about: format!("{}\n{}", axes.join(", "), told),
        lines,
        cell: cells
            .and_then(|cells| {
                cells
                    .iter()
                    .find(|cell| cell.outcome.is_on_oom_surface())
                    .or(cells.first())
            })
            .map(|cell| cell.id.clone()),
        picked: false,
        inside: fate.held(),
    }
}

/// The words of a tile on a phone.
fn shortened(lines: Vec<String>) -> Vec<String> {
    let short = |text: String| match text.as_str() {
        "does not fit" => "too small".to_owned(),
        "OOM under load" => "OOM, load".to_owned(),
        "a smaller one ended" => String::new(),
        _ => match text.strip_prefix("longest ") {
            Some(length) => format!("≤ {length}"),
            None => text.trim_end_matches(" cells").to_owned(),
        },
    };
    let lines = lines.into_iter().map(short);
    lines.filter(|text| !text.is_empty()).collect()
}

fn lost(cells: Option<&Vec<&CellFile>>) -> String {
    let all = cells.map_or(&[][..], Vec::as_slice);
    let lost = all
        .iter()
        .filter(|cell| cell.outcome == CellOutcome::Oom)
        .count();
    format!("{lost} of {}", count(all.len(), "cell"))
}

fn text(group: &Group, axis: &str) -> String {
    group
        .axes
        .get(axis)
        .map_or_else(|| number::ABSENT.to_owned(), scalar_text)
}

/// The values of an axis, numbers ascending, else as the plan has them.
fn values(groups: &[&Group], axis: &str) -> Vec<String> {
    let mut found: Vec<(Option<f64>, String)> = Vec::new();
    for group in groups {
        let text = text(group, axis);
        if !found.iter().any(|(_, known)| *known == text) {
            found.push((
                group.axes.get(axis).and_then(serde_json::Value::as_f64),
                text,
            ));
        }
    }
    if found.iter().all(|(number, _)| number.is_some()) {
        found.sort_by(|a, b| a.0.unwrap_or(f64::NAN).total_cmp(&b.0.unwrap_or(f64::NAN)));
    }
    found.into_iter().map(|(_, text)| text).collect()
}

/// The two axes, or the one, along which fates change most often between servers that share everything else.
fn strongest<'a>(
    groups: &[&Group],
    axes: &[&'a str],
    fate: &impl Fn(&Group) -> Fate,
) -> Vec<&'a str> {
    if axes.len() <= 2 {
        return axes.to_vec();
    }
    let changes = |axis: &str| {
        let mut lines: BTreeMap<Vec<String>, Vec<Fate>> = BTreeMap::new();
        for group in groups {
            let others = axes
                .iter()
                .filter(|other| **other != axis)
                .map(|other| text(group, other))
                .collect();
            lines.entry(others).or_default().push(fate(group));
        }
        lines
            .values()
            .filter(|fates| fates.iter().any(|fate| *fate != fates[0]))
            .count()
    };
    let mut order: Vec<(usize, usize)> = axes
        .iter()
        .enumerate()
        .map(|(index, axis)| (changes(axis), index))
        .collect();
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut places: Vec<usize> = order.iter().take(2).map(|(_, index)| *index).collect();
    places.sort_unstable();
    places.into_iter().map(|index| axes[index]).collect()
}

/// The servers of the combination of other axes that shows the boundary best, and a sentence that names it.
fn held<'a>(
    groups: &[&'a Group],
    rest: &[&str],
    fate: &impl Fn(&Group) -> Fate,
) -> (Vec<&'a Group>, String) {
    if rest.is_empty() {
        return (groups.to_vec(), String::new());
    }
    let mut found: Vec<(Vec<String>, Vec<&Group>)> = Vec::new();
    for group in groups {
        let place: Vec<String> = rest.iter().map(|axis| text(group, axis)).collect();
        match found.iter_mut().find(|(known, _)| *known == place) {
            Some((_, members)) => members.push(group),
            None => found.push((place, vec![group])),
        }
    }
    let smaller = |members: &[&Group]| {
        let held = members
            .iter()
            .filter(|group| fate(group).held() == Some(true))
            .count();
        let not = members
            .iter()
            .filter(|group| fate(group).held() == Some(false))
            .count();
        held.min(not)
    };
    let mut best = 0;
    for index in 1..found.len() {
        if smaller(&found[index].1) > smaller(&found[best].1) {
            best = index;
        }
    }
    let (place, members) = found.swap_remove(best);
    let named: Vec<String> = rest
        .iter()
        .zip(&place)
        .map(|(axis, value)| format!("{axis} {value}"))
        .collect();
    (
        members,
        format!(
            "The other axes are held where the boundary shows best: {}.",
            named.join(", ")
        ),
    )
}

/// The colours that occur, with their words.
fn keys(sheet: &mut Sheet, fates: impl Iterator<Item = Fate>) {
    let mut known: Vec<Fate> = fates.collect();
    known.sort_unstable();
    known.dedup();
    let mut flow = sheet.row();
    for fate in known {
        let word = match fate {
            Fate::Fits => "fits",
            Fate::Partly => "out of memory under load",
            Fate::Tight => "KV cache too small for one request",
            Fate::Oom => "out of memory at start",
            Fate::Implied => "not tried: a smaller one was out of memory",
            Fate::Unknown => "no result",
        };
        let (x, y) = flow.place(26.0 + width(word, 12.0));
        sheet.svg.rect(x, y - 11.0, 18.0, 14.0, 2.0, fate.fill().0);
        sheet.svg.text((x + 26.0, y), Anchor::Start, "key", word);
    }
    sheet.end_row(flow);
}
