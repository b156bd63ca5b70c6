//! `report.html` in a real browser: that it renders, sorts, filters, opens a cell's page, fits a phone, can be used without
//! a mouse, and does nothing that a name tells it to.

mod browser;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use browser::Browser;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;

type Test = fn(&mut Browser, &Path) -> Result<(), String>;

fn main() {
    let mut arguments = Arguments::from_args();
    // One browser fills two cores.
    arguments.test_threads = Some(1);
    let trials = [
        ("the_page_renders_without_a_script_error", renders as Test),
        ("the_table_sorts_and_absent_values_stay_last", sorts),
        ("the_table_filters_by_words_numbers_and_outcome", filters),
        ("a_cell_has_its_own_page", cell_page),
        ("a_phone_need_not_scroll_sideways", phone),
        ("pictures_are_reached_by_keyboard_and_pointer", pictures),
        ("it_follows_light_and_dark", light_and_dark),
        ("names_and_logs_are_text", hostile),
    ]
    .map(|(name, test)| {
        Trial::ignorable_test(name, move || {
            let Some(path) = browser::find() else {
                if env::var_os("RUNNER_TEST_REQUIRE_ALL").is_some() {
                    return Err(Failed::from("RUNNER_TEST_REQUIRE_ALL is set, and there is no Chromium; `apt-get install chromium` provides it"));
                }
                return Ok(Completion::ignored_with(
                    "needs Chromium; get it with: apt-get install chromium (or name one in RUNNER_TEST_CHROMIUM)",
                ));
            };
            run(&path, name, test).map(|()| Completion::Completed).map_err(Failed::from)
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

/// Runs a test on the page of the committed run, rendered anew.
fn run(path: &Path, name: &str, test: Test) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let page = rendered(&folder, name == "names_and_logs_are_text")?;
    let mut browser = Browser::start(path)?;
    browser.load(&page)?;
    test(&mut browser, &page)?;
    match browser.problems().as_slice() {
        [] => Ok(()),
        problems => Err(format!("the page has problems: {}", problems.join("\n"))),
    }
}

const BAD: &str = "</script><script>window.harmed = true</script><img src=x onerror=\"window.harmed = true\"> {{ 7 * 7 }}";

/// The page of a copy of the committed run; its names and logs replaced by what would do harm as markup.
fn rendered(folder: &TempDir, bad: bool) -> Result<PathBuf, String> {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/cpu-smollm2/cpu-2core");
    copy(&run, folder.path()).map_err(|error| error.to_string())?;
    if bad {
        let cells = fs::read_dir(folder.path().join("cells")).map_err(|error| error.to_string())?;
        for cell in cells {
            let path = cell
                .map_err(|error| error.to_string())?
                .path()
                .join("cell.json");
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            let mut value: Value =
                serde_json::from_str(&text).map_err(|error| error.to_string())?;
            value["workload"] = json!(BAD);
            value["reason"] = json!(BAD);
            value["log_tail"] = json!([BAD, "\u{1b}[31mred"]);
            fs::write(&path, value.to_string()).map_err(|error| error.to_string())?;
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .arg("report")
        .arg(folder.path())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{output:?}"));
    }
    Ok(folder.path().join("report.html"))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let there = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &there)?;
        } else {
            fs::copy(&path, there)?;
        }
    }
    Ok(())
}

/// Fails unless an expression in the page has a value.
fn expect(browser: &mut Browser, expression: &str, wanted: Value) -> Result<(), String> {
    let got = browser.value(expression)?;
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{expression}\n  is   {got}\n  not  {wanted}"))
    }
}

const ROWS: &str = "document.querySelectorAll('#table tbody tr').length";

fn renders(browser: &mut Browser, _: &Path) -> Result<(), String> {
    expect(
        browser,
        "document.querySelector('#title').textContent",
        json!("What does a CPU serve, and where does its KV cache end?"),
    )?;
    expect(
        browser,
        "document.querySelectorAll('.statement').length",
        json!(1),
    )?;
    expect(
        browser,
        "document.querySelectorAll('.stands-out li').length > 2",
        json!(true),
    )?;
    expect(browser, ROWS, json!(16))?;
    expect(
        browser,
        "document.querySelectorAll('#pictures svg').length > 4",
        json!(true),
    )?;
    // Nothing of a picture is cut off by its own edge, and no text of a picture covers another.
    let overlaps = "(() => {
        const found = [];
        for (const svg of document.querySelectorAll('#pictures svg')) {
            const edge = svg.getBoundingClientRect();
            const boxes = [...svg.querySelectorAll('text')].map((text) => [text.textContent, text.getBoundingClientRect()]);
            boxes.forEach(([text, box], index) => {
                if (box.left < edge.left || box.right > edge.right || box.bottom > edge.bottom) found.push(`cut: ${text}`);
                for (const [other, own] of boxes.slice(index + 1)) {
                    const wide = Math.min(box.right, own.right) - Math.max(box.left, own.left);
                    const high = Math.min(box.bottom, own.bottom) - Math.max(box.top, own.top);
                    if (wide > 1 && high > 4) found.push(`over one another: ${text} and ${other}`);
                }
            });
        }
        return found;
    })()";
    expect(browser, overlaps, json!([]))
}

