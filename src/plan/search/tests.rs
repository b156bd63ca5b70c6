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

#[test]
fn values_keep_their_type() {
    let (manifest, mut plan) = planned(&format!(
        "{HEAD}{CHAT}[search.memory]\naxis = 'server.flags.gpu-memory-utilization'\nfrom = 0.5\nto = 0.95\nstep = 0.1\n\
         [search.kv]\naxis = 'server.sim.kv_tokens'\nthat = 'survives'\nfind = 'smallest'\nfrom = 100\nto = 1000\n"
    ));
    let [memory, kv] = &plan.searches[..] else { panic!() };
    let Goal::Value { from, to, step, integer, .. } = memory.goal else { panic!() };
    // 0.95 is no step above 0.5.
    assert_eq!((from, to, step, integer), (0.5, 0.9, 0.1, false));
    assert!(matches!(kv.goal, Goal::Value { integer: true, step: 1.0, .. }));
    assert_eq!((memory.workload.as_deref(), kv.workload.as_deref()), (None, Some("chat")));
    let (at, cells) = probe(&manifest, &mut plan, "memory", &[json!(0.5 + 4.0 * 0.1)], 1).unwrap();
    assert_eq!(plan.groups[at].axes["gpu-memory-utilization"].to_string(), "0.9");
    let start = &plan.groups[at].cells[cells[0]];
    assert!(start.is_start_only() && start.id.starts_with("start-") && cells.len() == 1, "{start:?}");
    let (at, _) = probe(&manifest, &mut plan, "kv", &[json!(512.0)], 1).unwrap();
    assert_eq!(plan.groups[at].axes["kv_tokens"].to_string(), "512");
}

#[test]
fn two_searches_over_servers_measure_the_same_server_each_for_itself() {
    let search = |name: &str, that: &str| {
        format!(
            "[search.{name}]\naxis = 'server.flags.max-model-len'\nthat = '{that}'\nfrom = 1024\nto = 8192\n"
        )
    };
    let (manifest, mut plan) =
        planned(&format!("{HEAD}{CHAT}{}{}", search("a", "survives"), search("b", "meets-slo")));
    let (group, a) = probe(&manifest, &mut plan, "a", &[json!(2048)], 1).unwrap();
    assert_eq!(probe(&manifest, &mut plan, "b", &[json!(2048)], 1).unwrap(), (group, vec![1]));
    assert_eq!(a, [0]);
    // Whichever came first: the ids are the same in a run that goes on.
    let before: Vec<String> = plan.groups[group].cells.iter().map(|cell| cell.id.clone()).collect();
    plan = plan.without_probes();
    probe(&manifest, &mut plan, "b", &[json!(2048)], 1).unwrap();
    probe(&manifest, &mut plan, "a", &[json!(2048)], 1).unwrap();
    let after: Vec<&String> = plan.groups[group].cells.iter().map(|cell| &cell.id).rev().collect();
    assert_eq!(before.iter().collect::<Vec<_>>(), after);
}

