//! The shipped experiments are manifests that plan to what their comments promise.

use camino::Utf8Path;
use runner::{
    manifest::{Manifest, Overrides},
    plan::plan,
};

#[test]
fn shipped_experiments_plan_to_the_promised_servers_and_cells() {
    for (name, servers, cells) in
        [("quickstart", 2, 20), ("day003", 1, 18), ("open_loop", 1, 6), ("prefix_cache", 1, 6)]
    {
        let path = format!("{}/experiments/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let (manifest, findings) = Manifest::load(Utf8Path::new(&path), &Overrides::default());
        let Some(manifest) = manifest else { panic!("{}", findings.render(false)) };
        let (plan, findings) = plan(&manifest);
        let Some(plan) = plan else { panic!("{}", findings.render(false)) };
        assert_eq!((plan.groups.len(), plan.len()), (servers, cells), "{name}");
        if name != "day003" {
            assert!(findings.0.is_empty(), "{}", findings.render(false));
        }
    }
}

#[test]
fn the_manifest_in_the_readme_is_one() {
    let readme = include_str!("../../README.md");
    let text = readme
        .split("```toml\n")
        .filter_map(|part| part.split("```").next())
        .find(|text| text.contains("[experiment]"))
        .expect("the README shows a manifest");
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("readme.toml", text),
        ("base.toml", "[server]\ndownload_within = \"1h\"\n"),
        ("prompts.jsonl", "{\"prompt\": \"one\"}\n"),
        ("docs.txt", "one\n[DOC]\ntwo\n"),
    ] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let path = Utf8Path::from_path(folder.path()).unwrap().join("readme.toml");
    let (manifest, findings) = Manifest::load(&path, &Overrides::default());
    let Some(manifest) = manifest else { panic!("{}", findings.render(false)) };
    let (plan, findings) = plan(&manifest);
    let Some(plan) = plan else { panic!("{}", findings.render(false)) };
    // max-num-seqs × the zip × the variants.
    assert_eq!(plan.groups.len(), 2 * 2 * 2);
}
