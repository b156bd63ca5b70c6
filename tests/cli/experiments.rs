//! The shipped experiments are manifests that plan to what their comments promise.

use camino::Utf8Path;
use runner::{
    manifest::{Manifest, Overrides},
    plan::plan,
};

#[test]
fn shipped_experiments_plan_to_the_promised_servers_cells_and_searches() {
    for (name, servers, cells) in [
        ("quickstart", 2, 20),
        ("day003", 1, 18),
        ("open_loop", 1, 6),
        ("prefix_cache", 1, 6),
        ("capacity_search", 2, 2),
    ] {
        let path = format!("{}/experiments/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let (manifest, findings) = Manifest::load(Utf8Path::new(&path), &Overrides::default());
        let Some(manifest) = manifest else { panic!("{}", findings.render(false)) };
        let (plan, findings) = plan(&manifest);
        let Some(plan) = plan else { panic!("{}", findings.render(false)) };
        let questions = plan.searches.len();
        assert_eq!((plan.groups.len(), plan.len() + questions), (servers, cells), "{name}");
        if name != "day003" {
            assert!(findings.0.is_empty(), "{}", findings.render(false));
        }
    }
}
