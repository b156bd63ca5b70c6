//! Shows the progress of a run on stderr. A thread of its own writes to the terminal, so that no measurement
//! waits for it.

mod bars;
mod format;
mod lines;
mod message;
mod search;
mod state;
mod view;

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::run::Event;
use bars::Bars;
use lines::Lines;
pub(super) use search::answered;
pub use state::Commands;
use view::View;

/// The screen of one run. It is cleared of bars when it is closed or dropped.
pub struct Screen {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Show(Box<Event>),
    Close,
}

/// Sends events to a screen.
#[derive(Clone)]
pub struct Events(Sender<Message>);

impl Events {
    /// Shows an event, soon. Never waits.
    pub fn show(&self, event: Event) {
        // The screen may be gone (no thread, a closed terminal); the run goes on.
        let _ = self.0.send(Message::Show(Box::new(event)));
    }
}

impl Screen {
    /// A screen on stderr that suggests `commands` at the end: bars on a terminal, elsewhere a line per
    /// event. A `quiet` one shows only failures and warnings.
    pub fn new(quiet: bool, commands: Commands) -> Self {
        let view: Box<dyn View> = if !quiet && std::io::stderr().is_terminal() {
            Box::new(Bars::new(commands))
        } else {
            Box::new(Lines::new(anstream::stderr(), quiet, commands))
        };
        let (messages, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("screen".into())
            .spawn(move || show(view, &inbox))
            .inspect_err(|error| {
                let _ = writeln!(
                    anstream::stderr(),
                    "warning: the progress is not shown: cannot start a thread: {error}"
                );
            })
            .ok();
        Self { messages, thread }
    }

    /// A handle to send events with, for another thread.
    pub fn events(&self) -> Events {
        Events(self.messages.clone())
    }
}

impl Drop for Screen {
    /// Shows what was sent so far, and ignores what other threads send later.
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(mut view: Box<dyn View>, inbox: &mpsc::Receiver<Message>) {
    let mut due = Instant::now() + view.interval();
    loop {
        match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Message::Show(event)) => view.event(*event, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        if now >= due {
            view.tick(now);
            due = now + view.interval();
        }
    }
}
