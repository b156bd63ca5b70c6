//! The processes of the benchmark: this binary again, in another role, on a processor of its own.

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use super::{client::Load, server::Answers};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The server has the first processor, whoever asks it the second.
pub(crate) const SERVER: usize = 0;
pub(crate) const CLIENT: usize = 1;

/// A running server.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(answers: Answers) -> Result<Self> {
        let words = [
            u64::from(answers.tokens),
            u64::from(answers.per_write),
            answers.ttft,
            answers.gap,
            u64::from(answers.out_of_step),
            u64::from(answers.chunk_each),
        ];
        let mut child = role("server", &words)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let port = line.trim().parse()?;
        Ok(Self { child, out, port })
    }

    /// Ends it; for each answer the arrival of its request and the instants of its writes, nanoseconds.
    pub(crate) fn end(mut self) -> Result<Vec<Vec<u64>>> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.out.read_to_string(&mut text)?;
        self.child.wait()?;
        text.lines().map(|line| line.split(' ').map(|n| Ok(n.parse()?)).collect()).collect()
    }
}

fn role(name: &str, words: &[u64]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).args(words.iter().map(u64::to_string));
    Ok(command)
}

/// Runs the raw reader (`raw`) or the client (`client`, `holding`) to its end.
pub(crate) fn ask(name: &str, load: &Load, tokens: u32) -> Result<Value> {
    let words = [
        u64::from(load.port),
        u64::from(load.streams),
        load.warmup,
        load.requests,
        load.until.unwrap_or(u64::MAX),
        load.rate.map_or(0, f64::to_bits),
        u64::from(load.poisson),
        u64::from(tokens),
    ];
    let output = role(name, &words)?.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the {name} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The role that this process was started in, if it was.
pub(crate) fn play(words: &[String]) -> Option<Result<()>> {
    let (role, rest) = words.split_first()?;
    let numbers: Vec<u64> = rest.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some(match (role.as_str(), &numbers[..]) {
        ("server", &[tokens, per_write, ttft, gap, out_of_step, chunk_each]) => {
            let answers = Answers {
                tokens: tokens as u32,
                per_write: per_write as u32,
                ttft,
                gap,
                out_of_step: out_of_step == 1,
                chunk_each: chunk_each == 1,
            };
            super::clock::pin(SERVER).and_then(|()| super::server::serve(answers)).map_err(Into::into)
        }
        (name, &[port, streams, warmup, requests, until, rate, poisson, tokens]) => {
            let load = Load {
                port: port as u16,
                streams: streams as u32,
                warmup,
                requests,
                until: (until < u64::MAX).then_some(until),
                rate: (rate > 0).then_some(f64::from_bits(rate)),
                poisson: poisson == 1,
            };
            client(name, &load, tokens)
        }
        _ => return None,
    })
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn client(name: &str, load: &Load, tokens: u64) -> Result<()> {
    super::clock::pin(CLIENT)?;
    let told = match name {
        "raw" => super::raw::read(load, tokens)?,
        "client" => super::client::ask(load, tokens, false)?,
        "holding" => super::client::ask(load, tokens, true)?,
        _ => return Err(format!("no role is called {name}").into()),
    };
    println!("{told}");
    Ok(())
}