fn click_heading(browser: &mut Browser, key: &str) -> Result<(), String> {
    browser
        .value(&format!(
            "document.querySelector('th[data-key=\"{key}\"] button').click()"
        ))
        .map(drop)
}

/// A column from top to bottom: numbers, null where there is none.
fn column(browser: &mut Browser, key: &str) -> Result<Vec<Option<f64>>, String> {
    let expression = format!(
        "(() => {{ const at = [...document.querySelectorAll('th')].findIndex((th) => th.dataset.key === '{key}');
        return [...document.querySelectorAll('#table tbody tr')].map((row) => {{
            const value = parseFloat(row.cells[at].textContent.replaceAll(',', '')); return Number.isNaN(value) ? null : value; }}); }})()"
    );
    let value = browser.value(&expression)?;
    Ok(value
        .as_array()
        .into_iter()
        .flatten()
        .map(Value::as_f64)
        .collect())
}

fn sorts(browser: &mut Browser, _: &Path) -> Result<(), String> {
    for (way, wanted) in [("descending", -1.0), ("ascending", 1.0)] {
        click_heading(browser, "throughput")?;
        expect(
            browser,
            "document.querySelector('th[data-key=throughput]').getAttribute('aria-sort')",
            json!(way),
        )?;
        let values = column(browser, "throughput")?;
        let numbers: Vec<f64> = values.iter().flatten().copied().collect();
        if numbers.len() != 8 || values[..8].iter().any(Option::is_none) {
            return Err(format!("the eight numbers stand first: {values:?}"));
        }
        if numbers
            .windows(2)
            .any(|pair| (pair[1] - pair[0]) * wanted < 0.0)
        {
            return Err(format!("{way}: {numbers:?}"));
        }
    }
    Ok(())
}

fn filter(browser: &mut Browser, text: &str) -> Result<(), String> {
    let text = json!(text);
    browser
        .value(&format!("(() => {{ const box = document.getElementById('filter'); box.value = {text}; box.dispatchEvent(new Event('input')); }})()"))
        .map(drop)
}

fn filters(browser: &mut Browser, _: &Path) -> Result<(), String> {
    for (text, rows) in [
        ("does not fit", 8),
        ("concurrency>=4", 8),
        ("concurrency>=4 ok", 4),
        ("p50_ttft_ms<1000", 3),
        ("max_tokens=16 concurrency=1", 2),
        ("no such thing", 0),
        ("", 16),
    ] {
        filter(browser, text)?;
        expect(browser, ROWS, json!(rows)).map_err(|error| format!("`{text}`: {error}"))?;
    }
    browser.value("(() => { const select = document.getElementById('outcome'); select.value = 'does_not_fit'; select.dispatchEvent(new Event('input')); })()")?;
    expect(browser, ROWS, json!(8))?;
    expect(
        browser,
        "document.getElementById('count').textContent",
        json!("8 of 16 cells"),
    )
}

/// Waits for what a new hash shows: the browser tells the page later than it tells us.
const SETTLED: &str = "new Promise((done) => setTimeout(done, 100))";

