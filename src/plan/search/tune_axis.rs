//! The axes of a search for the best server, and the values it tries on them.

use std::cmp::Ordering;

use serde_json::Value;

use super::value_range::server_axis;
use crate::{
    diagnostic::Finding,
    flags,
    manifest::{Column, Manifest, Path},
};

/// Reads the axes. Those that are not valid are reported and left out.
pub(super) fn tune_axes(
    manifest: &Manifest,
    name: &str,
    axes: &[String],
    found: &mut Vec<Finding>,
) -> Vec<(Path, Vec<Value>)> {
    let place = manifest.place(&["search", name, "axes"]);
    let wrong = |title: String| Finding::error(format!("search `{name}`: {title}"));
    let mut read: Vec<(Path, Vec<Value>)> = Vec::new();
    for text in axes {
        let Some(path) = server_axis(manifest, name, "axes", text, found) else { continue };
        if read.iter().any(|(known, _)| *known == path) {
            found.push(
                wrong(format!("it lists `{path}` twice")).at(&place, "the same axis").help("remove one"),
            );
            continue;
        }
        match values(manifest, &path) {
            Ok(values) => read.push((path, values)),
            Err(NoValues::Unknown) => found.push(
                wrong(format!("it does not know which values of `{path}` to try"))
                    .at(&place, "no usual values are known")
                    .help(format!("list them in [sweep]: {path} = [1, 2, 4]")),
            ),
            Err(NoValues::Bundled) => {
                let finding =
                    wrong(format!("`{path}` is no axis of its own in [sweep]")).at(&place, "tried here");
                let finding = match manifest.sweep.place_of(&path) {
                    Some(swept) => finding.related(swept, "set here, together with others"),
                    None => finding,
                };
                found.push(finding.help(format!("list its values alone: {path} = [1, 2, 4]")));
            }
        }
    }
    read
}

/// Why an axis has no values to try.
enum NoValues {
    /// Neither the manifest nor the catalogue of flags lists any.
    Unknown,
    /// A zip, a variant or an expression sets it.
    Bundled,
}

/// The values to try on an axis: those of `[sweep]`, else the usual ones of the flag and the manifest's own.
fn values(manifest: &Manifest, path: &Path) -> Result<Vec<Value>, NoValues> {
    let column = [Column::Path(path.clone())];
    if let Some(factor) = manifest.sweep.factors.iter().find(|factor| factor.columns == column) {
        return Ok(sorted(factor.points.iter().map(|point| point.values[0].clone()).collect()));
    }
    if manifest.sweep.sets_path(path) {
        return Err(NoValues::Bundled);
    }
    let flag = path.0.get(2).filter(|_| path.starts_with(&["server", "flags"]));
    let info = flag.and_then(|name| flags::info(name)).filter(|info| !info.usual.is_empty());
    let mut values = info.ok_or(NoValues::Unknown)?.usual.clone();
    let own = path.0[1..].iter().try_fold(&manifest.server, |value, key| value.get(key));
    values.extend(own.filter(|own| !own.is_object() && !values.contains(own)).cloned());
    Ok(sorted(values))
}

/// Numbers in ascending order; other values as they are.
fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    if values.iter().all(Value::is_number) {
        values.sort_by(|a, b| a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal));
    }
    values
}
