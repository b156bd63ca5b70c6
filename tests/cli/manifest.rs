//! Findings of bad manifests, and the matrix that good ones expand to.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use runner::{
    manifest::{Manifest, Overrides, Start},
    plan::{Plan, plan},
};

/// Writes a manifest, loads and plans it. Returns the plan and all findings as text.
fn planned(text: &str, overrides: &Overrides) -> (Option<Plan>, String) {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    let path = folder.join("day.toml");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.join("docs.txt"), "one\n[DOC]\ntwo\n[DOC]\n\n").unwrap();
    std::fs::write(folder.join("p.jsonl"), "{\"prompt\": \"a\", \"n\": 3}\n{\"prompt\": \"b\", \"n\": 0}\n")
        .unwrap();
    std::fs::write(folder.join("bad.json"), "[\n{\"conversations\": 3}]").unwrap();
    std::fs::write(
        folder.join("chats.json"),
        "[{\"conversations\": []}, {\"conversations\": [{\"from\": \"human\", \"value\": \"hi\"}]}]",
    )
    .unwrap();
    let trace = "{\"timestamp\": 0}\n{\"timestamp\": 40}\n{\"timestamp\": 90}\n";
    std::fs::write(folder.join("trace.jsonl"), trace).unwrap();
    std::fs::write(
        folder.join("base.toml"),
        "[experiment]\nname = \"base\"\n[server]\nmodel = \"org/model\"\nengine = \"sim\"\n[server.flags]\nmax_num_seqs = 8\n",
    )
    .unwrap();
    let (manifest, findings) = Manifest::load(&path, overrides);
    let mut said = findings.render(false);
    let plan = manifest.and_then(|manifest| {
        let (plan, findings) = plan(&manifest);
        said.push_str(&findings.render(false));
        plan
    });
    (plan, said.replace(folder.as_str(), ""))
}

const HEAD: &str = "[experiment]\nname = \"x\"\n[server]\nengine = \"sim\"\nmodel = \"org/model\"\n";
const CHAT: &str = "[workload.chat]\nprompts = [\"hi\"]\nrequests = 200\nmax_tokens = 8\n";

fn plan_of(text: &str) -> Plan {
    let (plan, said) = planned(text, &Overrides::default());
    plan.unwrap_or_else(|| panic!("{said}"))
}

