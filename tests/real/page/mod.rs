//! `report.html` in a real browser: it renders, sorts, filters, opens a cell's page, fits a phone, works by
//! keyboard, and shows markup in names as text.

mod browser;
mod runs;

use std::path::Path;

use browser::Browser;
use libtest_mimic::{Completion, Failed, Trial};
use runs::{BAD, Change, harmful, multiplied, rendered, unchanged};
use serde_json::{Value, json};

use crate::support::lacking;

type Test = fn(&mut Browser, &Path) -> Result<(), String>;

pub(crate) fn trials() -> [Trial; 10] {
    [
        ("the_page_renders_without_a_script_error", renders as Test),
        ("the_table_sorts_with_absent_values_last", sorts),
        ("the_table_filters_by_words_numbers_and_outcome", filters),
        ("a_cell_has_its_own_page", cell_page),
        ("the_page_fits_a_phone", phone),
        ("pictures_are_reached_by_keyboard_and_pointer", pictures),
        ("everything_is_reachable_by_keyboard", keyboard),
        ("a_large_run_is_paginated", pages),
        ("the_page_follows_the_color_scheme", light_and_dark),
        ("names_and_logs_are_shown_as_text", hostile),
    ]
    .map(|(name, test)| {
        Trial::ignorable_test(name, move || {
            let Some(path) = browser::find() else {
                let reason = lacking("needs Chromium; get it with: apt-get install chromium (or name one in RUNNER_TEST_CHROMIUM)")?;
                return Ok(Completion::ignored_with(reason));
            };
            run(&path, name, test).map(|()| Completion::Completed).map_err(Failed::from)
        })
    })
}

/// Runs a test on the page of the committed run, rendered anew.
fn run(path: &Path, name: &str, test: Test) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let change = match name {
        "names_and_logs_are_shown_as_text" => harmful as Change,
        "a_large_run_is_paginated" => multiplied,
        _ => unchanged,
    };
    let page = rendered(&folder, change)?;
    let mut browser = Browser::start(path)?;
    browser.load(&page)?;
    test(&mut browser, &page)?;
    match browser.problems().as_slice() {
        [] => Ok(()),
        problems => Err(format!("the page has problems: {}", problems.join("\n"))),
    }
}

/// Fails unless an expression in the page has a value.
fn expect(browser: &mut Browser, expression: &str, wanted: Value) -> Result<(), String> {
    let got = browser.value(expression)?;
    if got == wanted { Ok(()) } else { Err(format!("{expression}\n  is   {got}\n  not  {wanted}")) }
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
        "document.querySelector('#first strong').textContent.includes(' serves 2 users of chat ')",
        json!(true),
    )?;
    expect(browser, "document.querySelectorAll('#first table').length", json!(2))?;
    expect(
        browser,
        "[...document.querySelectorAll('summary')].some((said) => said.textContent === 'Cells without numbers: 8')",
        json!(true),
    )?;
    expect(browser, "document.querySelectorAll('#first li').length > 2", json!(true))?;
    expect(browser, ROWS, json!(16))?;
    expect(browser, "document.querySelectorAll('#pictures svg').length > 4", json!(true))?;
    expect(browser, OVERLAPS, json!([]))
}

/// Lists chart texts that are cut off by the chart's edge or overlap each other.
const OVERLAPS: &str = "(() => {
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

fn click_heading(browser: &mut Browser, key: &str) -> Result<(), String> {
    browser.value(&format!("document.querySelector('th[data-key=\"{key}\"] button').click()")).map(drop)
}

/// A column from top to bottom; `None` where a cell has no number.
fn column(browser: &mut Browser, key: &str) -> Result<Vec<Option<f64>>, String> {
    let expression = format!(
        "(() => {{ const at = [...document.querySelectorAll('#table th')].findIndex((th) => th.dataset.key === '{key}');
        return [...document.querySelectorAll('#table tbody tr')].map((row) => {{
            const value = parseFloat(row.cells[at].textContent.replaceAll(',', '')); return Number.isNaN(value) ? null : value; }}); }})()"
    );
    let value = browser.value(&expression)?;
    Ok(value.as_array().into_iter().flatten().map(Value::as_f64).collect())
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
        if numbers.windows(2).any(|pair| (pair[1] - pair[0]) * wanted < 0.0) {
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
    expect(browser, "document.getElementById('count').textContent", json!("8 of 16 cells"))
}

