//! Manifests with mistakes, and the matrix they expand to.

use camino::Utf8PathBuf;
use runner::{
    manifest::{Manifest, Overrides},
    plan::{Plan, plan},
};

/// Loads and plans a manifest written to a folder of its own; gives the plan and all findings as text.
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

/// One row per mistake: the manifest, and what the findings must say.
#[test]
fn every_mistake_is_named_with_its_line_and_a_next_step() {
    let head = HEAD;
    let chat = CHAT;
    let rows: Vec<(String, &[&str])> = vec![
        (format!("{head}modle = \"x\"\n{chat}"), &["unknown key `modle`", "day.toml:6:1", "did you mean `model`"]),
        (format!("{head}ready_within = 5\n{chat}"), &["a time with a unit", "day.toml:6:16", "\"5s\""]),
        (format!("{head}ready_within = \"5 parsecs\"\n{chat}"), &["unknown unit \"parsecs\""]),
        (format!("{head}{chat}slo = {{ p99.9_ttft = \"1s\" }}\n"), &["\"p99\" is not a target", "in quotes: \"p99.9_ttft\""]),
        (format!("{head}{chat}slo = {{ p101_ttft = \"1s\" }}\n"), &["is not a target", "p99.9_e2e"]),
        (format!("{head}{chat}slo = {{ \"p99.9_itl\" = \"1s\" }}\n"), &["1400 samples cannot carry p99.9", "needs 6636"]),
        (format!("[experiment]\nname = \"x\"\nscrape_every = 5\n[server]\nmodel = \"org/model\"\nengine = \"sim\"\n{chat}"), &["a time with a unit", "day.toml:3:16"]),
        (format!("[experiment]\nname = \"x\"\nscrape_every = \"1ms\"\n[server]\nmodel = \"org/model\"\nengine = \"sim\"\n{chat}"), &["`experiment.scrape_every` is not a time", "a load of their own", "\"off\""]),
        (format!("{head}{chat}[workload.chat.sweep]\nconcurrency = []\n"), &["`workload.chat.concurrency` has no values"]),
        (format!("{head}{chat}[workload.chat.sweep]\nconcurency = [1]\n"), &["path that does not exist", "did you mean `concurrency`"]),
        (format!("{head}{chat}[workload.chat.sweep]\nconcurrency = [1, 2, 1]\n"), &["two cells are the same", "lists 1 twice"]),
        (format!("{head}{chat}[workload.chat.sweep]\nconcurrency = [1, \"two\"]\n"), &["`workload.chat.concurrency` is a whole number, not a string"]),
        (format!("{head}{chat}[workload.chat.sweep]\nconcurrency = 4\n"), &["not an array", "write [4]"]),
        (format!("{head}{chat}[sweep]\nskip = [\"concurency > 4\"]\n"), &["cannot be evaluated", "did you mean `concurrency`"]),
        (format!("{head}{chat}[sweep]\nskip = [\"1 +\"]\n"), &["cannot be read"]),
        (format!("{head}{chat}[sweep]\nskip = [\"concurrency\"]\n"), &["neither true nor false"]),
        (format!("{head}[workload.b]\ndocuments = {{ file = \"nope.txt\" }}\npasses = 1\nmax_tokens = 4\n"), &["cannot read /nope.txt", "day.toml:7:22"]),
        ("[experiment]\nname = \"x\"\n[server]\nmodel = \"/no/such/model\"\n[workload.chat]\nprompts = [\"hi\"]\nrequests = 1\nmax_tokens = 8\n".into(), &["there is no model at /no/such/model"]),
        (format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 16\nmax_tokens = 8\nslo = {{ p95_ttft = \"1s\" }}\n"), &["16 samples cannot carry p95", "needs 130"]),
        (format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 16\nmax_tokens = 8\nslo = {{ p95_tftt = \"1s\" }}\n"), &["is not a target"]),
        (format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 3\nmax_tokens = {{ expr = \"8\" }}\n"), &["`workload.chat.max_tokens` is a whole number, not a table", "`max_tokens = …` in [workload.chat.sweep]"]),
        (format!("{head}[workload.chat]\nprompts = [\"hi\"]\nmax_tokens = 8\n"), &["does not say when to stop"]),
        (format!("{head}[workload.chat]\nprompts = [\"hi\"]\nrequests = 3\n"), &["no max_tokens"]),
        (format!("{head}[workload.chat]\nrequests = 3\nmax_tokens = 8\n"), &["there is nothing to ask", "prompts = [\"…\"]"]),
        (format!("{head}{chat}conversations = {{ file = \"chats.json\" }}\n"), &["prompts and conversations; one of them is enough"]),
        (format!("{head}[workload.chat]\nconversations = {{ file = \"bad.json\" }}\nrequests = 3\nmax_tokens = 8\n"), &["bad.json:2 is not a list of conversations", "day.toml:7:17"]),
        (format!("{head}[workload.chat]\nconversations = {{ file = \"chats.json\" }}\nrequests = 3\nmax_tokens = 8\n"), &["1 of 2 conversations are left out"]),
        (format!("{head}[workload.s]\nsynthetic = {{ input_tokens = {{ uniform = [9, 3] }} }}\nrequests = 3\nmax_tokens = 8\n"), &["`synthetic.input_tokens` is no length: no length lies between 9 and 3", "day.toml:7:30"]),
        (format!("{head}[workload.s]\nsynthetic = {{ input_tokens = \"long\" }}\nrequests = 3\nmax_tokens = 8\n"), &["`workload.s.synthetic.input_tokens` is a whole number or a table, not a string", "a distribution"]),
        (format!("{head}[workload.s]\nsynthetic = {{ input_tokens = {{ gauss = 3 }} }}\nrequests = 3\nmax_tokens = 8\n"), &["unknown key `gauss`", "uniform, normal, lognormal, histogram"]),
        (format!("{head}[workload.s]\nsynthetic = {{ input_tokens = 9, output_tokens = 4 }}\nrequests = 3\nmax_tokens = 8\n"), &["says twice how long an answer is", "day.toml:9:14"]),
        (format!("{head}[workload.s]\nsynthetic = {{ input_tokens = 9 }}\nrequests = 3\n"), &["has no max_tokens"]),
        (format!("{head}[workload.s]\nsynthetic = {{ input_tokens = 9 }}\npasses = 3\nmax_tokens = 8\n"), &["no number to pass over", "requests_per_stream"]),
        (format!("{head}[workload.s]\nshared_prefix = {{ groups = 2, prefix_tokens = 9, suffix_tokens = 3 }}\ncache = \"fresh\"\nrequests = 3\nmax_tokens = 8\n"), &["cannot all be new to the prefix cache", "day.toml:8:9"]),
        (format!("{head}[server.flags]\nmax_model_len = 512\n[workload.s]\nsynthetic = {{ input_tokens = 510, output_tokens = 8 }}\nrequests = 3\n"), &["no request fits into max-model-len = 512", "510 + 8 = 518 tokens"]),
        (format!("{head}[server.flags]\nmax_model_len = 512\n[workload.s]\nshared_prefix = {{ groups = 1, prefix_tokens = 400, suffix_tokens = {{ uniform = [10, 110] }} }}\nmax_tokens = 8\nrequests = 3\n"), &["the longest requests do not fit into max-model-len = 512", "up to 510 + 8 = 518 tokens"]),
        (format!("{head}[workload.p]\nprompts = {{ file = \"p.jsonl\", output_tokens_field = \"n\" }}\nrequests = 3\n"), &["p.jsonl:2 has no number of tokens from 1 up in its field `n`"]),
        (format!("{head}[workload.p]\nprompts = {{ file = \"p.jsonl\", output_tokens_field = \"n\" }}\nrequests = 3\nmax_tokens = 3\n"), &["says twice how long an answer is: max_tokens and output_tokens_field"]),
        (format!("{head}[workload.chat]\nconversations = {{ file = \"chats.json\", turns = \"all\" }}\narrivals = \"poisson\"\nrate = 2\nrequests = 3\nmax_tokens = 8\n"), &["need api = \"chat\""]),
        (format!("{head}[workload.chat]\nconversations = {{ file = \"chats.json\", turns = \"some\" }}\nrequests = 3\nmax_tokens = 8\n"), &["cannot be \"some\"", "one of first, all"]),
        (format!("{head}{chat}extra_body = {{ prompt = \"x\" }}\n"), &["`extra_body.prompt` is the client's own"]),
        (format!("{head}[server.flags]\nmax_num_seqs = 1\nmax-num-seqs = 2\n{chat}"), &["stands twice", "`_` and `-` are the same"]),
        (format!("{head}[server.env]\nHF_TOKEN = \"hf_abc\"\n{chat}"), &["a secret in `server.env.HF_TOKEN`"]),
        (format!("{head}engin = 1\nenv = 3\n{chat}bogus = true\n"), &["unknown key `engin`", "`server.env` is a table", "unknown key `bogus`"]),
        (format!("{head}x = [\n"), &["not TOML"]),
        (format!("{head}{chat}[[sweep.zip]]\nserver.flags.a = [1, 2]\nserver.flags.b = [1]\n"), &["differ in length"]),
        (
            format!("{head}{chat}[[sweep.zip]]\nserver.flags.a = [1, 2]\nserver.flags.b = {{ expr = \"a * 2\" }}\n"),
            &["no length to be zipped"],
        ),
        (format!("{head}{chat}[sweep]\nserver.flags.a = {{ from = 1, to = 9 }}\n"), &["one of `step` and `factor`"]),
        (format!("{head}{chat}[sweep]\nserver.flags.a = {{ from = 1, to = 1000000, step = 1 }}\n"), &["more than 10000 values"]),
        (format!("{head}{chat}[sweep]\nserver.flags.a = {{ from = 1, to = 1000, step = 1 }}\nserver.flags.b = {{ from = 1, to = 1000, step = 1 }}\n"), &["the matrix has 1000000 cells"]),
        (format!("{head}{chat}rate = 5\n"), &["arrivals = \"closed\" has no `rate`", "an open loop has a rate", "day.toml:10:8"]),
        (format!("{head}{chat}arrivals = \"poisson\"\n"), &["arrivals = \"poisson\" needs `rate`", "rate = 10"]),
        (format!("{head}{chat}arrivals = \"poisson\"\nrate = 0\n"), &["`rate` is not above zero"]),
        (format!("{head}{chat}arrivals = \"poisson\"\nrate = 2\nconcurrency = 4\nburst = 2\n"), &["has no `concurrency`", "belongs to a closed loop", "has no `burst`", "arrivals = \"bursts\""]),
        (format!("{head}{chat}arrivals = \"poison\"\n"), &["cannot be \"poison\"; did you mean `poisson`", "at-once"]),
        (format!("{head}{chat}arrivals = \"ramp\"\nrate = 2\n"), &["needs `ramp_to`"]),
        (format!("{head}{chat}arrivals = \"at-once\"\nwarmup = 2\n"), &["nothing comes before everything at once"]),
        (format!("{head}[workload.b]\nprompts = [\"hi\"]\nmax_tokens = 8\narrivals = \"at-once\"\nduration = \"2s\"\n"), &["not with a duration"]),
        (format!("{head}{chat}arrivals = \"trace\"\ntrace = {{ file = \"nope.jsonl\" }}\n"), &["cannot read /nope.jsonl"]),
        (format!("{head}{chat}arrivals = \"trace\"\ntrace = {{ file = \"docs.txt\" }}\n"), &["docs.txt:2 is no line of a trace"]),
        (format!("{head}{chat}arrivals = \"trace\"\ntrace = {{ file = \"trace.jsonl\", speed = 2 }}\n"), &["the trace has 3 arrivals, and 200 are asked for"]),
        (format!("{head}[workload.b]\narrivals = \"trace\"\ntrace = {{ file = \"trace.jsonl\" }}\n"), &["does not say how long every prompt and answer is"]),
        (format!("{head}{chat}think_time = {{ median = \"1s\" }}\n"), &["unknown key `median`"]),
        (format!("{head}{chat}stop_climbing = \"throughput-falls\"\n"), &["there is no ladder to climb", "sweep.concurrency"]),
        (format!("{head}{chat}stop_climbing = \"slo-lost\"\n[workload.chat.sweep]\nconcurrency = [1, 2]\n"), &["there is no SLO to be lost"]),
        (format!("{head}{chat}stop_climbing = \"throughput-falls\"\n[workload.chat.sweep]\nconcurrency = [4, 2]\n"), &["a ladder is climbed from below"]),
        (format!("{head}{chat}stop_climbing = \"throughput-falls\"\n[workload.chat.sweep]\nconcurrency = [1, 2]\n").replace("name = \"x\"", "name = \"x\"\norder = \"shuffled\""), &["cannot be climbed in a shuffled order"]),
        ("".into(), &["there is no [experiment] table", "there is no [server] table", "there is no workload"]),
        (format!("include = \"day.toml\"\n{head}{chat}"), &["includes itself"]),
        (format!("include = \"gone.toml\"\n{head}{chat}"), &["cannot read", "included here"]),
    ];
    for (text, wanted) in rows {
        let (_, said) = planned(&text, &Overrides::default());
        for words in wanted {
            assert!(said.contains(words), "wanted {words:?} for\n{text}\nin\n{said}");
        }
    }
}

#[test]
fn axes_multiply_and_each_distinct_server_is_one_group() {
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
fn streams_are_staggered_where_there_are_enough_requests_for_each() {
    let of = |more: &str| {
        let text = format!("{HEAD}[workload.chat]\nprompts = [\"hi\"]\nmax_tokens = 8\n{more}");
        plan_of(&text).groups[0].cells[0].start().unwrap().name()
    };
    assert_eq!(of("requests = 100\nconcurrency = 12\n"), "staggered");
    assert_eq!(of("requests = 100\nconcurrency = 13\n"), "together");
    assert_eq!(of("requests = 100\nconcurrency = 13\nwarmup = 4\n"), "staggered");
    assert_eq!(of("requests = 100\nconcurrency = 4\nstart = \"together\"\n"), "together");
    assert_eq!(of("duration = \"5s\"\nconcurrency = 4\n"), "staggered");
    assert_eq!(of("duration = \"5s\"\n"), "together");
}

#[test]
fn ids_rest_on_what_is_measured_and_on_nothing_else() {
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
fn includes_and_set_lay_upon_each_other() {
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