#[test]
fn a_candidate_for_the_most_users_gets_searches_of_its_own() {
    let (manifest, mut plan) = planned(&format!(
        "{HEAD}{CHAT}{USERS}[workload.chat.sweep]\nmax_tokens = [8, 16]\n\
         [search.tune]\naxes = ['server.flags.max-num-seqs', 'server.flags.enable-prefix-caching', 'server.flags.custom']\nobjective = 'most_users'\n\
         [sweep]\nserver.flags.custom = ['b', 'a']\nserver.flags.dtype = ['half', 'auto']\nserver.flags.seed = {{ expr = 'max_num_seqs + 1' }}\n"
    ));
    assert_eq!(ids(&plan), ["tune", "tune-2"]);
    assert_eq!(axes(&plan.searches[1]), BTreeMap::from([("dtype", json!("auto"))]));
    let Goal::Best { axes: tried, starts, .. } = &plan.searches[1].goal else { panic!() };
    assert_eq!(*starts, 12);
    // The usual values, with the manifest's own; the order of [sweep] where these are no numbers.
    assert_eq!(tried[0].values, [8, 16, 32, 64, 128, 256, 512].map(Value::from));
    assert_eq!(tried[1].values, [json!(false), json!(true)]);
    assert_eq!(tried[2].values, [json!("b"), json!("a")]);
    let base = plan.clone();
    let values = [json!(64), json!(true), json!("a")];
    let (group, cells) = probe(&manifest, &mut plan, "tune-2", &values, 1).unwrap();
    assert!(plan.groups[group].cells[cells[0]].is_start_only() && cells.len() == 1);
    assert_eq!(ids(&plan), ["tune", "tune-2", "tune-2/1/chat", "tune-2/1/chat-2"]);
    let own = &plan.searches[3];
    assert_eq!(own.server.as_ref(), Some(&plan.groups[group].id));
    assert_eq!((own.axes["max-num-seqs"].clone(), own.axes["seed"].clone()), (json!(64), json!(65)));
    assert_eq!(
        (own.root(), own.name.as_str(), own.axes["max_tokens"].clone()),
        ("tune-2", "chat", json!(16))
    );
    // The same candidate again adds no searches, another one does.
    probe(&manifest, &mut plan, "tune-2", &values, 2).unwrap();
    assert_eq!((plan.searches.len(), plan.groups[group].cells.len()), (4, 2));
    probe(&manifest, &mut plan, "tune-2", &[json!(16), json!(true), json!("b")], 1).unwrap();
    assert_eq!(ids(&plan)[4..], ["tune-2/2/chat", "tune-2/2/chat-2"]);
    let (at, cells) = probe(&manifest, &mut plan, "tune-2/1/chat-2", &[json!(7)], 1).unwrap();
    let cell = &plan.groups[at].cells[cells[0]];
    assert_eq!((at, cell.spec.concurrency, cell.max_tokens), (group, 7, 16));
    assert_eq!(plan.without_probes(), base);
    let selected = |only: &str| {
        let mut kept = plan.clone();
        kept.keep(&[only.to_owned()]);
        kept.searches.len()
    };
    assert_eq!([selected("tune"), selected("tune-2"), selected("chat-*")], [6, 5, 0]);
}

#[test]
fn skip_conditions_shorten_a_range_leave_out_a_search_and_cells_of_a_server() {
    let (_, plan) = planned(&format!(
        "{HEAD}{CHAT}{USERS}[workload.chat.sweep]\nmax_tokens = [8, 16]\nskip = ['max_num_seqs == 64 and max_tokens == 16']\n\
         [sweep]\nserver.flags.max-num-seqs = [32, 64, 128]\nskip = ['concurrency > max_num_seqs', 'max_num_seqs == 128']\n"
    ));
    let to = |search: &Search| match search.goal {
        Goal::Load { to, .. } => to,
        _ => panic!(),
    };
    assert_eq!(plan.searches.iter().map(to).collect::<Vec<_>>(), [32.0, 32.0, 64.0]);
    assert_eq!(plan.groups.len(), 2, "nothing is measured with 128");
    let (manifest, mut plan) = planned(&format!(
        "{HEAD}{CHAT}[workload.chat.sweep]\nconcurrency = [1, 8, 64]\n\
         [search.seqs]\naxis = 'server.flags.max-num-seqs'\nthat = 'survives'\nfrom = 4\nto = 64\nstep = 4\n\
         [sweep]\nserver.flags.max-model-len = [1024, 2048]\n\
         skip = ['concurrency > max_num_seqs', 'max_model_len == 2048 and max_num_seqs > 16']\n"
    ));
    let to = |search: &Search| match search.goal {
        Goal::Value { to, .. } => to,
        _ => panic!(),
    };
    assert_eq!(plan.searches.iter().map(to).collect::<Vec<_>>(), [64.0, 16.0]);
    let (at, cells) = probe(&manifest, &mut plan, "seqs", &[json!(16)], 1).unwrap();
    let loads: Vec<u32> = cells.iter().map(|cell| plan.groups[at].cells[*cell].spec.concurrency).collect();
    assert_eq!(loads, [1, 8]);
    let (at, cells) = probe(&manifest, &mut plan, "seqs-2", &[json!(32)], 1).unwrap();
    assert!(cells.iter().all(|cell| plan.groups[at].cells[*cell].skip.is_some()) && !cells.is_empty());
}