/// A manifest for each mistake; the snapshot holds every finding as a user reads it.
///
/// After a finding was reworded, `INSTA_UPDATE=always cargo test --test cli every_mistake` writes the
/// snapshot again. Review the diff: each finding names the line and a next step.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_mistake_is_reported_with_its_line_and_a_next_step() {
    let (head, chat) = (HEAD, CHAT);
    let repeats = |rule: &str| {
        format!("{}{chat}", head.replace("name = \"x\"", &format!("name = \"x\"\nrepeats = {rule}")))
    };
    let manifests: Vec<String> = vec![
        format!("{head}modle = \"x\"\n{chat}"),
        format!("{head}ready_within = 5\n{chat}"),
        format!("{head}ready_within = \"5 parsecs\"\n{chat}"),
        format!("{head}{chat}slo = {{ p99.9_ttft = \"1s\" }}\n"),
        format!("{head}{chat}slo = {{ p101_ttft = \"1s\" }}\n"),
        format!("{head}{chat}slo = {{ \"p99.9_itl\" = \"1s\" }}\n"),
        format!("[experiment]\nname = \"x\"\nscrape_every = 5\n[server]\nmodel = \"org/model\"\nengine = \"sim\"\n{chat}"),
        format!("[experiment]\nname = \"x\"\nscrape_every = \"1ms\"\n[server]\nmodel = \"org/model\"\nengine = \"sim\"\n{chat}"),
        format!("{head}{chat}[workload.chat.sweep]\nconcurrency = []\n"),
        format!("{head}{chat}[workload.chat.sweep]\nconcurency = [1]\n"),
        format!("{head}{chat}[workload.chat.sweep]\nmax-num-seqs = [1, 2]\n"),
        format!("{head}{chat}[sweep]\nmax-model-len = [4096, 8192]\n"),
        format!("{head}{chat}[sweep]\nusers = [1, 2]\n"),
        format!("{head}max_num_seqs = 8\n{chat}"),
        format!("{head}[workload.chat]\nprompt = [\"hi\"]\nrequests = 200\nmax_tokens = 8\n"),
        format!("{head}{chat}[workload.chat.sweep]\nconcurrency = [1, 2, 1]\n"),
        format!("{head}{chat}[workload.chat.sweep]\nconcurrency = [1, \"two\"]\n"),
        format!("{head}{chat}[workload.chat.sweep]\nconcurrency = 4\n"),
        format!("{head}{chat}[sweep]\nskip = [\"concurency > 4\"]\n"),
        format!("{head}{chat}[sweep]\nskip = [\"1 +\"]\n"),
        format!("{head}{chat}[sweep]\nskip = [\"concurrency\"]\n"),
        format!("{head}[workload.b]\ndocuments = {{ file = \"nope.txt\" }}\npasses = 1\nmax_tokens = 4\n"),
        "[experiment]\nname = \"x\"\n[server]\nmodel = \"/no/such/model\"\n[workload.chat]\nprompts = [\"hi\"]\nrequests = 1\nmax_tokens = 8\n".into(),
        format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 16\nmax_tokens = 8\nslo = {{ p95_ttft = \"1s\", p99_itl = \"50ms\", p95_e2e = \"3s\" }}\n"),
        format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 16\nmax_tokens = 8\nslo = {{ p95_tftt = \"1s\" }}\n"),
        format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 3\nmax_tokens = {{ expr = \"8\" }}\n"),
        format!("{head}[workload.chat]\nprompts = [\"hi\"]\nmax_tokens = 8\n"),
        format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 3\n"),
        format!("{head}[workload.chat]\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}{chat}conversations = {{ file = \"chats.json\" }}\n"),
        format!("{head}[workload.chat]\nconversations = {{ file = \"bad.json\" }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.chat]\nconversations = {{ file = \"chats.json\" }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.s]\nsynthetic = {{ input_tokens = {{ uniform = [9, 3] }} }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.s]\nsynthetic = {{ input_tokens = \"long\" }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.s]\nsynthetic = {{ input_tokens = {{ gauss = 3 }} }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.s]\nsynthetic = {{ input_tokens = 9, output_tokens = 4 }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.s]\nsynthetic = {{ input_tokens = 9 }}\nrequests = 3\n"),
        format!("{head}[workload.s]\nsynthetic = {{ input_tokens = 9 }}\npasses = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.s]\nshared_prefix = {{ groups = 2, prefix_tokens = 9, suffix_tokens = 3 }}\ncache = \"fresh\"\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[server.flags]\nmax_model_len = 512\n[workload.s]\nsynthetic = {{ input_tokens = 510, output_tokens = 8 }}\nrequests = 3\n"),
        format!("{head}[server.flags]\nmax_model_len = 512\n[workload.s]\nshared_prefix = {{ groups = 1, prefix_tokens = 400, suffix_tokens = {{ uniform = [10, 110] }} }}\nmax_tokens = 8\nrequests = 3\n"),
        format!("{head}[workload.p]\nprompts = {{ file = \"p.jsonl\", output_tokens_field = \"n\" }}\nrequests = 3\n"),
        format!("{head}[workload.p]\nprompts = {{ file = \"p.jsonl\", output_tokens_field = \"n\" }}\nrequests = 3\nmax_tokens = 3\n"),
        format!("{head}[workload.chat]\nconversations = {{ file = \"chats.json\", turns = \"all\" }}\narrivals = \"poisson\"\nrate = 2\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}[workload.chat]\nconversations = {{ file = \"chats.json\", turns = \"some\" }}\nrequests = 3\nmax_tokens = 8\n"),
        format!("{head}{chat}extra_body = {{ prompt = \"x\" }}\n"),
        format!("{head}[server.flags]\nmax_num_seqs = 1\nmax-num-seqs = 2\n{chat}"),
        format!("{head}[server.env]\nHF_TOKEN = \"hf_abc\"\n{chat}"),
        format!("{head}engin = 1\nenv = 3\n{chat}bogus = true\n"),
        format!("{head}x = [\n"),
        format!("{head}{chat}[[sweep.zip]]\nserver.flags.a = [1, 2]\nserver.flags.b = [1]\n"),
        format!("{head}{chat}[[sweep.zip]]\nserver.flags.a = [1, 2]\nserver.flags.b = {{ expr = \"a * 2\" }}\n"),
        format!("{head}{chat}[sweep]\nserver.flags.a = {{ from = 1, to = 9 }}\n"),
        format!("{head}{chat}[sweep]\nserver.flags.a = {{ from = 1, to = 1000000, step = 1 }}\n"),
        format!("{head}{chat}[sweep]\nserver.flags.a = {{ from = 1, to = 1000, step = 1 }}\nserver.flags.b = {{ from = 1, to = 1000, step = 1 }}\n"),
        format!("{head}{chat}rate = 5\n"),
        format!("{head}{chat}arrivals = \"poisson\"\n"),
        format!("{head}{chat}arrivals = \"poisson\"\nrate = 0\n"),
        format!("{head}{chat}arrivals = \"poisson\"\nrate = 2\nconcurrency = 4\nburst = 2\n"),
        format!("{head}{chat}arrivals = \"poison\"\n"),
        format!("{head}{chat}arrivals = \"ramp\"\nrate = 2\n"),
        format!("{head}{chat}arrivals = \"at-once\"\nwarmup = 2\n"),
        format!("{head}[workload.b]\nprompts = [\"hi\"]\nmax_tokens = 8\narrivals = \"at-once\"\nduration = \"2s\"\n"),
        format!("{head}{chat}arrivals = \"trace\"\ntrace = {{ file = \"nope.jsonl\" }}\n"),
        format!("{head}{chat}arrivals = \"trace\"\ntrace = {{ file = \"docs.txt\" }}\n"),
        format!("{head}{chat}arrivals = \"trace\"\ntrace = {{ file = \"trace.jsonl\", speed = 2 }}\n"),
        format!("{head}[workload.b]\narrivals = \"trace\"\ntrace = {{ file = \"trace.jsonl\" }}\n"),
        format!("{head}{chat}think_time = {{ median = \"1s\" }}\n"),
        format!("{head}{chat}stop_climbing = \"throughput-falls\"\n"),
        format!("{head}{chat}stop_climbing = \"slo-lost\"\n[workload.chat.sweep]\nconcurrency = [1, 2]\n"),
        format!("{head}{chat}stop_climbing = \"throughput-falls\"\n[workload.chat.sweep]\nconcurrency = [4, 2]\n"),
        format!("{head}{chat}stop_climbing = \"throughput-falls\"\n[workload.chat.sweep]\nconcurrency = [1, 2]\n").replace("name = \"x\"", "name = \"x\"\norder = \"shuffled\""),
        repeats("{ until = { p95_tftt = \"5%\" } }"),
        repeats("{ until = { p95_ttft_ms = \"5%\" } }"),
        repeats("{ until = { p99.9_ttft = \"5%\" } }"),
        repeats("{ until = { p95_ttft = \"5\" } }"),
        repeats("{ until = { p95_ttft = 5 } }"),
        repeats("{ until = { p95_ttft = \"-5%\" } }"),
        repeats("{ until = {} }"),
        repeats("{}"),
        repeats("{ until = { p95_ttft = \"5%\" }, at_least = 1 }"),
        repeats("{ until = { p95_ttft = \"5%\" }, at_least = 8, at_most = 4 }"),
        repeats("{ until = { p95_ttft = \"5%\" }, at_least = 12 }"),
        repeats("{ until = { p95_ttft = \"5%\" }, at_least = 0 }"),
        repeats("{ until = { p95_ttft = \"5%\" }, atmost = 4 }"),
        repeats("{ at_most = 4 }"),
        repeats("{ until = { goodput = \"5%\" } }"),
        repeats("\"three\""),
        format!("{}stream = false\n", repeats("{ until = { p95_ttft = \"5%\" } }")),
        repeats("{ restart = true }").replace("engine = \"sim\"", "engine = \"openai\"\nlaunch = { on = \"attach\", url = \"http://127.0.0.1:1\" }"),
        "".into(),
        format!("include = \"day.toml\"\n{head}{chat}"),
        format!("include = \"gone.toml\"\n{head}{chat}"),
    ];
    let mut findings = String::new();
    for text in manifests {
        let (_, said) = planned(&text, &Overrides::default());
        assert!(!said.is_empty(), "no finding for\n{text}");
        let mistake = text.replacen(HEAD, "", 1).replacen(CHAT, "", 1);
        writeln!(findings, "──── {}\n{said}", mistake.trim_end()).unwrap();
    }
    insta::assert_snapshot!(findings);
}

/// A manifest for each mistake in a search; the snapshot holds every finding as a user reads it.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_mistake_in_a_search_is_reported_with_its_line_and_a_next_step() {
    let slo = "slo = { p95_ttft = \"500ms\" }\n";
    let open = "arrivals = \"poisson\"\n";
    let users = |keys: &str| format!("[workload.chat.search]\n{keys}\n");
    let range = "axis = \"concurrency\"\nfrom = 1\nto = 100";
    let load = |more: &str, keys: &str| format!("{HEAD}{CHAT}{slo}{more}{}", users(keys));
    let server = |keys: &str| format!("{HEAD}{CHAT}{slo}[search.s]\n{keys}\n");
    let flag = |name: &str, keys: &str| server(&format!("axis = \"server.flags.{name}\"\n{keys}"));
    let tune = |keys: &str| server(&format!("axes = [\"server.flags.max-num-seqs\"]\n{keys}"));
    let context = "axis = \"server.flags.max-model-len\"\nfrom = 1024\nto = 8192\nstep = 1024";
    let manifests = [
        // The range of a load.
        load("", "axis = \"concurrency\"\nfrom = 10\nto = 5"),
        load("", "axis = \"concurrency\"\nfrom = 0\nto = 5"),
        load("", "axis = \"concurrency\"\nfrom = 0.5\nto = 8.5"),
        load("", "axis = \"concurrency\"\nfrom = 1\nto = 200000"),
        load(open, "axis = \"rate\"\nfrom = 0\nto = 2000000"),
        load("", "axis = \"concurrency\"\nfrom = -4\nto = 5"),
        load("", "axis = \"concurrency\""),
        load("", "from = 1\nto = 5"),
        load("", "axis = \"users\"\nfrom = 1\nto = 5\nstep = 2"),
        load("", &format!("{range}\nwithin = 5")),
        load("", &format!("{range}\nwithin = \"0%\"")),
        load("", &format!("{range}\nwithin = \"200%\"")),
        load("", &format!("{range}\nconfidence = 95")),
        // What the workload lacks.
        format!("{HEAD}{CHAT}{}", users(range)),
        format!(
            "{HEAD}{}slo = {{ p95_itl = \"50ms\", p95_e2e = \"1s\" }}\n{}",
            CHAT.replace("= 8", "= 1"),
            users(range)
        ),
        load("stream = false\n", range),
        load("", "axis = \"rate\"\nfrom = 1\nto = 5"),
        load(open, range),
        load("arrivals = \"at-once\"\n", "axis = \"rate\"\nfrom = 1\nto = 5"),
        load("arrivals = \"ramp\"\nramp_to = 9\n", "axis = \"rate\"\nfrom = 1\nto = 5"),
        load("stop_climbing = \"slo-lost\"\n", range),
        // The same axis twice, in every way that an axis is written.
        load("sweep.concurrency = [1, 2]\n", range),
        load("sweep.zip = [{ concurrency = [1, 2], max_tokens = [8, 16] }]\n", range),
        load("sweep.variant.a = { concurrency = 4 }\n", range),
        load("sweep.concurrency = { expr = \"max_tokens\" }\n", range),
        format!("{}[sweep]\nworkload.chat.concurrency = [1, 2]\n", load("", range)),
        load("sweep.search.to = [10, 20]\n", range),
        load("sweep.variant = { a = { temperature = 0.0 }, b = { temperature = 0 } }\n", range),
        // The range of a server axis.
        flag("max-model-len", "from = 8192\nto = 1024"),
        flag("max-model-len", "from = 1024\nto = 8192\nstep = 0"),
        flag("max-model-len", "from = 1024\nto = 8192\nstep = 8192"),
        flag("max-model-len", "to = 8192"),
        flag("max-model-len", "from = 0\nto = 8192.5"),
        flag("gpu-memory-utilization", "from = 0.5\nto = 0.9"),
        flag("gpu-memory-utilization", "from = 0\nto = 1.5\nstep = 0.01"),
        flag("dtype", "from = 1\nto = 2"),
        flag("enforce-eager", "from = 0\nto = 1"),
        server("axis = \"server.model\"\nfrom = 1\nto = 2"),
        server("axis = \"server.sim.kv_tokens\"\nfrom = 1.5\nto = 20\nstep = 0.5"),
        // The axis.
        server("axis = \"max-model-len\"\nfrom = 1\nto = 2"),
        server("axis = \"server.flag.max-model-len\"\nfrom = 1\nto = 2"),
        server("axis = \"workload.chat.concurrency\"\nfrom = 1\nto = 2"),
        server("axis = \"a b\"\nfrom = 1\nto = 2"),
        tune("").replace("max-num-seqs", "cpu-offload-gb"),
        tune("").replace("[\"server", "[\"max-num-seqs\", \"server.flags.max_num_seqs\", \"server"),
        server("axes = []"),
        // The kinds of searches.
        server(""),
        server("find = \"smallest\""),
        server(&format!("{context}\nstarts = 4\nobjective = \"goodput\"")),
        server(&format!("{context}\naxes = [\"server.flags.max-num-seqs\"]")),
        tune("from = 1\nto = 4\nthat = \"fits\""),
        tune("starts = 0"),
        server(&format!("{context}\nthat = \"runs\"")),
        // The same axis, the same question.
        format!("{}[sweep]\nserver.flags.max-model-len = [1024, 2048]\n", server(context)),
        format!("{}[sweep.variant.a]\nserver.flags.max-model-len = 1024\n", server(context)),
        format!("{}[sweep.variant.a]\nserver.flags.max-num-seqs = 1024\n", tune("")),
        format!("{}[search.t]\n{}\n", server(context), context.replace("1024\nto", "2048\nto")),
        format!(
            "{}[sweep.variant]\na = {{ server.flags.dtype = \"half\" }}\nb = {{ server.flags.dtype = \"half\" }}\n",
            server(context)
        ),
        // What a search over servers needs around it.
        format!("{HEAD}{CHAT}[search.s]\n{context}\nthat = \"meets-slo\"\n"),
        format!("{HEAD}{CHAT}[search.s]\naxes = [\"server.flags.max-num-seqs\"]\nobjective = \"goodput\"\n"),
        tune("objective = \"most_users\""),
        tune("objective = \"goodput\"").replace("p95_ttft", "p95_tpot").replace("= 8", "= 1"),
        format!("{}{}", load("", range), format_args!("[search.s]\n{context}\n")),
        server(&format!("{context}\nthat = \"survives\""))
            .replace(slo, &format!("{slo}stop_climbing = \"slo-lost\"\n")),
        server(context).replace(
            "engine = \"sim\"",
            "engine = \"openai\"\nlaunch = { on = \"attach\", url = \"http://127.0.0.1:1\" }",
        ),
        server(context).replace("[search.s]", "[search.\"a/b\"]"),
        // All at once.
        format!("{HEAD}{CHAT}stop_climbing = \"throughput-falls\"\n{}", users("axis = \"rate\"\nfrom = 9\nto = 5")),
        server("axis = \"server.flags.dtype\"\nfind = \"smallest\"\nthat = \"meets-slo\"\nfrom = 4\nto = 2\nstarts = 3").replace(slo, ""),
        // Too much.
        format!(
            "{}[workload.chat.sweep]\nmax_tokens = {{ from = 1, to = 200, step = 1 }}\n[sweep]\nserver.flags.a = {{ from = 1, to = 200, step = 1 }}\n",
            load("", range)
        ),
        format!(
            "{}[sweep]\nserver.flags.a = {{ from = 1, to = 200, step = 1 }}\nserver.flags.b = {{ from = 1, to = 200, step = 1 }}\n",
            server(context)
        ),
        // A skip condition that fails on a probe.
        format!(
            "{}[sweep]\nskip = [\"max_model_len > limit\"]\n",
            server(&format!("{context}\nthat = \"survives\""))
        ),
        format!("{}[sweep]\nskip = [\"concurency > 8\"]\n", load("", range)),
    ];
    let mut findings = String::new();
    for text in manifests {
        let (plan, said) = planned(&text, &Overrides::default());
        let errors = said.matches("error: ").count();
        assert!(plan.is_none() && errors > 0, "no error for\n{text}\n{said}");
        let mistake = text.replacen(HEAD, "", 1).replacen(CHAT, "", 1);
        writeln!(findings, "──── {}\n{said}", mistake.trim_end()).unwrap();
    }
    insta::assert_snapshot!(findings);
}

#[test]
fn set_changes_one_key_of_a_search() {
    let text = format!(
        "{HEAD}{CHAT}slo.p95_ttft = \"1s\"\nsearch = {{ axis = \"concurrency\", from = 2, to = 100 }}\n"
    );
    let overrides = Overrides { set: vec!["workload.chat.search.to=64".into()], ..Overrides::default() };
    let plan = planned(&text, &overrides).0.unwrap();
    let runner::plan::Goal::Load { from, to, .. } = plan.searches[0].goal else { panic!() };
    assert_eq!((from, to), (2.0, 64.0));
    let text =
        format!("{HEAD}{CHAT}[search.s]\naxis = \"server.flags.max-model-len\"\nfrom = 100\nto = 1000\n");
    let overrides = Overrides { set: vec!["search.s.from=500".into()], ..Overrides::default() };
    let plan = planned(&text, &overrides).0.unwrap();
    let runner::plan::Goal::Value { from, to, .. } = plan.searches[0].goal else { panic!() };
    assert_eq!((from, to), (500.0, 1000.0));
}

#[test]
fn a_rule_for_repeats_changes_the_cells_ids_and_a_number_does_not() {
    let with = |repeats: &str, set: &str| {
        let head = HEAD.replace("name = \"x\"", &format!("name = \"x\"\n{repeats}"));
        let overrides = match set {
            "" => Overrides::default(),
            set => Overrides { set: vec![set.to_owned()], ..Overrides::default() },
        };
        let (plan, said) = planned(&format!("{head}{CHAT}"), &overrides);
        plan.unwrap_or_else(|| panic!("{said}")).groups[0].cells[0].id.clone()
    };
    // The id of a committed format: it must not change.
    assert_eq!(with("", ""), "chat-c1-t8-542e14af");
    assert_eq!(with("repeats = 1", ""), with("", ""));
    let rule = "repeats = { until = { p95_ttft = \"5%\" } }";
    let rules = [
        "repeats = 3",
        rule,
        "repeats = { until = { p95_ttft = \"4%\" } }",
        "repeats = { until = { p95_ttft = \"5%\" }, at_most = 9 }",
        "repeats = { at_least = 3, restart = true }",
    ];
    let ids: std::collections::BTreeSet<String> = rules.iter().map(|rule| with(rule, "")).collect();
    assert_eq!(ids.len(), rules.len());
    // Defaults that are written out are the same rule.
    let whole = "repeats = { at_least = 3, until = { p95_ttft = \"5%\" }, at_most = 10, restart = false }";
    assert_eq!(with(whole, ""), with(rule, ""));
    assert_eq!(with("repeats = 7", &format!("experiment.{}", rule.replace(" = {", "={"))), with(rule, ""));
    assert_eq!(with(rule, "experiment.repeats.at_most=9"), with(rules[3], ""));
    assert_eq!(with(rule, "experiment.repeats=3"), with("repeats = 3", ""));
}

#[test]
fn axes_multiply_and_each_distinct_server_is_a_group() {
    let plan = plan_of(&format!(
        "{HEAD}{CHAT}[workload.chat.sweep]\nconcurrency = [1, 4]\nmax_tokens = [8, 16]\n[workload.batch]\ndocuments = {{ file = \"docs.txt\", separator = \"[DOC]\" }}\nprompt = \"Sum: {{{{ document }}}}\"\npasses = 4\nmax_tokens = 9\n\
         [sweep]\nserver.flags.max-model-len = [4096, 8192]\nserver.flags.max-num-seqs = {{ from = 32, to = 128, factor = 2 }}\n"
    ));
    assert_eq!(plan.groups.len(), 6);
    assert_eq!(plan.len(), 6 * 5);
    assert_eq!(plan.server_axes, ["max-model-len", "max-num-seqs"]);
    assert_eq!(plan.load_axes, ["concurrency", "max_tokens"]);
    let batch = plan.groups[0].cells.last().unwrap();
    assert_eq!(batch.stop, runner::plan::Stop::Requests(8), "two documents, four passes");
}

#[test]
fn zip_variants_derived_skip_and_unset_reach_the_cells() {
    let plan = plan_of(&format!(
        "{HEAD}[server.flags]\ndtype = \"bfloat16\"\n{CHAT}[workload.chat.sweep]\nconcurrency = [1, 2, 4]\nrequests = {{ expr = \"concurrency * 50\" }}\nskip = [{{ when = \"concurrency > 2 and variant == 'awq'\", reason = \"too slow\" }}]\n\
         [[sweep.zip]]\nserver.flags.max-model-len = [4096, 8192]\nserver.flags.max-num-seqs = [64, 32]\n\
         [sweep.variant.bf16]\nserver.flags.seed = 1\n[sweep.variant.awq]\nserver.model = \"org/awq\"\nserver.flags.quantization = \"awq\"\nserver.flags.dtype = {{ unset = true }}\n"
    ));
    assert_eq!(plan.groups.len(), 4);
    let awq = plan.groups.iter().find(|g| g.axes["variant"] == "awq").unwrap();
    assert_eq!(awq.server.model, "org/awq");
    assert!(awq.server.flags.get("dtype").is_none());
    let skipped: Vec<_> =
        plan.groups.iter().flat_map(|g| &g.cells).filter_map(|c| c.skip.as_deref()).collect();
    assert_eq!(skipped, ["too slow"; 2]);
    assert_eq!(plan.groups[0].cells[2].spec.requests, Some(200), "a derived value keeps its type");
}

#[test]
fn an_open_loop_is_named_by_its_rate_and_a_trace_ends_with_its_last_line() {
    let open = "[workload.chat]\nprompts = [\"hi\"]\nmax_tokens = 8\nduration = \"5s\"\narrivals = \"gamma\"\nburstiness = 0.5\n\
                [workload.chat.sweep]\nrate = [2, 12.5]\n\
                [workload.replay]\nprompts = [\"hi\"]\nmax_tokens = 8\narrivals = \"trace\"\ntrace = { file = \"trace.jsonl\" }\nwarmup = 1\n";
    let plan = plan_of(&format!("{HEAD}{open}"));
    let cells = &plan.groups[0].cells;
    let begin = |place: usize, words: &str| {
        let id = &cells[place].id;
        assert!(id.starts_with(words), "{id}");
    };
    begin(0, "chat-r2-t8-");
    begin(1, "chat-r12.5-t8-");
    begin(2, "replay-trace-t8-");
    assert_eq!(plan.load_axes, ["rate"]);
    assert_eq!(cells[2].stop, runner::plan::Stop::Requests(2));
    assert_eq!(cells[0].start(), None, "an open loop has no streams");
}

#[test]
fn each_rung_of_a_ladder_names_the_one_below_it() {
    let plan = plan_of(&format!(
        "{HEAD}{CHAT}stop_climbing = \"throughput-falls\"\n[workload.chat.sweep]\nconcurrency = [1, 2, 3, 4]\nmax_tokens = [8, 16]\n\
         warmup = {{ expr = \"concurrency\" }}\nskip = [\"concurrency == 3\"]\n"
    ));
    let cells = &plan.groups[0].cells;
    let below: Vec<Option<usize>> = cells
        .iter()
        .map(|cell| {
            let below = cell.rung_below.as_ref()?;
            cells.iter().position(|cell| cell.id == *below)
        })
        .collect();
    // Two lines, one of each length; the rungs at 3 are left out of both.
    assert_eq!(below, [None, None, Some(0), Some(1), None, None, Some(2), Some(3)]);
}

#[test]
fn streams_are_staggered_given_enough_requests_per_stream() {
    let of = |more: &str| {
        let text = format!("{HEAD}[workload.chat]\nprompts = [\"hi\"]\nmax_tokens = 8\n{more}");
        plan_of(&text).groups[0].cells[0].start().unwrap()
    };
    assert_eq!(of("requests = 100\nconcurrency = 12\n"), Start::Staggered);
    assert_eq!(of("requests = 100\nconcurrency = 13\n"), Start::Together);
    assert_eq!(of("requests = 100\nconcurrency = 13\nwarmup = 4\n"), Start::Staggered);
    assert_eq!(of("requests = 100\nconcurrency = 4\nstart = \"together\"\n"), Start::Together);
    assert_eq!(of("duration = \"5s\"\nconcurrency = 4\n"), Start::Staggered);
    assert_eq!(of("duration = \"5s\"\n"), Start::Together);
}

#[test]
fn cell_ids_depend_only_on_what_is_measured() {
    let base = format!("{HEAD}[server.flags]\na = 1\nb_c = 2\n{CHAT}");
    let same = format!("{HEAD}ready_within = \"1m\"\n[server.flags]\nb-c = 2\na = 1\n{CHAT}");
    let other = base.replace("requests = 200", "requests = 201");
    let id = |text: &str| plan_of(text).groups[0].cells[0].id.clone();
    assert_eq!(id(&base), id(&same));
    assert_ne!(id(&base), id(&other));
    assert!(id(&base).starts_with("chat-c1-t8-"), "{}", id(&base));
    // An id that changes would orphan every stored result: this one was written down when the form was fixed.
    assert_eq!(id(&base), "chat-c1-t8-ef3789df");
}

#[test]
fn set_overrides_includes() {
    let overrides = Overrides {
        set: vec!["server.flags.max-num-seqs=16".into(), "experiment.title=free words".into()],
        ..Overrides::default()
    };
    let (plan, said) = planned(&format!("include = \"base.toml\"\n{CHAT}"), &overrides);
    let plan = plan.unwrap_or_else(|| panic!("{said}"));
    assert_eq!(plan.experiment.name, "base");
    assert_eq!(plan.experiment.title.as_deref(), Some("free words"));
    assert_eq!(plan.groups[0].server.flags.integer("max-num-seqs"), Some(16));
}