/// Waits until the page has handled a new hash.
const SETTLED: &str = "new Promise((done) => setTimeout(done, 100))";

fn cell_page(browser: &mut Browser, _: &Path) -> Result<(), String> {
    filter(browser, "concurrency=4 max_tokens=32 ok")?;
    browser.value("document.querySelector('#table tbody a').click()")?;
    browser.value(SETTLED)?;
    expect(browser, "document.getElementById('overview').hidden", json!(true))?;
    expect(browser, "location.hash", json!("#cell=chat-c4-t32-098ff91f"))?;
    expect(
        browser,
        "document.querySelector('#cell h1').textContent.startsWith('chat: concurrency 4, max_tokens 32')",
        json!(true),
    )?;
    expect(browser, "document.activeElement === document.querySelector('#cell h1')", json!(true))?;
    // Four distributions and two rows of the timeline.
    expect(browser, "document.querySelectorAll('#cell svg').length", json!(6))?;
    expect(browser, "document.querySelectorAll('#cell .verdict').length", json!(3))?;
    browser.value("document.getElementById('back').click()")?;
    browser.value(SETTLED)?;
    expect(browser, "document.getElementById('overview').hidden", json!(false))?;
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
    // The pictures are those drawn for a phone: nothing to scroll, and text as large as the page's.
    let shown = "[...document.querySelectorAll('#pictures svg')].filter((svg) => svg.getBoundingClientRect().width > 0)";
    let pictures = format!(
        "{shown}.length > 4 && {shown}.every((svg) => svg.classList.contains('for-narrow') && svg.parentElement.scrollWidth <= 360)"
    );
    expect(browser, &pictures, json!(true))?;
    let smallest = format!(
        "Math.min(...{shown}.flatMap((svg) => [...svg.querySelectorAll('text')].map((text) => parseFloat(getComputedStyle(text).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))) >= 10"
    );
    expect(browser, &smallest, json!(true))?;
    expect(browser, OVERLAPS, json!([]))?;
    // What a row is of stays in sight while its numbers are scrolled.
    browser.value("document.querySelector('.scroll').scrollLeft = 300")?;
    expect(
        browser,
        "Math.abs(document.querySelector('#table tbody td').getBoundingClientRect().left - document.querySelector('.scroll').getBoundingClientRect().left) < 2",
        json!(true),
    )?;
    for cell in ["chat-c4-t32-098ff91f", "chat-c8-t16-ceb60555"] {
        browser.value(&format!("location.hash = '#cell={cell}'"))?;
        browser.value(SETTLED)?;
        expect(browser, fits, json!(true)).map_err(|error| format!("{cell}: {error}"))?;
    }
    Ok(())
}

fn pictures(browser: &mut Browser, _: &Path) -> Result<(), String> {
    browser.value("document.querySelector('#pictures .mark').focus()")?;
    expect(browser, "document.getElementById('tip').hidden", json!(false))?;
    let first = browser.value("document.getElementById('tip').textContent")?;
    browser.press("ArrowRight", 39)?;
    let second = browser.value("document.getElementById('tip').textContent")?;
    if first == second || second == json!("") {
        return Err(format!("the arrow leads from {first} to {second}"));
    }
    // From one picture the next is one step of the Tab key away.
    browser.value("window.before = document.activeElement.closest('.figure')")?;
    browser.press("Tab", 9)?;
    expect(browser, "document.activeElement.closest('.figure') === window.before", json!(false))?;
    browser.press("Enter", 13)?;
    browser.value(SETTLED)?;
    expect(browser, "location.hash.startsWith('#cell=')", json!(true))
}

/// Whether the focused element has a visible focus ring.
const FOCUS_SHOWN: &str = "(() => { const style = getComputedStyle(document.activeElement); return document.activeElement.matches(':focus-visible') && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; })()";

