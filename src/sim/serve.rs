//! Runs the server until a signal ends it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use super::{
    SimArgs, api,
    clock::{Clock, Step},
    fault::{FaultPlan, ServerFault},
    log::{kv_cache_size, kv_too_small, log_line, non_default_args},
};
use crate::engine::{
    Script,
    hardware::GIB,
    memory::{Fit, Misfit},
    server_model::ServerModel,
    startup_log,
};

/// The length of the accept queue, unless the system's limit is lower.
const BACKLOG: u32 = 16_384;
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Timeout for open answers to be written after a signal.
const DRAIN: Duration = Duration::from_millis(300);

/// Why an embedded server did not serve. Its log has the same text, in vLLM's words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The scripted KV cache cannot hold one request of `max-model-len`.
    #[error("{}", kv_too_small(*kv_tokens, *max_model_len))]
    KvTooSmall {
        /// Tokens that fit.
        kv_tokens: u64,
        /// Tokens of the longest request.
        max_model_len: u64,
    },
    /// The model does not fit on the GPU to rehearse.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The port is taken.
    #[error("[Errno 98] Address already in use: another process listens on {0}; choose another --port")]
    PortTaken(SocketAddr),
    /// The injected fault `--sim-out-of-memory`, in PyTorch's words.
    #[error(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate more than there is: injected fault (--sim-out-of-memory)"
    )]
    OutOfMemory,
    /// The injected fault `--sim-crash`.
    #[error("EngineCore died unexpectedly: injected fault (--sim-crash)")]
    Crashed,
    /// The operating system refused something.
    #[error("the embedded engine cannot serve: {0}")]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. Streams in flight then end with `finish_reason` `abort`. Logs to stdout.
/// As with vLLM, the caller exits with 1 on an error and 0 otherwise.
///
/// # Errors
/// When the KV cache is too small, the port is taken, a fault is injected, or the operating system refuses
/// something. The error is logged first.
pub async fn serve(args: SimArgs) -> Result<(), SimError> {
    let outcome = run(args).await;
    if let Err(why) = &outcome {
        log_line("ERROR", &why.to_string());
    }
    outcome
}

async fn run(mut args: SimArgs) -> Result<(), SimError> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    log_line("INFO", &format!("version {}", api::version()));
    log_line("INFO", &non_default_args(&args));
    let address = SocketAddr::new(args.host, args.port);
    let fit = args.server.as_ref().map(load).transpose()?;
    if let Some(fit) = &fit {
        args.script.kv_tokens = Some(fit.kv_tokens());
    }
    let listening = tokio::select! {
        started = start(&args, fit.as_ref(), address) => started?,
        () = either(&mut term, &mut int) => return Ok(()),
    };
    let clock = match (&args.server, &fit) {
        (Some(server), Some(fit)) => {
            let engine = server.engine(fit, args.prefix_caching(), server.speed());
            Clock::start(Box::new(engine))?
        }
        _ => Clock::start(Box::new(Script::new(
            args.script.clone(),
            args.max_num_seqs,
            args.prefix_caching(),
            args.seed,
        )))?,
    };
    let faults = Arc::new(FaultPlan::new(args.script.faults.clone(), args.seed));
    let args = Arc::new(args);
    let mut connections = JoinSet::new();
    let mut server_fault = std::pin::pin!(faults.server_fault());
    let mut failed = false;
    let mut full = false;
    log_line("INFO", "Application startup complete.");
    loop {
        let stream = tokio::select! {
            accepted = listening.accept() => accepted,
            () = either(&mut term, &mut int) => break,
            Some(_) = connections.join_next() => continue,
            fault = &mut server_fault, if !failed => {
                failed = true;
                match fault {
                    ServerFault::Hang => clock.hang(),
                    ServerFault::Crash => return Err(SimError::Crashed),
                    ServerFault::OutOfMemory => {
                        log_line("ERROR", "EngineCore encountered a fatal error.");
                        clock.end_all(Step::Fail);
                        drain(&clock).await;
                        return Err(SimError::OutOfMemory);
                    }
                }
                continue;
            }
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(why) => {
                // The client may have disconnected, or the process may have too many open files; both pass.
                if !matches!(why.kind(), io::ErrorKind::ConnectionAborted) {
                    if !full {
                        log_line(
                            "WARNING",
                            &format!(
                                "cannot accept more than {} connections: {why}; raise the limit with `ulimit -n`",
                                connections.len()
                            ),
                        );
                    }
                    full = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let (args, clock, faults) = (Arc::clone(&args), clock.clone(), Arc::clone(&faults));
        connections.spawn(async move {
            let service = service_fn(|request| api::answer(&args, &clock, &faults, request));
            // The client sees a broken connection itself.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
    log_line("INFO", "Shutting down: requests in flight end as aborted.");
    drop(listening);
    clock.end_all(Step::Abort);
    drain(&clock).await;
    Ok(())
}

/// Waits until all answers are written, or the timeout passes.
async fn drain(clock: &Clock) {
    let written = async {
        while clock.answering() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DRAIN, written).await.ok();
}

/// Divides the memory of the GPU, and logs it as vLLM does.
fn load(server: &ServerModel) -> Result<Fit, SimError> {
    let fit = server.fit();
    let lines = startup_log::lines(server, &fit);
    if !lines.is_empty() {
        let (model, gpu, validation) = (&server.model.name, &server.gpu.name, server.validation());
        log_line("INFO", &format!("Rehearsing {model} on {gpu}, {validation}"));
    }
    for line in lines {
        log_line("INFO", &line);
    }
    Ok(fit?)
}

/// Logs the size of the KV cache, and then that of the CUDA graphs, as vLLM does.
fn log_fit(fit: &Fit) {
    log_line("INFO", &kv_cache_size(fit.kv_tokens(), fit.max_model_len));
    if fit.graphs > 0.0 {
        log_line("INFO", &format!("Graph capturing finished in 0 secs, took {:.2} GiB", fit.graphs / GIB));
    }
}

async fn start(args: &SimArgs, fit: Option<&Fit>, address: SocketAddr) -> Result<TcpListener, SimError> {
    tokio::time::sleep(args.script.startup.duration()).await;
    if args.script.faults.hang_at_start {
        log_line("INFO", "Hanging during startup: injected fault (--sim-hang-at-start).");
        std::future::pending::<()>().await;
    }
    if let Some(fit) = fit {
        log_fit(fit);
    } else if let Some(kv_tokens) = args.script.kv_tokens {
        if kv_tokens < args.max_model_len {
            return Err(SimError::KvTooSmall { kv_tokens, max_model_len: args.max_model_len });
        }
        log_line("INFO", &kv_cache_size(kv_tokens, args.max_model_len));
    }
    log_line("INFO", &format!("Starting vLLM server on http://{address}"));
    listen(address).map_err(|why| match why.kind() {
        io::ErrorKind::AddrInUse => SimError::PortTaken(address),
        _ => SimError::Io(why),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As in the standard library, so that connections of the last server do not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
