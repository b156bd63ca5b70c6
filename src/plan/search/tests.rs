use std::collections::BTreeMap;

use camino::Utf8Path;
use serde_json::{Value, json};

use super::{Goal, Search, probe};
use crate::{
    manifest::{LoadAxis, Manifest, Overrides, Start},
    plan::{Plan, Stop, plan},
};

const HEAD: &str = "[experiment]\nname = 'x'\nrepeats = 3\n[server]\nengine = 'sim'\nmodel = 'org/model'\n[server.flags]\nmax-num-seqs = 8\nmax-model-len = 1024\n";
const CHAT: &str =
    "[workload.chat]\nprompts = ['hi']\nrequests = 20\nmax_tokens = 8\nslo = { p95_ttft = '500ms' }\n";
const USERS: &str = "[workload.chat.search]\naxis = 'concurrency'\nfrom = 1\nto = 100\n";

fn planned(text: &str) -> (Manifest, Plan) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("day.toml");
    std::fs::write(&path, text).unwrap();
    let (manifest, findings) = Manifest::load(&path, &Overrides::default());
    let manifest = manifest.unwrap_or_else(|| panic!("{}", findings.render(false)));
    let (plan, findings) = plan(&manifest);
    let plan = plan.unwrap_or_else(|| panic!("{}", findings.render(false)));
    (manifest, plan)
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.searches.iter().map(|search| search.id.as_str()).collect()
}

