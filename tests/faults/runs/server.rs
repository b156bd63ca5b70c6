//! The server dies, hangs, runs out of memory or does not start.

use std::{net::TcpListener, path::Path};

use crate::support::standin::{lacks_python, with_stand_in};

use super::{
    injected::{at, manifest, nothing, run, told},
    row::Fault,
};

/// A fault that the embedded engine shows by itself.
fn embedded(name: &'static str, says: &'static str, server: &'static str, sim: &'static str) -> Fault {
    Fault {
        name,
        says,
        inject: Box::new(move |folder| {
            manifest(folder, server, sim)?;
            Ok(told(folder, at(run(folder, &[]), "", |_| ())?))
        }),
        lacks: nothing,
    }
}

/// A failed start that was recorded of a real vLLM.
fn recorded(name: &'static str, says: &'static str, log: &'static str) -> Fault {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/vllm").join(log);
    stood_in(name, says, format!("STANDIN_FAIL = \"{}\"", log.display()))
}

/// A stand-in for vLLM that does what its environment says.
fn stood_in(name: &'static str, says: &'static str, environment: String) -> Fault {
    Fault {
        name,
        says,
        inject: Box::new(move |folder| {
            manifest(folder, &format!("[server.env]\n{environment}"), "")?;
            let text = std::fs::read_to_string(folder.join("manifest.toml"))?;
            let text = text
                .replace("engine = \"sim\"", "engine = \"vllm\"")
                .replace("[server.sim]\nttft = \"5ms\"\nper_token = \"20ms\"\n", "");
            std::fs::write(folder.join("manifest.toml"), text)?;
            let mut command = run(folder, &[]);
            with_stand_in(&mut command);
            Ok(told(folder, at(command, "", |_| ())?))
        }),
        lacks: lacks_python,
    }
}

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        embedded("the server crashes in a cell", ": crashed ·", "", "faults.crash = { at_request = 6 }"),
        embedded("the server crashes in every cell", ": crashed ·", "", "faults.crash = { at_request = 2 }"),
        embedded("the server hangs in a cell", ": crashed ·", "", "faults.hang = { at_request = 6 }"),
        embedded("the server hangs in every cell", ": crashed ·", "", "faults.hang = { at_request = 2 }"),
        embedded(
            "the server runs out of memory in a cell",
            ": oom(load)",
            "",
            "faults.out_of_memory = { at_request = 6 }",
        ),
        embedded(
            "the server hangs at its start",
            ": timed_out ·",
            "ready_within = \"1s\"",
            "faults.hang_at_start = true",
        ),
        embedded(
            "the server starts slowly, in time",
            ": ready after",
            "ready_within = \"30s\"",
            "startup = \"1s\"",
        ),
        embedded(
            "the KV cache is too small",
            ": kv_too_small",
            "flags.max-model-len = 4096",
            "kv_tokens = 1024",
        ),
        Fault {
            name: "another user's server has the port",
            says: ": port_taken",
            inject: Box::new(|folder| {
                let theirs = TcpListener::bind("127.0.0.1:0")?;
                let port = theirs.local_addr()?.port();
                manifest(folder, &format!("flags.port = {port}"), "")?;
                let seen = at(run(folder, &[]), "", |_| ())?;
                // Nobody asked it anything, and it still is there.
                theirs.set_nonblocking(true)?;
                assert!(theirs.accept().is_err());
                Ok(told(folder, seen))
            }),
            lacks: nothing,
        },
        stood_in(
            "vLLM: its engine dies in a cell, and its API server lives",
            ": crashed ·",
            "STANDIN_SICK_AFTER = \"6\"".to_owned(),
        ),
        stood_in(
            "vLLM: it lives, and ceases to listen in a cell",
            ": crashed ·",
            "STANDIN_DEAF_AFTER = \"6\"".to_owned(),
        ),
        recorded("vLLM: a flag it does not know", ": bad_flags", "fail-bad-flag.log"),
        recorded("vLLM: no room for the KV cache", ": oom(kv_cache)", "fail-kv-space-over-ram.log"),
        recorded(
            "vLLM: a KV cache smaller than one request",
            ": kv_too_small",
            "fail-kv-too-small-blocks.log",
        ),
        recorded("vLLM: a model that is not there", ": bad_model", "fail-bad-model-path.log"),
        recorded("vLLM: a truncated file of weights", ": bad_model", "fail-weights-truncated.log"),
        recorded("vLLM: a hub that cannot be reached", ": model_unavailable", "fail-hub-id-offline.log"),
    ]
}