fn cell_page(browser: &mut Browser, _: &Path) -> Result<(), String> {
    filter(browser, "concurrency=4 max_tokens=32 ok")?;
    browser.value("document.querySelector('#table tbody a').click()")?;
    browser.value(SETTLED)?;
    expect(
        browser,
        "document.getElementById('overview').hidden",
        json!(true),
    )?;
    expect(
        browser,
        "location.hash",
        json!("#cell=chat-c4-t32-098ff91f"),
    )?;
    expect(
        browser,
        "document.querySelector('#cell h1').textContent.startsWith('chat: concurrency 4, max_tokens 32')",
        json!(true),
    )?;
    expect(
        browser,
        "document.activeElement === document.querySelector('#cell h1')",
        json!(true),
    )?;
    // Four distributions and two rows of the timeline.
    expect(
        browser,
        "document.querySelectorAll('#cell svg').length",
        json!(6),
    )?;
    expect(
        browser,
        "document.querySelectorAll('#cell .verdict').length",
        json!(3),
    )?;
    browser.value("document.getElementById('back').click()")?;
    browser.value(SETTLED)?;
    expect(
        browser,
        "document.getElementById('overview').hidden",
        json!(false),
    )?;
    // One that did not fit: why, and the end of the server's log.
    browser.value("location.hash = '#cell=chat-c8-t16-ceb60555'")?;
    browser.value(SETTLED)?;
    expect(
        browser,
        "document.querySelector('#cell').textContent.includes('estimated maximum model length is 896')",
        json!(true),
    )?;
    expect(
        browser,
        "document.querySelector('#cell pre').textContent.includes('Engine core initialization failed')",
        json!(true),
    )?;
    browser.value("location.hash = '#cell=nothing'")?;
    browser.value(SETTLED)?;
    expect(
        browser,
        "document.querySelector('#cell h1').textContent",
        json!("There is no such cell in this run."),
    )
}

fn phone(browser: &mut Browser, page: &Path) -> Result<(), String> {
    let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    browser.call("Emulation.setDeviceMetricsOverride", phone)?;
    browser.load(page)?;
    let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth && document.documentElement.clientWidth === 360";
    expect(browser, fits, json!(true))?;
    for cell in ["chat-c4-t32-098ff91f", "chat-c8-t16-ceb60555"] {
        browser.value(&format!("location.hash = '#cell={cell}'"))?;
        browser.value(SETTLED)?;
        expect(browser, fits, json!(true)).map_err(|error| format!("{cell}: {error}"))?;
    }
    Ok(())
}

fn pictures(browser: &mut Browser, _: &Path) -> Result<(), String> {
    browser.value("document.querySelector('#pictures .mark').focus()")?;
    expect(
        browser,
        "document.getElementById('tip').hidden",
        json!(false),
    )?;
    let first = browser.value("document.getElementById('tip').textContent")?;
    browser.press("ArrowRight", 39)?;
    let second = browser.value("document.getElementById('tip').textContent")?;
    if first == second || second == json!("") {
        return Err(format!("the arrow leads from {first} to {second}"));
    }
    // From one picture the next is one step of the Tab key away.
    browser.value("window.before = document.activeElement.closest('.figure')")?;
    browser.press("Tab", 9)?;
    expect(
        browser,
        "document.activeElement.closest('.figure') === window.before",
        json!(false),
    )?;
    browser.press("Enter", 13)?;
    browser.value(SETTLED)?;
    expect(browser, "location.hash.startsWith('#cell=')", json!(true))
}

fn light_and_dark(browser: &mut Browser, page: &Path) -> Result<(), String> {
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )?;
        browser.load(page)?;
        seen.push(browser.value(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('#pictures .paper')).fill]",
        )?);
    }
    let wanted = [
        json!(["rgb(255, 255, 255)", "rgb(255, 255, 255)"]),
        json!(["rgb(13, 17, 23)", "rgb(13, 17, 23)"]),
    ];
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{seen:?}"))
    }
}

fn hostile(browser: &mut Browser, _: &Path) -> Result<(), String> {
    expect(browser, ROWS, json!(16))?;
    browser.value("location.hash = '#cell=chat-c8-t16-ceb60555'")?;
    browser.value(SETTLED)?;
    expect(
        browser,
        "window.harmed === undefined && document.images.length === 0 && document.scripts.length === 2",
        json!(true),
    )?;
    let bad = json!(BAD);
    expect(
        browser,
        &format!("document.querySelector('#cell h1').textContent.includes({bad})"),
        json!(true),
    )?;
    expect(
        browser,
        &format!("document.querySelector('#cell pre').textContent.includes({bad})"),
        json!(true),
    )
}
