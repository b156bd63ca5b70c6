//! Finds out whether a model's files are in the Hugging Face cache, so that a download does not count as a
//! slow start.

use std::os::unix::fs::MetadataExt;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::manifest::{Engine, EnvValue, Server, expand_home};

/// The unit of `st_blocks`, bytes, whatever the disk's own block size.
const BLOCK: u64 = 512;

/// The cache folder of a server's model; `None` when nothing will be downloaded: another engine, or a local
/// model.
pub(super) fn folder(server: &Server) -> Option<Utf8PathBuf> {
    let local = ["/", "./", "../", "~/"].iter().any(|prefix| server.model.starts_with(prefix));
    if server.engine != Engine::Vllm || local || Utf8Path::new(&server.model).exists() {
        return None;
    }
    // The server downloads, so its own variables decide.
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

/// The cache of huggingface_hub, by its documented variables.
fn cache(variable: impl Fn(&str) -> Option<String>) -> Option<Utf8PathBuf> {
    let folder =
        |name: &str| variable(name).filter(|value| !value.is_empty()).map(|value| expand_home(&value));
    folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/hub")))
}

/// Whether a model's weights are complete: no download is in progress, and a snapshot has all the weights
/// that its index names.
pub(super) fn is_complete(folder: &Utf8Path) -> bool {
    let in_progress = names(&folder.join("blobs")).iter().any(|name| name.ends_with(".incomplete"));
    !in_progress
        && names(&folder.join("snapshots"))
            .iter()
            .any(|name| has_weights(&folder.join("snapshots").join(name)))
}

/// Bytes of a model's files on the disk, including unfinished ones. Space that a file has reserved does not
/// count.
pub(super) fn bytes_on_disk(folder: &Utf8Path) -> u64 {
    let blobs = folder.join("blobs").read_dir_utf8();
    let files = blobs.into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * BLOCK)).sum()
}

fn has_weights(snapshot: &Utf8Path) -> bool {
    let files = names(snapshot);
    // A dangling link does not exist.
    let exists = |name: &str| snapshot.join(name).exists();
    let indices: Vec<&String> = files.iter().filter(|name| name.ends_with(".index.json")).collect();
    let shards = |index: &&String| -> Option<Vec<String>> {
        let text = std::fs::read(snapshot.join(index)).ok()?;
        let index: Value = serde_json::from_slice(&text).ok()?;
        let shards = index["weight_map"].as_object()?.values();
        Some(shards.filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    };
    if !indices.is_empty() {
        // A repository may hold the same weights in two formats, only one of which is downloaded.
        return indices
            .iter()
            .filter_map(shards)
            .any(|shards| !shards.is_empty() && shards.iter().all(|name| exists(name)));
    }
    files.iter().any(|name| {
        let weights = [".safetensors", ".bin", ".pt", ".pth", ".gguf"];
        weights.iter().any(|end| name.ends_with(end)) && exists(name)
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
    fn only_bytes_on_disk_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        assert_eq!(bytes_on_disk(folder), 0);
        fs::create_dir(folder.join("blobs")).unwrap();
        fs::write(folder.join("blobs/whole"), vec![1; 1 << 20]).unwrap();
        // Has its final length, but is nearly empty.
        let open = fs::File::create(folder.join("blobs/open.incomplete")).unwrap();
        open.set_len(1 << 30).unwrap();
        open.sync_all().unwrap();
        let bytes = bytes_on_disk(folder);
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn the_server_s_own_variables_decide_where_the_cache_is() {
        let at = |manifest: Value| {
            let server: Server = serde_json::from_value(manifest).unwrap();
            folder(&server).map(Utf8PathBuf::into_string)
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
    fn weights_are_complete_when_all_shards_exist_and_no_download_is_in_progress() {
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
