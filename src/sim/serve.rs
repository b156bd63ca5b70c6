//! From the arguments to a listening server, until a signal ends it.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use super::{
    SimArgs, api,
    clock::Clock,
    fault::{Fate, Trouble},
    log::{kv_cache_size, kv_too_small, non_default_args, say},
};
use crate::engine::{
    Script,
    hardware::GIB,
    memory::{Fit, Misfit, basis},
    server_model::ServerModel,
    startup,
};

/// Connections that may wait to be accepted; the system's own limit counts where it is lower.
const BACKLOG: u32 = 16_384;
/// How long it waits when there is no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(10);
/// How long connections may take to write their last events after a signal.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Why an embedded server did not serve. Its log says the same, in vLLM's words.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimError {
    /// The scripted KV cache cannot hold one request of `max-model-len`.
    KvTooSmall {
        /// Tokens that fit.
        kv_tokens: u64,
        /// Tokens one request may need.
        max_model_len: u64,
    },
    /// The model does not fit on the GPU that is rehearsed.
    Misfit(Misfit),
    /// Something else listens there.
    PortTaken(SocketAddr),
    /// It ran out of memory, on request.
    OutOfMemory,
    /// It crashed, on request.
    Crashed,
    /// The operating system refused something.
    Io(io::Error),
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KvTooSmall {
                kv_tokens,
                max_model_len,
            } => write!(f, "{}", kv_too_small(*kv_tokens, *max_model_len)),
            Self::Misfit(misfit) => write!(f, "{misfit}"),
            Self::PortTaken(address) => write!(
                f,
                "[Errno 98] Address already in use: something else listens on {address}; choose another --port"
            ),
            // The words of PyTorch: who reads the log looks for them.
            Self::OutOfMemory => f.write_str(
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate more than there is: a fault on request \
                 (--sim-out-of-memory)",
            ),
            Self::Crashed => f.write_str(
                "EngineCore died unexpectedly: a fault on request (--sim-crash)",
            ),
            Self::Io(why) => write!(f, "the embedded engine cannot serve: {why}"),
        }
    }
}

impl std::error::Error for SimError {}

impl From<io::Error> for SimError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// Serves until SIGTERM or SIGINT; then streams in flight end with `finish_reason` `abort`, and it returns. Logs to
/// stdout. The caller exits 1 on an error and 0 otherwise, as vLLM does.
///
/// # Errors
/// A KV cache too small, a taken port, a fault on request, or what the operating system refused; each is logged first.
pub async fn serve(args: SimArgs) -> Result<(), SimError> {
    let outcome = run(args).await;
    if let Err(why) = &outcome {
        say("ERROR", &why.to_string());
    }
    outcome
}

async fn run(mut args: SimArgs) -> Result<(), SimError> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    say("INFO", &format!("version {}", api::version()));
    say("INFO", &non_default_args(&args));
    let address = SocketAddr::new(args.host, args.port);
    let fit = args.modelled.as_ref().map(load).transpose()?;
    if let Some(fit) = &fit {
        args.script.kv_tokens = Some(fit.kv_tokens());
    }
    let listening = tokio::select! {
        started = start(&args, fit.as_ref(), address) => started?,
        () = either(&mut term, &mut int) => return Ok(()),
    };
    let clock = match (&args.modelled, &fit) {
        (Some(modelled), Some(fit)) => {
            let engine = modelled.engine(fit, args.prefix_caching(), modelled.speed());
            Clock::start(Box::new(engine))?
        }
        _ => Clock::start(Box::new(Script::new(
            args.script.clone(),
            args.max_num_seqs,
            args.prefix_caching(),
            args.seed,
        )))?,
    };
    let trouble = Arc::new(Trouble::new(args.script.faults.clone(), args.seed));
    let args = Arc::new(args);
    let mut connections = JoinSet::new();
    let mut fate = std::pin::pin!(trouble.fate());
    let mut fated = false;
    let mut full = false;
    say("INFO", "Application startup complete.");
    loop {
        let stream = tokio::select! {
            accepted = listening.accept() => accepted,
            () = either(&mut term, &mut int) => break,
            Some(_) = connections.join_next() => continue,
            fate = &mut fate, if !fated => {
                fated = true;
                match fate {
                    Fate::Hang => clock.hang(),
                    Fate::Crash => return Err(SimError::Crashed),
                    Fate::OutOfMemory => {
                        say("ERROR", "EngineCore encountered a fatal error.");
                        clock.fail_all();
                        last_words(&clock).await;
                        return Err(SimError::OutOfMemory);
                    }
                }
                continue;
            }
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(why) => {
                // A client that left before it was accepted is no reason to stop, nor is one for whom there is no room.
                if !matches!(why.kind(), io::ErrorKind::ConnectionAborted) {
                    if !full {
                        say(
                            "WARNING",
                            &format!(
                                "no room for another connection beside {}: {why}; raise the limit with `ulimit -n`",
                                connections.len()
                            ),
                        );
                    }
                    full = true;
                    tokio::time::sleep(NO_ROOM).await;
                }
                continue;
            }
        };
        stream.set_nodelay(true)?;
        let (args, clock, trouble) = (Arc::clone(&args), clock.clone(), Arc::clone(&trouble));
        connections.spawn(async move {
            let service = service_fn(|request| api::answer(&args, &clock, &trouble, request));
            // A connection that breaks has told its client already.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
    say("INFO", "Shutting down: requests in flight end as aborted.");
    drop(listening);
    clock.abort_all();
    last_words(&clock).await;
    Ok(())
}

/// Waits until every answer is handed over. Idle connections never end by themselves, so this is a limit, not a wish.
async fn last_words(clock: &Clock) {
    let words = async {
        while clock.answering() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LAST_WORDS, words).await.ok();
}

/// Says how the memory of the GPU is shared out, until something does not fit.
fn load(modelled: &ServerModel) -> Result<Fit, SimError> {
    let model = &modelled.model;
    let told = modelled.fit();
    let lines = startup_log::lines(modelled, &told);
    if !lines.is_empty() {
        say(
            "INFO",
            &format!("Rehearsing {} on {}, {}", model.name, modelled.gpu.name, basis(&modelled.gpu, model)),
        );
    }
    for line in lines {
        say("INFO", &line);
    }
    told.map_err(SimError::Misfit)
}

/// The line with the size of the cache, then of the graphs, as vLLM has them.
fn fitted(fit: &Fit) -> String {
    let size = kv_cache_size(fit.kv_tokens(), fit.max_model_len);
    if fit.graphs > 0.0 {
        say("INFO", &size);
        return format!("Graph capturing finished in 0 secs, took {:.2} GiB", fit.graphs / GIB);
    }
    size
}

async fn start(args: &SimArgs, fit: Option<&Fit>, address: SocketAddr) -> Result<TcpListener, SimError> {
    tokio::time::sleep(args.script.startup.duration()).await;
    if args.script.faults.hang_at_start {
        say("INFO", "Hanging while it starts, on request (--sim-hang-at-start).");
        std::future::pending::<()>().await;
    }
    if let Some(fit) = fit {
        say("INFO", &fitted(fit));
    } else if let Some(kv_tokens) = args.script.kv_tokens {
        if kv_tokens < args.max_model_len {
            return Err(SimError::KvTooSmall { kv_tokens, max_model_len: args.max_model_len });
        }
        say("INFO", &kv_cache_size(kv_tokens, args.max_model_len));
    }
    say("INFO", &format!("Starting vLLM server on http://{address}"));
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
    // As a listener of the standard library: a port that a client of the last server still holds can be had.
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
