"use strict";
// The page of a run. Text from a manifest, a server or a log is written by textContent or setAttribute, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 200;
  const DASH = "–";

  function make(name, attributes = {}, ...children) {
    const svg = ["svg", "path", "line", "rect", "text", "g"].includes(name);
    const node = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  // Three to four significant digits, as in the notes.
  function shown(value) {
    if (typeof value !== "number" || !Number.isFinite(value)) return DASH;
    const size = Math.abs(value);
    return withDigits[size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2].format(value);
  }
  // Created once: creating one for every number makes a large table slow.
  const withDigits = [0, 1, 2].map((digits) => new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  const integers = new Intl.NumberFormat("en-US");
  const collator = new Intl.Collator("en", { numeric: true });
  const integer = (value) => (typeof value === "number" ? integers.format(value) : DASH);
  const textOf = (value) => (value === undefined || value === null ? DASH : typeof value === "object" ? JSON.stringify(value) : String(value));
  const outcomeText = (outcome) => outcome.replaceAll("_", " ");
  const isMeasured = (cell) => cell.outcome === "ok" || cell.outcome === "degraded";
  const isGood = (cell) => isMeasured(cell) || cell.outcome === "started";
  const sign = (cell, key) => (cell.void ? " ‡" : (cell.unranked || []).includes(key) ? " †" : "");
  const varying = data.axes.filter((axis) => new Set(data.cells.map((cell) => textOf((cell.at || {})[axis]))).size > 1);
  const hasSeveral = (get) => new Set(data.cells.map(get)).size > 1;

  const link = (id) => `#cell=${encodeURIComponent(id)}`;

  // The values of a cell on the axes that vary.
  function place(cell) {
    const names = varying.length ? varying : data.axes;
    const parts = names.filter((axis) => axis in (cell.at || {})).map((axis) => `${axis} ${textOf(cell.at[axis])}`);
    return parts.length ? parts.join(", ") : cell.id;
  }

  // ---- head ----

  byId("title").textContent = document.title;
  byId("source").textContent =
    [data.source, data.engine ? `${data.engine.name} ${data.engine.version || ""}`.trim() : null, `run ${data.run}`,
      `${integer(data.measured)} of ${integer(data.cells.length)} stored ${data.cells.length === 1 ? "cell has" : "cells have"} numbers`].filter(Boolean).join(" · ");
  const banners = {
    SIMULATED: "SIMULATED. Nothing here was measured on a real engine: the embedded engine answered from a script. Do not plan, buy or rank with these numbers.",
    PREDICTED: "PREDICTED. Nothing here was measured: a model of the engine computed these numbers. Do not rank them with measured ones.",
    IMPORTED: "IMPORTED. Another tool measured these numbers; what it did not report is absent here.",
  };
  if (data.badge) {
    byId("banner").textContent = banners[data.badge] || `${data.badge}. Not every cell was measured: each is labelled, and measured cells are never ranked with the rest.`;
    byId("banner").hidden = false;
  }
  // Links to the recommended cells, below the first page, which the notes share.
  for (const best of data.best) {
    const cell = data.cells.find((cell) => cell.id === best.cell);
    const of = data.best.length > 1 ? ` of ${best.workload}` : "";
    if (cell) byId("statements").append(make("p", { class: "best" }, `Recommended cell${of}: `, make("a", { href: link(cell.id) }, place(cell))));
  }

  // Why cells have no numbers, the most common reason first.
  const unmeasured = new Map();
  for (const cell of data.cells.filter((cell) => !isGood(cell))) {
    const server = data.servers[cell.server] || {};
    const reason = cell.reason !== undefined ? data.texts[cell.reason] : server.reason;
    const text = outcomeText(cell.outcome) + (reason ? `: ${reason}` : "");
    unmeasured.set(text, [...(unmeasured.get(text) || []), cell]);
  }
  if (unmeasured.size) {
    const most = [...unmeasured].sort((a, b) => b[1].length - a[1].length);
    const items = most.slice(0, 5).map(([text, cells]) =>
      make("li", {}, make("a", { href: link(cells[0].id) }, `${integer(cells.length)} ${cells.length === 1 ? "cell" : "cells"}`), ` ${text}`));
    if (most.length > 5) items.push(make("li", {}, `and ${integer(most.length - 5)} other reasons; filter the table by outcome`));
    byId("statements").append(make("details", { class: "stands-out", open: data.measured === 0 }, make("summary", {}, `Cells without numbers: ${integer([...unmeasured.values()].flat().length)}`), make("ul", {}, ...items)));
  }

  // ---- charts: tooltips for pointer and keyboard ----

  const tip = byId("tip");
  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8));
    const above = y + 18 + box.height > innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(8, above ? y - box.height - 12 : y + 18)}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  // Moves the tooltip of the focused mark: focusing may scroll the page.
  let follow = null;

  function listen(figure) {
    const marks = [...figure.querySelectorAll(".mark")];
    marks.forEach((mark, index) => {
      const title = mark.querySelector("title");
      const text = title ? title.textContent : "";
      if (title) title.remove();
      mark.setAttribute("aria-label", text);
      mark.setAttribute("role", mark.dataset.cell ? "link" : "img");
      // One stop for the Tab key; the arrow keys move on from there.
      mark.setAttribute("tabindex", index ? "-1" : "0");
      mark.addEventListener("pointermove", (event) => showTip(text, event.clientX, event.clientY));
      mark.addEventListener("pointerleave", hideTip);
      mark.addEventListener("blur", () => { follow = null; hideTip(); });
      mark.addEventListener("focus", () => {
        follow = () => {
          const box = mark.getBoundingClientRect();
          showTip(text, box.left + box.width / 2, box.top + box.height / 2);
        };
        follow();
      });
      mark.addEventListener("click", () => open(mark.dataset.cell));
      mark.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (step) {
          event.preventDefault();
          const next = marks[(index + step + marks.length) % marks.length];
          mark.setAttribute("tabindex", "-1");
          next.setAttribute("tabindex", "0");
          next.focus();
        } else if (event.key === "Enter") {
          open(mark.dataset.cell);
        } else if (event.key === "Escape") {
          hideTip();
        }
      });
    });
  }
  function open(id) {
    hideTip();
    if (id) location.hash = link(id);
  }
  document.querySelectorAll("#pictures svg").forEach((svg) => {
    svg.setAttribute("role", "group");
    const title = svg.querySelector(":scope > title");
    svg.setAttribute("aria-label", `${title.textContent}. ${svg.querySelector(":scope > desc").textContent}`);
    title.remove();
    listen(svg);
  });

  // ---- table ----

  const number = (metric) => ({
    key: metric.key, head: metric.name, unit: metric.unit,
    value: (cell) => (cell.m || {})[metric.key],
    text: (cell) => shown((cell.m || {})[metric.key]) + (metric.key in (cell.m || {}) ? sign(cell, metric.key) : ""),
  });
  const columns = [
    hasSeveral((cell) => cell.workload) && { key: "workload", head: "workload", left: true, value: (cell) => cell.workload, text: (cell) => cell.workload },
    data.cells.some((cell) => cell.search) && { key: "search", head: "search", left: true, value: (cell) => cell.search, text: (cell) => textOf(cell.search) },
    ...(varying.length ? varying : data.axes).map((axis) => ({
      key: axis, head: axis, axis: true, left: data.cells.some((cell) => ["string", "object"].includes(typeof (cell.at || {})[axis])), value: (cell) => (cell.at || {})[axis], text: (cell) => textOf((cell.at || {})[axis]),
    })),
    data.cells.some((cell) => cell.origin) && { key: "origin", head: "numbers", left: true, value: (cell) => cell.origin, text: (cell) => textOf(cell.origin) },
    { key: "outcome", head: "outcome", left: true, value: (cell) => cell.outcome, text: (cell) => outcomeText(cell.outcome) },
    ...data.metrics.map(number),
    { key: "requests", head: "requests", value: (cell) => cell.requests, text: (cell) => integer(cell.requests) },
    { key: "verdicts", head: "verdicts", left: true, value: (cell) => kinds(cell).join(" "), text: (cell) => kinds(cell).join(", ") },
  ].filter(Boolean);
  function kinds(cell) {
    return [...new Set((cell.verdicts || []).map((at) => data.verdicts[at].kind))];
  }
  let sorted = { key: null, down: false };
  // The first row that is shown: more than PAGE rows at once make every browser slow.
  let first = 0;

  function compare(a, b) {
    const absent = (value) => value === undefined || value === null || value === "";
    if (absent(a) || absent(b)) return absent(a) - absent(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
    return sorted.down ? -order : order;
  }

  // A filter: each word must begin a word of the cell; `name>=number` compares a column or axis.
  function matcher(text) {
    const tests = text.trim().toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const parts = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/.exec(word);
      if (!parts) return beginsWord(word);
      const [, name, how, wanted] = parts;
      const column = columns.find((column) => column.key.toLowerCase() === name.replace(/_(ms|tok_s|req_s)$/, ""));
      if (!column) return beginsWord(word);
      return (cell) => {
        const value = column.value(cell);
        if (value === undefined || value === null) return false;
        const limit = Number(wanted);
        if (how === "=" && (typeof value !== "number" || Number.isNaN(limit))) return String(value).toLowerCase() === wanted;
        return { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit, "=": value === limit }[how];
      };
    });
    return (cell) => tests.every((test) => test(cell));
  }
  function beginsWord(word) {
    const pattern = new RegExp(`(^|[^\\p{L}\\p{N}])${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "u");
    return (cell) => pattern.test(haystack(cell));
  }
  const haystacks = new Map();
  function haystack(cell) {
    if (!haystacks.has(cell)) {
      const server = data.servers[cell.server];
      const parts = [cell.id, cell.workload, place(cell), outcomeText(cell.outcome), cell.outcome, server ? server.label : "", ...kinds(cell)];
      haystacks.set(cell, parts.join(" ").toLowerCase());
    }
    return haystacks.get(cell);
  }

  function choices(select, label, values) {
    select.append(make("option", { value: "" }, label), ...values.map((value) => make("option", { value }, outcomeText(value))));
  }
  const workloads = [...new Set(data.cells.map((cell) => cell.workload))];
  choices(byId("workload"), "all", workloads);
  byId("workload-label").hidden = workloads.length < 2;
  if (workloads.length < 2) byId("workload-label").style.display = "none";
  choices(byId("outcome"), "all", [...new Set(data.cells.map((cell) => cell.outcome))]);

  // Lets a long axis name break after its parts, so that the table stays narrow.
  function breakable(text) {
    return text.split(/(?<=[._-])/).flatMap((part, index) => (index ? [make("wbr"), part] : [part]));
  }
  function headings() {
    const row = make("tr");
    for (const column of columns) {
      const isSorted = sorted.key === column.key;
      const button = make("button", { type: "button" }, ...breakable(column.head), isSorted ? make("span", { class: "way", "aria-hidden": "true" }, sorted.down ? " ↓" : " ↑") : null,
        column.unit ? make("small", {}, column.unit) : null);
      button.addEventListener("click", () => {
        // On the first click results sort largest first; axes and names ascending.
        sorted = isSorted ? { key: column.key, down: !sorted.down } : { key: column.key, down: Boolean(column.unit) };
        first = 0;
        table();
        byId("table").querySelector(`th[data-key="${CSS.escape(column.key)}"] button`).focus();
      });
      row.append(make("th", { scope: "col", class: column.left ? "text" : null, "data-key": column.key, "aria-sort": isSorted ? (sorted.down ? "descending" : "ascending") : "none" }, button));
    }
    byId("table").tHead.replaceChildren(row);
  }

  function table() {
    const matches = matcher(byId("filter").value);
    const workload = byId("workload").value;
    const outcome = byId("outcome").value;
    let rows = data.cells.filter((cell) => (!workload || cell.workload === workload) && (!outcome || cell.outcome === outcome) && matches(cell));
    const column = columns.find((column) => column.key === sorted.key);
    if (column) {
      const keyed = rows.map((cell) => [column.value(cell), cell]);
      rows = keyed.sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]);
    }
    first = Math.min(first, Math.floor(Math.max(0, rows.length - 1) / PAGE) * PAGE);
    const shownRows = rows.slice(first, first + PAGE);
    headings();
    byId("table").tBodies[0].replaceChildren(...shownRows.map((cell) => {
      const row = make("tr", { "data-cell": cell.id });
      columns.forEach((column, index) => {
        const text = column.text(cell);
        const bad = column.key === "outcome" && !isMeasured(cell);
        const inner = index === 0 || column.key === "outcome" ? make("a", { href: link(cell.id), class: bad ? "outcome-bad" : null }, text) : text;
        row.append(make("td", { class: column.left ? "text" : null, title: column.left ? text : null }, inner));
      });
      return row;
    }));
    const some = shownRows.length < rows.length;
    byId("count").textContent = `${integer(rows.length)} of ${integer(data.cells.length)} ${data.cells.length === 1 ? "cell" : "cells"}` + (some ? `, ${integer(first + 1)} to ${integer(first + shownRows.length)} shown` : "");
    byId("leaf").hidden = !some;
    byId("before").disabled = first === 0;
    byId("after").disabled = first + PAGE >= rows.length;
  }
  for (const id of ["filter", "workload", "outcome"]) {
    byId(id).addEventListener("input", () => { first = 0; table(); });
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const [id, step] of [["before", -PAGE], ["after", PAGE]]) {
    byId(id).addEventListener("click", () => {
      first += step;
      table();
      byId("cells-heading").scrollIntoView();
      // A disabled button loses the focus.
      if (byId(id).disabled) byId(id === "before" ? "after" : "before").focus({ preventScroll: true });
    });
  }
  table();

  // ---- a cell's own page ----

  function figure(title, width, height, draw) {
    const svg = make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title });
    svg.append(make("text", { x: 16, y: 26, class: "strong" }, title));
    draw(svg);
    const box = make("div", { class: "figure" }, svg);
    listen(box);
    return box;
  }
  function label(svg, x, y, anchor, text, style = "tick") {
    svg.append(make("text", { x, y, "text-anchor": anchor, class: style }, text));
  }
  function mark(svg, about, ...shapes) {
    svg.append(make("g", { class: "mark" }, make("title", {}, about), ...shapes));
  }
  // Round values from 0 to at least `most`, about five.
  function steps(most) {
    const rough = (most || 1) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find((digit) => digit * power >= rough * 0.999) * power;
    const values = [];
    for (let index = 0; index * step <= most + step * 0.999; index += 1) values.push(Number((index * step).toPrecision(12)));
    return values;
  }
  // Charts are drawn as wide as the screen shows them, so that text keeps its size on a phone.
  const isNarrow = () => matchMedia("(max-width: 600px)").matches;
  const plain = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 6 });

  function distribution(name, shape) {
    const wide = isNarrow() ? 372 : 460;
    const [left, right, top, bottom] = [16, wide - 16, 62, 190];
    return figure(`${name}, ms`, wide, 232, (svg) => {
      const ratio = (shape.to / shape.from) ** (1 / shape.counts.length);
      const most = Math.max(...shape.counts);
      const span = Math.log(shape.to / shape.from) || 1;
      const x = (value) => left + (right - left) * (shape.to > shape.from ? Math.max(0, Math.min(1, Math.log(value / shape.from) / span)) : 0.5);
      label(svg, right, 26, "end", `${integer(shape.n)} samples${shape.to / shape.from > 3 ? ", logarithmic" : ""}`, "key");
      shape.counts.forEach((count, index) => {
        const [low, high] = [shape.from * ratio ** index, shape.from * ratio ** (index + 1)];
        const single = shape.counts.length === 1;
        const [from, to] = single ? [x(low) - 8, x(low) + 8] : [x(low), x(high)];
        const height = ((bottom - top) * count) / most;
        if (!count) return;
        mark(svg, `${shown(low)} to ${shown(high)} ms\n${integer(count)} of ${integer(shape.n)}`,
          make("rect", { x: from, y: top, width: Math.max(1, to - from), height: bottom - top, class: "hit" }),
          make("rect", { x: from + 0.5, y: bottom - height, width: Math.max(1, to - from - 1), height, class: "f0", rx: 1 }));
      });
      svg.append(make("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "base" }));
      label(svg, left, 46, "start", ["p50", "p95", "p99"].map((rank, index) => `${rank} ${shown(shape.p[index])}`).join(" · "), "note");
      shape.p.forEach((value, index) => {
        svg.append(make("line", { x1: x(value), x2: x(value), y1: top, y2: bottom, class: index ? "line unranked s1" : "line s1" }));
      });
      label(svg, left, bottom + 20, "start", shown(shape.from));
      label(svg, right, bottom + 20, "end", shown(shape.to));
    });
  }

  function overTime(title, lines, until, window, most) {
    const wide = isNarrow() ? 372 : 720;
    const top = lines.some((line) => line.name) ? 62 : 44;
    const [left, right, bottom] = [64, wide - 16, top + 124];
    return figure(title, wide, bottom + 46, (svg) => {
      const high = most || Math.max(...lines.flatMap((line) => line.points.map((point) => point[1])), 0);
      const values = steps(high).filter((value) => !most || value <= most);
      const topValue = values[values.length - 1] || 1;
      const x = (value) => left + ((right - left) * Math.min(value, until)) / until;
      const y = (value) => bottom - ((bottom - top) * value) / topValue;
      if (window) svg.append(make("rect", { x: x(window[0]), width: Math.max(0, x(window[1]) - x(window[0])), y: top, height: bottom - top, class: "window" }));
      for (const value of values) {
        svg.append(make("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }));
        label(svg, left - 8, y(value) + 4, "end", plain(value));
      }
      let start = 16;
      for (const line of lines) {
        const path = line.points.map((point, index) => `${index ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`).join("");
        svg.append(make("path", { d: path, class: `line s${line.colour}` }));
        if (line.name) {
          label(svg, start, 46, "start", line.name, `key f${line.colour}`);
          start += line.name.length * 6.5 + 20;
        }
        line.points.forEach((point, index) => {
          const before = index ? (line.points[index - 1][0] + point[0]) / 2 : point[0];
          const after = index + 1 < line.points.length ? (line.points[index + 1][0] + point[0]) / 2 : point[0];
          if (line === lines[0]) {
            const about = lines.map((other) => nearest(other, point[0])).filter(Boolean).join("\n");
            mark(svg, `${shown(point[0])} s\n${about}`, make("rect", { x: x(before), y: top, width: Math.max(1, x(after) - x(before)), height: bottom - top, class: "hit" }));
          }
        });
      }
      svg.append(make("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "base" }));
      steps(until).filter((value) => value <= until).forEach((value) => label(svg, x(value), bottom + 20, "middle", plain(value)));
      label(svg, right, bottom + 38, "end", "seconds since the cell began", "note");
    });
  }
  function nearest(line, time) {
    let best = null;
    for (const point of line.points) if (!best || Math.abs(point[0] - time) < Math.abs(best[0] - time)) best = point;
    return best && `${line.name ? `${line.name}: ` : ""}${shown(best[1])}`;
  }

  function times(cell) {
    const plots = [];
    const flight = (cell.timeline || []).map((point) => [point[0], point[1]]);
    const gauges = cell.gauges || [];
    const until = Math.max(...flight.map((point) => point[0]), ...gauges.map((point) => point[0]), 1e-3);
    const waiting = gauges.filter((point) => point[1] !== null).map((point) => [point[0], point[1]]);
    const kv = gauges.filter((point) => point[2] !== null).map((point) => [point[0], point[2] * 100]);
    if (flight.length) {
      const lines = [{ name: "in flight", colour: 0, points: flight }];
      if (waiting.length > 1) lines.push({ name: "waiting at the server", colour: 3, points: waiting });
      plots.push(overTime("requests", lines, until, cell.window));
      const per = cell.tokens_per_chunk || 1;
      const tokens = cell.timeline.map((point) => [point[0], point[2] * per]);
      plots.push(overTime(cell.tokens_per_chunk ? "output tokens per second" : "chunks with output per second", [{ colour: 1, points: tokens }], until, cell.window));
    }
    if (kv.length > 1) plots.push(overTime("KV cache in use, %", [{ colour: 2, points: kv }], until, cell.window, 100));
    return plots;
  }

  function log(title, at) {
    const lines = data.texts[at] || [];
    return lines.length ? [make("h2", {}, title), make("pre", { tabindex: 0, role: "region", "aria-label": title }, lines.join("\n"))] : [];
  }

  // Text in backticks is code, as in the notes.
  const prose = (text) => text.split("`").map((part, index, all) => (index % 2 && all.length % 2 ? make("code", {}, part) : part));

  function cellPage(cell) {
    const at = data.cells.indexOf(cell);
    const server = data.servers[cell.server] || {};
    const parts = [];
    const neighbour = (index, text) => (data.cells[index] ? make("a", { href: link(data.cells[index].id) }, text) : null);
    parts.push(make("nav", { "aria-label": "Cells" }, make("a", { href: "#", id: "back" }, "← all cells"), neighbour(at - 1, "previous cell"), neighbour(at + 1, "next cell")));
    parts.push(make("h1", { tabindex: -1 }, `${cell.workload}: ${place(cell)}`));
    parts.push(make("p", { class: "quiet" }, [cell.id, server.model, server.label, cell.slo ? `SLO ${cell.slo}` : null].filter(Boolean).join(" · ")));
    const origin = cell.origin ? (cell.origin === "measured" ? null : cell.origin.toUpperCase()) : data.badge;
    if (origin) parts.push(make("p", { class: "banner" }, origin));
    const outcome = make("p", {}, make("strong", { class: isGood(cell) ? null : "outcome-bad" }, outcomeText(cell.outcome)));
    const reason = cell.reason !== undefined ? data.texts[cell.reason] : isGood(cell) ? null : server.reason;
    if (reason) outcome.append(`: ${reason}`);
    parts.push(outcome);
    if (cell.search) parts.push(make("p", {}, `A probe of the search ${cell.search}${cell.set_aside ? ". It says nothing, or was measured again" : ""}${cell.ended_early ? `. It ended early: ${cell.ended_early}` : ""}`));
    const numbers = data.metrics.filter((metric) => metric.key in (cell.m || {}));
    if (numbers.length) {
      const tiles = numbers.map((metric) => make("div", {}, make("dt", {}, `${metric.name}, ${metric.unit}`), make("dd", {}, shown(cell.m[metric.key]) + sign(cell, metric.key))));
      if (cell.requests !== undefined) tiles.push(make("div", {}, make("dt", {}, "requests"), make("dd", {}, integer(cell.requests))));
      if (cell.failed) tiles.push(make("div", {}, make("dt", {}, "failed"), make("dd", {}, integer(cell.failed))));
      if (cell.preemptions !== undefined) tiles.push(make("div", {}, make("dt", {}, "preemptions"), make("dd", {}, integer(cell.preemptions))));
      parts.push(make("dl", {}, ...tiles));
    }
    if (cell.predicted) {
      const predicted = data.metrics.filter((metric) => metric.key in cell.predicted.m);
      const error = (metric) => cell.predicted.m[metric.key][1];
      parts.push(make("h2", {}, "Predicted beside measured"));
      if (cell.predicted.reason) parts.push(make("p", {}, `Predicted ${outcomeText(cell.predicted.outcome)}: ${cell.predicted.reason}`));
      if (predicted.length) parts.push(make("dl", {}, ...predicted.map((metric) => make("div", {}, make("dt", {}, `${metric.name}, ${metric.unit}, predicted`),
        make("dd", {}, shown(cell.predicted.m[metric.key][0]) + (error(metric) ? ` (${error(metric).replace(" ", "\u00a0")})` : ""))))));
      parts.push(make("p", { class: "quiet" }, `Answers: ${integer(cell.predicted.answers)} tokens, ${{ exact: "as asked", assumed: "assumed", measured: "as measured" }[cell.predicted.answers_from] || ""}. Predicted for ${data.prediction.hardware}: ${data.prediction.validation}. In brackets: (predicted − measured) / measured.`));
    }
    const shapes = Object.entries(cell.shapes || {});
    if (shapes.length) parts.push(make("h2", {}, "Distributions"), make("div", { class: "plots shapes" }, ...shapes.map(([name, shape]) => distribution(name.toUpperCase(), shape))));
    const plots = times(cell);
    if (plots.length) {
      parts.push(make("h2", {}, "Timeline"), make("div", { class: "plots" }, ...plots));
      if (cell.window) parts.push(make("p", { class: "quiet" }, "Grey: the measured window, without warm-up."));
    }
    const verdicts = (cell.verdicts || []).map((index) => data.verdicts[index]);
    if (verdicts.length) {
      const means = { note: "for information", metric: "not ranked: ", cell: "no number of this cell is ranked" };
      parts.push(make("h2", {}, "Verdicts"), ...verdicts.map((verdict) => make("div", { class: `verdict ${verdict.severity}` },
        make("p", {}, make("strong", {}, verdict.kind), ` (${means[verdict.severity]}${verdict.severity === "metric" ? verdict.touches.join(", ") || "its metrics" : ""})`),
        make("p", {}, ...prose(verdict.reason)), make("p", { class: "quiet" }, "→ ", ...prose(verdict.hint)))));
    }
    if (cell.errors) parts.push(make("h2", {}, "Errors"), make("ul", {}, ...cell.errors.map(([text, number]) => make("li", {}, `${integer(number)}× ${text}`))));
    for (const attempt of cell.attempts || []) parts.push(make("p", {}, `An earlier attempt ended ${outcomeText(attempt.outcome)}: ${attempt.reason}`), ...log("Its log", attempt.log));
    parts.push(...log("End of the server's log", cell.log !== undefined ? cell.log : server.log));
    if (server.argv && server.argv.length) parts.push(make("h2", {}, "Server"), make("pre", { class: "wrap" }, server.argv.join(" ")));
    return parts;
  }

  // ---- overview or cell ----

  let scrolled = 0;
  let from = null;
  function route() {
    hideTip();
    const named = /^#cell=(.*)$/.exec(location.hash);
    let id = null;
    try {
      id = named && decodeURIComponent(named[1]);
    } catch {
      id = named[1];
    }
    const cell = named && data.cells.find((cell) => cell.id === id);
    const overview = byId("overview");
    if (named) {
      if (!overview.hidden) scrolled = scrollY;
      from = id;
      const parts = cell ? cellPage(cell) : [make("p", {}, make("a", { href: "#", id: "back" }, "← all cells")), make("h1", { tabindex: -1 }, "There is no such cell in this run.")];
      byId("cell").replaceChildren(...parts);
    }
    const wasCell = overview.hidden;
    overview.hidden = Boolean(named);
    byId("cell").hidden = !named;
    if (named) {
      scrollTo(0, 0);
      byId("cell").querySelector("h1").focus({ preventScroll: true });
    } else if (wasCell) {
      scrollTo(0, scrolled);
      const row = from && byId("table").querySelector(`tr[data-cell="${CSS.escape(from)}"] a`);
      if (row) row.focus({ preventScroll: true });
    }
  }
  addEventListener("hashchange", route);
  addEventListener("scroll", () => (follow && !tip.hidden ? follow() : hideTip()), { passive: true });
  route();
})();
