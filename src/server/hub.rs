//! Whether a hub model's files are in the cache, so that waiting for a download is not counted as a slow start.

use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::manifest::{Engine, EnvValue, Server, expand_home};

/// The unit in which a file's place on the disk is told, whatever the disk's own is.
const BLOCK: u64 = 512;

/// The folder of the cache where the files of a server's model will be; `None` when nothing will be downloaded: another
/// engine, or a local model.
pub(super) fn model_folder(server: &Server) -> Option<Utf8PathBuf> {
    let local = ["/", "./", "../", "~/"].iter().any(|prefix| server.model.starts_with(prefix));
    if server.engine != Engine::Vllm || local || Utf8Path::new(&server.model).exists() {
        return None;
    }
    // The server's own variables decide, since it is the one who downloads.
    let variable = |name: &str| match server.env.get(name) {
        Some(EnvValue::Text(text)) => Some(text.clone()),
        Some(EnvValue::Unset(_)) => None,
        None => std::env::var(name).ok(),
    };
    let cache = match server.flags.text("download-dir") {
        Some(folder) => expand_home(&folder),
        None => cache(variable)?,
    };
    Some(cache.join(format!("models--{}", server.model.replace('/', "--"))))
}

/// Where huggingface_hub keeps what it downloads, by its documented variables.
fn cache(variable: impl Fn(&str) -> Option<String>) -> Option<Utf8PathBuf> {
    let folder =
        |name: &str| variable(name).filter(|value| !value.is_empty()).map(|value| expand_home(&value));
    folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/hub")))
}

/// Whether a model's weights are complete: nothing is under way, and a snapshot has weights, all that its index names.
pub(super) fn is_complete(folder: &Utf8Path) -> bool {
    let under_way = names(&folder.join("blobs")).iter().any(|name| name.ends_with(".incomplete"));
    !under_way
        && names(&folder.join("snapshots"))
            .iter()
            .any(|name| has_weights(&folder.join("snapshots").join(name)))
}

/// Bytes of a model's files that are on the disk, unfinished ones included. What a file will hold but does not yet is not
/// counted.
pub(super) fn arrived(folder: &Utf8Path) -> u64 {
    let blobs = folder.join("blobs").read_dir_utf8();
    let files = blobs.into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * BLOCK)).sum()
}

fn has_weights(snapshot: &Utf8Path) -> bool {
    let files = names(snapshot);
    // A link whose blob is not there does not count.
    let there = |name: &str| snapshot.join(name).exists();
    let indices: Vec<&String> = files.iter().filter(|name| name.ends_with(".index.json")).collect();
    let shards = |index: &&String| -> Option<Vec<String>> {
        let text = std::fs::read(snapshot.join(index)).ok()?;
        let index: Value = serde_json::from_slice(&text).ok()?;
        let shards = index["weight_map"].as_object()?.values();
        Some(shards.filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    };
    if !indices.is_empty() {
        // A repository may hold the same weights in two formats, of which one is downloaded.
        return indices
            .iter()
            .filter_map(shards)
            .any(|shards| !shards.is_empty() && shards.iter().all(|name| there(name)));
    }
    files.iter().any(|name| {
        let weights = [".safetensors", ".bin", ".pt", ".pth", ".gguf"];
        weights.iter().any(|end| name.ends_with(end)) && there(name)
    })
}

fn names(folder: &Utf8Path) -> Vec<String> {
    let entries = folder.read_dir_utf8().into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_has_arrived_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        assert_eq!(arrived(folder), 0);
        fs::create_dir(folder.join("blobs")).unwrap();
        fs::write(folder.join("blobs/whole"), vec![1; 1 << 20]).unwrap();
        // Made as long as it will be, and nearly empty.
        let open = fs::File::create(folder.join("blobs/open.incomplete")).unwrap();
        open.set_len(1 << 30).unwrap();
        open.sync_all().unwrap();
        let bytes = arrived(folder);
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn the_cache_is_where_the_server_s_own_variables_say() {
        let at = |manifest: Value| {
            let server: Server = serde_json::from_value(manifest).unwrap();
            model_folder(&server).map(Utf8PathBuf::into_string)
        };
        let model = "Qwen/Qwen2.5-0.5B";
        assert_eq!(
            at(json!({ "model": model, "env": { "HF_HUB_CACHE": "/c" } })).as_deref(),
            Some("/c/models--Qwen--Qwen2.5-0.5B")
        );
        let unset = json!({ "unset": true });
        assert_eq!(
            at(json!({
                "model": model,
                "env": { "HF_HUB_CACHE": unset, "HUGGINGFACE_HUB_CACHE": unset, "HF_HOME": "/h" }
            }))
            .as_deref(),
            Some("/h/hub/models--Qwen--Qwen2.5-0.5B")
        );
        assert_eq!(
            at(json!({ "model": model, "flags": { "download-dir": "/d" } })).as_deref(),
            Some("/d/models--Qwen--Qwen2.5-0.5B")
        );
        assert_eq!(at(json!({ "model": "/models/tiny" })), None);
        assert_eq!(at(json!({ "model": model, "engine": "sim" })), None);
    }

    #[test]
    fn weights_are_complete_when_all_shards_are_there_and_nothing_is_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        assert!(!is_complete(folder));
        let snapshot = folder.join("snapshots/abc");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(folder.join("blobs")).unwrap();
        fs::write(snapshot.join("config.json"), "{}").unwrap();
        assert!(!is_complete(folder));
        let index = json!({ "weight_map": { "a": "m-1.safetensors", "b": "m-2.safetensors" } });
        fs::write(snapshot.join("model.safetensors.index.json"), index.to_string()).unwrap();
        fs::write(snapshot.join("m-1.safetensors"), "x").unwrap();
        assert!(!is_complete(folder));
        let blob = folder.join("blobs/123.incomplete");
        fs::write(&blob, "").unwrap();
        fs::write(snapshot.join("m-2.safetensors"), "x").unwrap();
        assert!(!is_complete(folder));
        fs::remove_file(&blob).unwrap();
        assert!(is_complete(folder));
        fs::remove_file(snapshot.join("model.safetensors.index.json")).unwrap();
        assert!(is_complete(folder));
    }
}
