//! A headless Chromium, driven by its DevTools protocol over two pipes: messages of JSON, each ended by a
//! zero byte. The pipes are file descriptors 3 and 4 of the browser, which the shell makes of its standard
//! input and output; closing them ends the browser with all its processes. No port, no library.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Timeout of one call: on an idle machine it takes up to a second.
const ANSWER: Duration = Duration::from_secs(90);
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Finds a browser: `RUNNER_TEST_CHROMIUM`, or the first on the `PATH`.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = env::var_os("RUNNER_TEST_CHROMIUM").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

/// A running browser with one page.
pub(crate) struct Browser {
    child: Child,
    to: Option<File>,
    from: Receiver<Value>,
    events: Vec<Value>,
    session: Option<String>,
    last: u64,
    _profile: TempDir,
}

impl Browser {
    pub(crate) fn start(path: &Path) -> Result<Self, String> {
        let profile = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (read_here, write_there) = pipe()?;
        let (read_there, write_here) = pipe()?;
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(path)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::from(read_there))
            .stdout(Stdio::from(write_there))
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", path.display()))?;
        let (tell, from) = channel();
        let mut messages = BufReader::new(File::from(read_here));
        thread::spawn(move || {
            let mut message = Vec::new();
            while messages.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else {
                    break;
                };
                if tell.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            to: Some(File::from(write_here)),
            from,
            events: Vec::new(),
            session: None,
            last: 0,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = browser
            .call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }))?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last += 1;
        let id = self.last;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let to = self.to.as_mut().ok_or("the browser is closed")?;
        to.write_all(&bytes).map_err(|error| format!("{method}: the browser ended: {error}"))?;
        loop {
            let value = self.receive(method)?;
            if value["id"] != json!(id) {
                self.events.push(value);
                continue;
            }
            return match value.get("error") {
                Some(error) => Err(format!("{method}: {error}")),
                None => Ok(value["result"].clone()),
            };
        }
    }

    fn receive(&mut self, waiting_for: &str) -> Result<Value, String> {
        self.from
            .recv_timeout(ANSWER)
            .map_err(|error| format!("{waiting_for}: the browser does not answer: {error}"))
    }

    /// Loads a file and waits for it. Discards earlier events.
    pub(crate) fn load(&mut self, file: &Path) -> Result<(), String> {
        self.events.clear();
        let url = format!("file://{}", file.display());
        self.call("Page.navigate", json!({ "url": url }))?;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive("Page.loadEventFired")?;
            self.events.push(event);
        }
        Ok(())
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value, String> {
        let answer = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        )?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(format!("{expression}: {details}")),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str, code: u32) -> Result<(), String> {
        for kind in ["rawKeyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            // A button is pressed by the character that the key types.
            if key == "Enter" && kind == "rawKeyDown" {
                event["type"] = json!("keyDown");
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Problems since the page was loaded: exceptions, console errors and network requests.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        while let Ok(event) = self.from.try_recv() {
            self.events.push(event);
        }
        let is_problem = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Network.requestWillBeSent") => {
                let url = event["params"]["request"]["url"].as_str();
                !url.is_some_and(|url| url.starts_with("file://"))
            }
            _ => false,
        };
        let found = self.events.iter().filter(|event| is_problem(event));
        found.map(Value::to_string).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closing the pipe ends it; killing the one process that we started is for one that hangs.
        self.to = None;
        for _ in 0..100 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe: its reading end, its writing end.
fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let (read, write) = std::io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    Ok((read.into(), write.into()))
}