#[test]
fn a_request_that_is_too_long_for_the_searched_length_is_a_result() {
    let long = "[workload.long]\nsynthetic = { input_tokens = 4000, output_tokens = 90 }\nrequests = 9\n";
    let search = "[search.s]\naxis = 'server.flags.max-model-len'\nthat = 'survives'\nfind = 'smallest'\nfrom = 1024\nto = 8192\n";
    let (manifest, mut plan) = planned(&format!("{HEAD}{long}{search}"));
    assert!(probe(&manifest, &mut plan, "s", &[json!(2000)], 1).is_ok());
}

#[test]
fn only_keeps_whole_searches() {
    let (_, plan) = planned(&format!(
        "{HEAD}{CHAT}{USERS}[workload.batch]\nprompts = ['hi']\nrequests = 4\nmax_tokens = 8\n\
         [sweep]\nserver.flags.a = [1, 2]\n"
    ));
    for (pattern, searches, cells) in
        [("chat-*", 2, 0), ("chat", 2, 0), ("chat-2", 1, 0), ("batch-*", 0, 2), ("*", 2, 2), ("none", 0, 0)]
    {
        let mut kept = plan.clone();
        kept.keep(&[pattern.to_owned()]);
        assert_eq!((kept.searches.len(), kept.len()), (searches, cells), "{pattern}");
        assert_eq!(plan.has_match(&[pattern.to_owned()]), searches + cells > 0);
    }
}

#[test]
fn searches_are_described_in_plain_words() {
    let (manifest, plan) =
        planned(&format!("{HEAD}{CHAT}{USERS}[sweep]\nserver.flags.dtype = ['half', 'auto']\n"));
    let sample = super::with_first_probes(&manifest, &plan);
    let slo = &sample.groups[0].cells[0].spec.slo;
    assert_eq!(
        plan.searches[1].describe(slo),
        format!(
            "chat-2: most concurrency from 1 to 100 that meets p95_ttft ≤ 500ms, within 5 %, with dtype=auto, on {}",
            plan.groups[1].id
        )
    );
    let (_, plan) = planned(&format!(
        "{HEAD}{CHAT}[search.context]\naxis = 'server.flags.max-model-len'\nfrom = 1024\nto = 8192\nstep = 1024\n\
         [search.tune]\naxes = ['server.flags.max-num-seqs']\nstarts = 4\n"
    ));
    let words: Vec<String> = plan.searches.iter().map(|search| search.describe(slo)).collect();
    assert_eq!(
        words,
        [
            "context: largest max-model-len from 1024 to 8192 in steps of 1024 with which the server starts",
            "tune: best server for throughput over max-num-seqs (7 values), in at most 4 starts"
        ]
    );
}

#[test]
fn a_search_that_only_starts_servers_needs_no_workload() {
    let search = "[search.s]\naxis = 'server.flags.max-model-len'\nfrom = 1024\nto = 8192\n";
    let (manifest, mut plan) = planned(&format!("{HEAD}{search}"));
    let (at, cells) = probe(&manifest, &mut plan, "s", &[json!(2048)], 1).unwrap();
    let cell = &plan.groups[at].cells[cells[0]];
    assert!(cell.is_start_only() && cell.workload == "start");
    assert_eq!(plan.load_axes, Vec::<String>::new());
}