fn axes(search: &Search) -> BTreeMap<&str, Value> {
    search.axes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

#[test]
fn a_load_is_searched_for_each_combination_of_the_other_axes_on_each_server() {
    let (_, plan) = planned(&format!(
        "{HEAD}{CHAT}warmup = 3\n{USERS}[workload.chat.sweep]\nmax_tokens = [8, 16]\n\
         extra_body.n = {{ expr = 'concurrency * 2' }}\nextra_body.m = {{ expr = 'max_tokens * 2' }}\n\
         [workload.batch]\nprompts = ['hi']\nrequests = 4\nmax_tokens = 8\n\
         [workload.chat-2]\nprompts = ['hi']\nrequests = 4\nmax_tokens = 8\nslo.p50_e2e = '1s'\n\
         search = {{ axis = 'concurrency', from = 2, to = 9, within = '10%', confidence = 0.9 }}\n\
         [sweep]\nserver.flags.max-model-len = [4096, 8192]\n"
    ));
    assert_eq!(ids(&plan), ["chat", "chat-3", "chat-4", "chat-5", "chat-2", "chat-2-2"]);
    assert_eq!((plan.groups.len(), plan.len()), (2, 2), "only the cells of `batch`");
    assert_eq!(plan.load_axes, ["max_tokens", "n", "m", "concurrency"]);
    let second = &plan.searches[1];
    // The value that follows the load is none of the other axes.
    assert_eq!(
        axes(second),
        BTreeMap::from([("max-model-len", json!(4096)), ("max_tokens", json!(16)), ("m", json!(32))])
    );
    assert_eq!((second.name.as_str(), second.workload.as_deref()), ("chat", Some("chat")));
    assert_eq!(second.server.as_ref(), Some(&plan.groups[0].id));
    let goal = Goal::Load { axis: LoadAxis::Concurrency, from: 2.0, to: 9.0, within: 0.1, confidence: 0.9 };
    assert_eq!(plan.searches[4].goal, goal);
    assert!(!plan.is_empty());
}

#[test]
fn a_load_probe_warms_up_staggers_and_sends_enough() {
    let (manifest, mut plan) = planned(&format!(
        "{HEAD}{CHAT}warmup = 3\n{USERS}[workload.chat.sweep]\nmax_tokens = [8, 16]\n\
         extra_body.n = {{ expr = 'concurrency * 2' }}\n\
         [workload.open]\nprompts = ['hi']\nduration = '5s'\nmax_tokens = 8\narrivals = 'poisson'\nslo.p50_e2e = '1s'\n\
         search = {{ axis = 'rate', from = 0.1, to = 9 }}\n"
    ));
    let base = plan.clone();
    let (group, cells) = probe(&manifest, &mut plan, "chat-2", &[json!(32.0)], 1).unwrap();
    assert_eq!((group, cells.len(), plan.groups.len()), (0, 1, 1));
    let cell = &plan.groups[0].cells[cells[0]];
    assert!(cell.id.starts_with("chat-c32-t16-"), "{}", cell.id);
    assert_eq!((cell.search.as_deref(), cell.attempt), (Some("chat-2"), Some(1)));
    assert_eq!((cell.spec.concurrency, cell.spec.warmup, cell.stop), (32, 32, Stop::Requests(64)));
    assert_eq!((cell.start(), &cell.spec.search), (Some(Start::Staggered), &None));
    assert_eq!(cell.spec.extra_body["n"], json!(64), "computed for this load");
    assert_eq!(cell.axes["concurrency"], json!(32));
    // The same again is no new cell; another attempt is, with another seed.
    assert_eq!(probe(&manifest, &mut plan, "chat-2", &[json!(32)], 1).unwrap(), (0, vec![0]));
    assert_eq!(probe(&manifest, &mut plan, "chat-2", &[json!(32)], 2).unwrap(), (0, vec![1]));
    let [first, second] = &plan.groups[0].cells[..] else { panic!() };
    assert!(first.id != second.id && first.seed != second.seed && second.id.starts_with("chat-c32-t16-"));
    probe(&manifest, &mut plan, "chat-2", &[json!(4)], 1).unwrap();
    let few = &plan.groups[0].cells[2];
    assert_eq!((few.spec.warmup, few.stop), (4, Stop::Requests(40)));
    let (_, cells) = probe(&manifest, &mut plan, "open", &[json!(0.1 + 0.2)], 1).unwrap();
    let open = &plan.groups[0].cells[cells[0]];
    assert_eq!((open.spec.rate, open.spec.warmup), (Some(0.3), 0));
    assert_eq!(open.axes["rate"], json!(0.3));
    assert_ne!(plan, base);
    plan.searches[0].expected = Some(super::Expected { value: 1.0, low: 1.0, high: 2.0 });
    assert_eq!(plan.without_probes(), base);
    assert!(probe(&manifest, &mut plan, "no-such", &[json!(1)], 1).is_err());
}

#[test]
fn a_value_is_searched_for_each_combination_of_the_other_server_axes() {
    let (manifest, mut plan) = planned(&format!(
        "{HEAD}{CHAT}[workload.chat.sweep]\nconcurrency = [1, 4]\n\
         [search.context]\naxis = 'server.flags.max_model_len'\nthat = 'survives'\nfrom = 2048\nto = 131072\nstep = 1024\n\
         [search.memory]\naxis = 'server.flags.gpu-memory-utilization'\nfrom = 0.5\nto = 0.95\nstep = 0.1\n\
         [sweep]\nserver.flags.dtype = ['half', 'bfloat16']\nserver.flags.max-num-batched-tokens = {{ expr = 'max_model_len * 2' }}\n"
    ));
    assert_eq!(ids(&plan), ["context", "context-2", "memory", "memory-2"]);
    assert!(plan.groups.is_empty() && !plan.is_empty());
    assert_eq!(axes(&plan.searches[1]), BTreeMap::from([("dtype", json!("bfloat16"))]));
    let base = plan.clone();
    let (group, cells) = probe(&manifest, &mut plan, "context-2", &[json!(4096)], 1).unwrap();
    assert_eq!((group, cells), (0, vec![0, 1]));
    let server = &plan.groups[0];
    assert_eq!(server.server.flags.integer("max-num-batched-tokens"), Some(8192));
    assert_eq!(server.axes["max-model-len"], json!(4096));
    assert_eq!(server.axes["dtype"], json!("bfloat16"));
    assert_eq!(server.cells[0].stop, Stop::Requests(20), "as the manifest says");
    assert_eq!(plan.without_probes(), base);
}