fn keyboard(browser: &mut Browser, _: &Path) -> Result<(), String> {
    // The first stop leads past the pictures.
    browser.press("Tab", 9)?;
    expect(browser, "document.activeElement.className", json!("skip"))?;
    expect(browser, FOCUS_SHOWN, json!(true))?;
    browser.press("Enter", 13)?;
    browser.value(SETTLED)?;
    // From there filter, outcome, table, the first heading: in the order in which they are seen.
    let mut stops = Vec::new();
    for _ in 0..4 {
        browser.press("Tab", 9)?;
        expect(browser, FOCUS_SHOWN, json!(true))?;
        stops.push(browser.value(
            "document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.closest('th').dataset.key",
        )?);
    }
    if stops != [json!("filter"), json!("outcome"), json!("Table of cells"), json!("concurrency")] {
        return Err(format!("the stops are {stops:?}"));
    }
    // A heading sorts by its key, says how, and keeps the focus.
    for way in ["ascending", "descending"] {
        browser.press("Enter", 13)?;
        expect(browser, "document.activeElement.closest('th').getAttribute('aria-sort')", json!(way))?;
        expect(browser, "document.activeElement.closest('th').dataset.key", json!("concurrency"))?;
    }
    // What is no text has words: every picture and every mark of it.
    expect(
        browser,
        "[...document.querySelectorAll('svg, svg .mark')].every((node) => (node.getAttribute('aria-label') || '').length > 3)",
        json!(true),
    )
}

fn pages(browser: &mut Browser, _: &Path) -> Result<(), String> {
    let count = "document.getElementById('count').textContent";
    let first = "document.querySelector('#table tbody tr').dataset.cell";
    expect(browser, ROWS, json!(200))?;
    expect(browser, count, json!("640 of 640 cells, 1 to 200 shown"))?;
    let before = browser.value(first)?;
    for _ in 0..3 {
        browser.value("document.getElementById('after').click()")?;
    }
    expect(browser, ROWS, json!(40))?;
    expect(browser, count, json!("640 of 640 cells, 601 to 640 shown"))?;
    // The button at the end is off, and the focus is where one can go on.
    expect(
        browser,
        "document.getElementById('after').disabled && document.activeElement.id",
        json!("before"),
    )?;
    // Another order and another filter begin at the beginning.
    click_heading(browser, "throughput")?;
    expect(browser, count, json!("640 of 640 cells, 1 to 200 shown"))?;
    browser.value("document.getElementById('after').click()")?;
    filter(browser, "ok")?;
    expect(browser, count, json!("320 of 640 cells, 1 to 200 shown"))?;
    filter(browser, "ok concurrency=4 max_tokens=32")?;
    expect(browser, count, json!("40 of 640 cells"))?;
    expect(browser, "document.getElementById('leaf').hidden", json!(true))?;
    if browser.value(first)? == before {
        return Err("the first row is what it was".into());
    }
    Ok(())
}

fn light_and_dark(browser: &mut Browser, page: &Path) -> Result<(), String> {
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.call("Emulation.setEmulatedMedia", json!({ "features": features }))?;
        browser.load(page)?;
        seen.push(browser.value(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('#pictures .paper')).fill]",
        )?);
    }
    let wanted =
        [json!(["rgb(255, 255, 255)", "rgb(255, 255, 255)"]), json!(["rgb(13, 17, 23)", "rgb(13, 17, 23)"])];
    if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
}

fn hostile(browser: &mut Browser, _: &Path) -> Result<(), String> {
    expect(browser, ROWS, json!(16))?;
    expect(browser, OVERLAPS, json!([]))?;
    browser.value("location.hash = '#cell=chat-c8-t16-ceb60555'")?;
    browser.value(SETTLED)?;
    expect(
        browser,
        "window.harmed === undefined && document.images.length === 0 && document.scripts.length === 2",
        json!(true),
    )?;
    let bad = json!(BAD);
    expect(browser, &format!("document.querySelector('#cell h1').textContent.includes({bad})"), json!(true))?;
    expect(browser, &format!("document.querySelector('#cell pre').textContent.includes({bad})"), json!(true))
}
