// A vessel: charts of chosen channels on one time axis, to the pixel, live at its right edge.

import { Feed, ask, followAlarms, localize, put, quietly, said } from "./app.js";
import { INKS, axis, coloursOf, curve, fill, names, phases, seconds, within } from "./plots.js";

const root = document.getElementById("charts"), at = document.getElementById("at");
const facts = JSON.parse(root.dataset.facts);
const SPANS = { "2h": 7200, "8h": 28_800, "24h": 86_400 }, AGAIN_MS = 60_000, POINTS_OF_A_PIXEL = 4, MOST_VALUES = 140_000;
const STEPS_H = [1 / 60, 1 / 30, 1 / 12, 1 / 6, 0.25, 0.5, 1, 2, 4, 6, 12, 24, 48, 96, 168, 336];
const PRIORITIES = { critical: "--p1", high: "--p2", medium: "--p3", low: "--p4" };
const ahead = facts.now - Date.now() / 1000; // of the server's clock, which marks the right edge
const begun = new Map(facts.phases.map(([name, begin]) => [begin, name]));
const clocks = [{ timeStyle: "medium" }, { hour: "2-digit", minute: "2-digit" }, { day: "numeric", month: "short" }].map((form) => new Intl.DateTimeFormat(undefined, form));
let view = { span: facts.span, from: facts.from, to: facts.to, axis: facts.axis };
let lastSpan = facts.span ?? "8h", asking = 0, drawn = 0, marks = { events: [], notes: [], alarms: [] }, corrected = [];

const now = () => Date.now() / 1000 + ahead;
const iso = (seconds) => new Date(seconds * 1000).toISOString();
const colour = coloursOf(root);

/** Begin and end of what is shown, in seconds since 1970. */
function shown() {
  if (!view.span) return [view.from, view.to];
  return [view.span === "run" && facts.inoculated ? facts.inoculated : now() - (SPANS[view.span] ?? 86_400), now()];
}

function hours(time) {
  const minutes = Math.round((time - facts.inoculated) / 60), size = Math.abs(minutes);
  return `${minutes < 0 ? "−" : ""}${Math.floor(size / 60)} h${size % 60 ? ` ${String(size % 60).padStart(2, "0")}` : ""}`;
}

// Charts

const empty = (one) => ({ ...one, times: [], values: [], bad: [], gaps: [], gap: null });
const charts = facts.charts.map((channels, number) => {
  const lines = channels.flatMap((one) => [empty({ ...one, scale: one.unit ?? one.channel }), ...(one.setpoint ? [empty({ channel: one.setpoint, unit: one.unit, decimals: one.decimals, scale: one.unit ?? one.channel, isWanted: true })] : [])]);
  return { number, lines, scales: [...new Set(lines.map((line) => line.scale))], box: root.querySelectorAll(".plot")[number] };
});
const lines = charts.flatMap((chart) => chart.lines);
const axes = Math.max(1, ...charts.map((chart) => chart.scales.length));

/** The range of a scale: of what is shown, but never so narrow that noise fills the chart. */
function range(chart, scale, low, high) {
  const { low: least, high: most } = chart.lines.find((line) => line.scale === scale);
  if (low == null) return least == null ? [0, 1] : [least, most];
  const usual = least == null ? Math.abs(high) * 0.01 || 1 : (most - least) * 0.05;
  const room = Math.max((high - low) * 0.08, (usual - (high - low)) / 2, 1e-9);
  return [low - room, high + room];
}

function splitHours(plot, axis, from, to) {
  const most = Math.max(2, plot.bbox.width / devicePixelRatio / 80), step = 3600 * (STEPS_H.find((one) => (to - from) / 3600 / one <= most) ?? 672);
  const first = facts.inoculated + Math.ceil((from - facts.inoculated) / step) * step;
  return Array.from({ length: Math.max(0, Math.floor((to - first) / step) + 1) }, (_, n) => first + n * step);
}

function clockLabels(plot, splits) {
  const form = splits[1] - splits[0] < 60 ? clocks[0] : splits[1] - splits[0] < 86_400 ? clocks[1] : clocks[2];
  const days = splits.map((split) => clocks[2].format(split * 1000));
  return splits.map((split, n) => (n && days[n] !== days[n - 1] ? days[n] : form.format(split * 1000)));
}

function make(chart) {
  const { box, lines, scales, number } = chart, isHours = view.axis === "hours" && facts.inoculated;
  const edge = number === charts.length - 1 ? 2 : number === 0 ? 0 : null;
  const usual = axis(colour), time = { ...usual, scale: "x", side: edge ?? 2, size: edge === null ? 2 : 20, space: 80 };
  Object.assign(time, isHours ? { splits: splitHours, values: (_, splits) => splits.map(hours) } : { values: clockLabels });
  if (edge === null) time.values = (_, splits) => splits.map(() => "");
  const measured = lines.filter((line) => !line.isWanted);
  return new uPlot({
    width: box.clientWidth, height: box.clientHeight, legend: { show: false }, padding: [edge === 0 ? 0 : 6, 16 + (axes - scales.length) * 46, 2, 0],
    scales: { x: { time: true, range: shown }, ...Object.fromEntries(scales.map((scale) => [scale, { range: (_, low, high) => range(chart, scale, low, high) }])) },
    axes: [time, ...scales.map((scale, n) => ({ ...usual, scale, side: n ? 1 : 3, size: 46, space: 28, grid: { ...usual.grid, show: !n } }))],
    series: [{}, ...lines.map((line) => (line.isWanted
      ? curve(() => colour("--dim"), true, { scale: line.scale, width: 1, dash: [5, 4] })
      : curve(() => colour(INKS[measured.indexOf(line) % 3]), line.step, { scale: line.scale })))],
    cursor: {
      y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => go({ span: lastSpan }) },
      sync: { key: "vessel", filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
    },
    hooks: { drawClear: [(plot) => ground(chart, plot)], draw: [(plot) => over(chart, plot)], setSelect: [selected], setCursor: [(plot) => read(chart, plot)] },
  }, table(chart), box);
}

/** The lines of a chart with one list of times. Null is a gap; undefined is where another line has a value. */
const table = (chart) => uPlot.join(chart.lines.map((line) => [line.times, line.values]));

function build() {
  for (const chart of charts) {
    chart.plot?.destroy();
    chart.plot = make(chart);
  }
}

function draw() {
  drawn = now();
  for (const chart of charts) chart.plot.setData(table(chart));
}

// What stands behind the lines, and before them

/** The phases, each with its begin and its end. */
function spans() {
  const begins = [...begun].sort(([a], [b]) => a - b).filter(([, name], n, all) => n === 0 || all[n - 1][1] !== name);
  return begins.map(([begin, name], n) => [name, begin, begins[n + 1]?.[0] ?? now()]);
}

function ground(chart, plot) {
  within(plot, (ctx, dpr) => {
    const { top, height } = plot.bbox, all = spans();
    phases(plot, all, colour);
    for (const rule of facts.rules) {
      const line = chart.lines.find((one) => one.channel === rule.channel && !one.isWanted);
      if (!line || rule.limit == null) continue;
      const beyond = rule.level.startsWith("high") ? [rule.limit, null] : [null, rule.limit];
      const when = rule.phases.length ? all.filter(([name]) => rule.phases.includes(name)) : [[null, ...shown()]];
      for (const [, ...times] of when) fill(plot, colour(PRIORITIES[rule.priority]), times, beyond, { scale: line.scale, alpha: 0.16 });
    }
    Object.assign(ctx, { strokeStyle: colour("--dim"), lineWidth: dpr });
    ctx.setLineDash([2 * dpr, 2 * dpr]);
    for (const gap of chart.lines[0].gaps) {
      const [a, b] = fill(plot, colour("--card"), gap);
      if (b - a > 2 * dpr) ctx.strokeRect(a, top + dpr, b - a, height - 2 * dpr);
    }
    for (const one of corrected) if (chart.lines.some((line) => line.channel === one.channel)) fill(plot, colour("--corrected"), [seconds(one.from), seconds(one.to)], undefined, { alpha: 0.18, least: 2 * dpr });
    if (!chart.number) names(plot, all, colour);
  });
}

function over(chart, plot) {
  within(plot, (ctx, dpr) => {
    for (const line of chart.lines) if (!line.isWanted) hatch(plot, line);
    Object.assign(ctx, { textBaseline: "bottom", fillStyle: colour("--dim"), strokeStyle: colour("--dim"), lineWidth: dpr });
    const { left, top, width, height } = plot.bbox, bottom = top + height;
    let free = 0;
    for (const [time, text, end] of [...marks.events, ...marks.notes].sort(([a], [b]) => a - b)) {
      const [a, b] = [time, end || time].map((one) => plot.valToPos(one, "x", true));
      if (b < left || a > left + width) continue;
      ctx.fill(new Path2D(`M${a} ${bottom}l${-3 * dpr} ${-6 * dpr}h${6 * dpr}z`));
      if (end) ctx.fillRect(a, bottom - 2 * dpr, b - a, 2 * dpr);
      if (chart.number !== charts.length - 1 || a < free) continue;
      const words = text.length > 40 ? `${text.slice(0, 39)}…` : text;
      ctx.fillText(words, a + 5 * dpr, bottom - 3 * dpr);
      free = a + ctx.measureText(words).width + 12 * dpr;
    }
    for (const alarm of marks.alarms) {
      const rule = facts.rules.find((one) => one.rule === alarm.rule), line = chart.lines.find((one) => one.channel === rule?.channel && !one.isWanted);
      if (!line || alarm.value === null) continue;
      Object.assign(ctx, { strokeStyle: colour(PRIORITIES[alarm.priority]), lineWidth: 2 * dpr });
      ring(plot, line, alarm.time, alarm.value, 4.5);
    }
  });
}

function ring(plot, line, time, value, size) {
  const path = new Path2D();
  path.arc(plot.valToPos(time, "x", true), plot.valToPos(value, line.scale, true), size * devicePixelRatio, 0, 2 * Math.PI);
  plot.ctx.stroke(path);
}

/** Hatch the time of doubtful samples: bad ones like ///, uncertain ones like \\\. Their values are rings. */
function hatch(plot, line) {
  const { ctx, bbox: { top, height, width } } = plot, dpr = devicePixelRatio, [from, to] = shown(), runs = [];
  const wide = Math.max(line.gap ?? 0, (3 * (to - from)) / width * dpr);
  for (const [time, quality] of line.bad) {
    const last = runs.at(-1);
    if (last && last[2] === quality && time - last[1] <= wide) last[1] = time;
    else runs.push([time, time, quality]);
  }
  Object.assign(ctx, { strokeStyle: colour("--dim"), lineWidth: 0.8 * dpr });
  for (const [begin, end, quality] of runs) {
    const a = plot.valToPos(begin, "x", true) - dpr, b = Math.max(plot.valToPos(end, "x", true), a + 3 * dpr), stripes = new Path2D();
    for (let at = a - height; at < b + height; at += 7 * dpr) {
      stripes.moveTo(at, top + height);
      stripes.lineTo(at + (quality === 2 ? -height : height), top);
    }
    within(plot, () => ctx.stroke(stripes), a, b - a);
  }
  for (const [time, , value] of line.bad) if (value !== null) ring(plot, line, time, value, 1.5);
}

/** Say beside each name the value under the cursor, and above the charts the time and what is marked there. */
function read(chart, plot) {
  const { left, idx } = plot.cursor, isThere = left >= 0 && idx != null, time = isThere ? plot.posToVal(left, "x") : null;
  for (const line of chart.lines) {
    if (line.isWanted) continue;
    const near = (one) => (one && isThere ? one.values[nearest(one.times, time, one.isWanted)] : null);
    const wanted = near(chart.lines.find((one) => one.channel === line.setpoint));
    const element = root.querySelector(`[data-readout="${CSS.escape(line.channel)}"]`);
    element.textContent = isThere ? said(near(line), line.decimals) + (wanted == null ? "" : `, set ${said(wanted, line.decimals)}`) : "";
  }
  if (chart.number) return;
  const close = isThere ? [...marks.events, ...marks.notes, ...marks.alarms.map((one) => [one.time, one.title])].filter(([one]) => Math.abs(plot.valToPos(one, "x") - left) < 6) : [];
  const phase = isThere ? spans().find(([, begin, end]) => begin <= time && time < end) : null;
  at.textContent = isThere ? [`${clocks[2].format(time * 1000)} ${clocks[0].format(time * 1000)}`, facts.inoculated && hours(time), phase?.[0], ...corrected.filter((one) => seconds(one.from) <= time && time < seconds(one.to)).map((one) => `correction ${one.correction} of ${one.channel}`), ...close.map(([, text]) => text)].filter(Boolean).join(" · ") : "Drag to zoom, double-click to go back.";
}

function nearest(times, time, isBefore) {
  const last = Math.max(0, times.findLastIndex((one) => one <= time));
  return !isBefore && times[last + 1] - time < time - times[last] ? last + 1 : last;
}

// Zoom, pan, and the address

function selected(plot) {
  const { left, width } = plot.select;
  if (width < 3) return;
  const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
  plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  const form = document.querySelector(".marking[open] form");
  if (!form) return go({ span: null, from, to });
  form.querySelector("[data-begins]").value = iso(from);
  for (const ends of form.querySelectorAll("[data-ends]")) ends.value = iso(to);
  form.querySelector("[data-next]").focus();
}

function go(change, isBack = false) {
  const before = view.axis;
  view = { ...view, ...change };
  if (view.span) lastSpan = view.span;
  else if (view.to - view.from < 1) view.to = view.from + 1;
  if (!isBack) history.pushState(view, "", address(asked()));
  if (view.axis !== before) build();
  tellView();
  draw();
  again();
}

/** The time that is shown, as addresses and forms have it. */
const asked = () => (view.span ? { span: view.span } : { from: iso(view.from), to: iso(view.to) });

function address(time) {
  const query = new URLSearchParams(location.search);
  for (const name of ["span", "from", "to", "axis"]) query.delete(name);
  for (const [name, value] of Object.entries({ ...time, ...(view.axis !== "clock" && { axis: view.axis }) })) query.set(name, value);
  return `${location.pathname}?${query}`;
}

/** Let buttons, links and hidden fields say what is shown. */
function tellView() {
  const [from, to] = shown();
  for (const link of document.querySelectorAll("[data-span]")) link.ariaCurrent = link.dataset.span === view.span || null;
  for (const link of document.querySelectorAll("[data-axis]")) link.ariaCurrent = link.dataset.axis === view.axis || null;
  for (const link of document.querySelectorAll("[data-file]")) {
    const url = new URL(link.href);
    url.searchParams.set("from", iso(from));
    url.searchParams.set("to", iso(to));
    link.href = url;
  }
  document.querySelector("[data-self]").href = address({ from: iso(from), to: iso(to) });
  for (const field of document.querySelectorAll('[name="reference"]')) field.value = [field.value.split("/")[0], iso(from), iso(to)].join("/"); // of a deviation
  const times = document.querySelectorAll("#window time");
  [times[0].dateTime, times[1].dateTime] = [iso(from), iso(to)];
  localize(document.getElementById("window"));
  const form = document.querySelector('.acts form[method="get"]'), fields = { axis: view.axis, ...asked() };
  for (const field of form.querySelectorAll('[type="hidden"]')) field.remove();
  for (const [name, value] of Object.entries(fields)) form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
}

document.addEventListener("click", (event) => {
  const { span, axis, pan, zoom } = event.target.closest?.("[data-span], [data-axis], [data-pan], [data-zoom]")?.dataset ?? {};
  if (!(span || axis || pan || zoom) || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (span) return go({ span });
  if (axis) return go({ axis });
  const [from, to] = shown(), middle = (from + to) / 2, half = ((to - from) / 2) * (zoom ?? 1), moved = (to - from) * (pan ?? 0);
  const end = Math.min(middle + half + moved, now());
  if (!view.span && pan > 0 && end >= now()) go({ span: lastSpan });
  else go({ span: null, from: Math.min(middle - half + moved, end - 1), to: end });
});
addEventListener("popstate", (event) => go(event.state ?? { span: facts.span, from: facts.from, to: facts.to, axis: facts.axis }, true));

// Samples and marks

async function load() {
  const mine = ++asking, [from, to] = shown(), names = [...new Set(lines.map((line) => line.channel))];
  if (!names.length) return;
  const most = Math.max(4, Math.min(20_000, Math.floor(MOST_VALUES / names.length), POINTS_OF_A_PIXEL * Math.round(charts[0].plot.bbox.width)));
  const time = { from: iso(from), to: iso(to) };
  const query = new URLSearchParams({ mode: "plot", device: facts.device, bounds: "outside", max_points: most, ...time });
  for (const name of names) query.append("channel", name);
  loadMarks(mine, time);
  const answer = await ask(`/api/v1/telemetry?${query}`);
  if (mine !== asking) return;
  corrected = answer.corrected;
  const found = new Map(answer.series.map((one) => [one.channel, one]));
  for (const line of lines) if (found.has(line.channel)) keep(line, found.get(line.channel), to);
  draw();
  root.dataset.drawn = mine; // for tests: the answer that is shown
}

function keep(line, series, until) {
  const late = line.times.findIndex((time) => time > until), tail = late < 0 ? [[], []] : [line.times.slice(late), line.values.slice(late)];
  Object.assign(line, { times: [], values: [], gaps: [], step: series.step, gap: series.gap && duration(series.gap), bad: series.bad.map(([time, ...rest]) => [seconds(time), ...rest]) });
  series.points.forEach(([text, value], n) => {
    const time = seconds(text);
    if (time === line.times.at(-1)) return;
    if (value === null && n) line.gaps.push([line.times.at(-1), seconds(series.points[n + 1]?.[0] ?? text)]);
    line.times.push(time);
    line.values.push(value);
  });
  tail[0].forEach((time, n) => append(line, time, tail[1][n]));
}

/** A duration of the API in seconds, like 3s or 1500ms. */
const duration = (text) => parseInt(text) * { ms: 1e-3, s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }[text.replace(/\d+/, "")];

async function loadMarks(mine, time) {
  const query = new URLSearchParams(time), device = `/api/v1/devices/${encodeURIComponent(facts.device)}`;
  const [events, notes, alarms, samples, materials] = await Promise.all([ask(`${device}/events?${query}&limit=500`), ask(`${device}/annotations?${query}&limit=200`), ...["alarms/history", "samples", "materials"].map((list) => ask(`/api/v1/${list}?${query}&limit=500&device=${encodeURIComponent(facts.device)}`))]);
  if (mine !== asking) return;
  for (const one of events.events) if (one.type === "phase" && one.data.phase) begun.set(seconds(one.time), one.data.phase.replaceAll("_", " "));
  const lab = samples.samples.map((one) => [seconds(one.taken_at), `${one.sample}: ${one.analytes.map((it) => `${it.analyte} ${it.value ?? it.reading ?? "–"} ${it.unit ?? ""}`.trim()).join(", ") || one.status}`]);
  lab.push(...materials.materials.map((one) => [seconds(one.begins), `${one.material} ${one.quantity} ${one.unit}`, one.ends && seconds(one.ends)]));
  const told = new Set(lab.map(([time]) => time)); // events of which a sample or a record was made
  const isNew = (one) => one.type !== "phase" && !(told.has(seconds(one.time)) && ["sample", "dosing", "addition", "harvest"].includes(one.type));
  marks = {
    events: [...lab, ...events.events.filter(isNew).map((one) => [seconds(one.time), one.type.replaceAll("_", " ")])],
    notes: notes.annotations.map((one) => [seconds(one.begins), one.text, one.ends && seconds(one.ends)]),
    alarms: alarms.transitions.filter((one) => one.after === "unacknowledged" && one.cause === "condition").map((one) => ({ ...one, time: seconds(one.at) })),
  };
  draw();
}

// Live

function append(line, time, value) {
  const last = line.times.at(-1);
  if (last !== undefined && time <= last) return;
  if (line.gap && last !== undefined && time - last > line.gap) {
    line.times.push((last + time) / 2);
    line.values.push(null);
    line.gaps.push([last, time]);
  }
  line.times.push(time);
  line.values.push(value);
}

function take(message) {
  const one = (message.devices ?? message.changes).find((some) => some.device === facts.device);
  if (!one?.time) return;
  for (const [channel, value] of Object.entries(one.values)) {
    const mark = one.quality?.[channel] ?? 0, text = one.times && channel in one.times ? one.times[channel] : one.time;
    if (text === null) continue;
    tellNow(channel, value, mark, seconds(text));
    for (const line of lines) {
      if (line.channel !== channel || !line.times.length) continue;
      if (mark) line.bad.at(-1)?.[0] === seconds(text) || line.bad.push([seconds(text), mark, value]);
      else if (value !== null) append(line, seconds(text), value);
    }
  }
}

function tellNow(channel, value, mark, time) {
  const row = document.querySelector(`[data-now="${CSS.escape(channel)}"]`), wanted = document.querySelector(`[data-setpoint="${CSS.escape(channel)}"]`);
  put(wanted?.querySelector("[data-wanted]"), said(value, wanted?.dataset.decimals));
  if (!row) return;
  const age = Math.max(0, now() - time);
  put(row.querySelector("[data-value]"), said(value, row.dataset.decimals));
  put(row.querySelector("[data-age]"), age < 5 ? "now" : age < 60 ? `${Math.round(age)} s` : `${Math.floor(age / 60)} min`);
  put(row.querySelector("[data-quality]"), ["good", "bad", "uncertain"][mark] ?? `quality ${mark}`);
  row.classList.toggle("doubtful", mark > 0);
}

const again = quietly(load);
for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
if (charts.length) {
  build();
  tellView();
  again();
  new ResizeObserver(() => {
    if (charts[0].box.clientWidth === charts[0].plot.width) return;
    for (const { plot, box } of charts) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
    again();
  }).observe(root);
  setInterval(() => !document.hidden && view.span && again(), AGAIN_MS);
  setInterval(() => {
    const [from, to] = shown();
    if (!document.hidden && view.span && now() - drawn >= (to - from) / charts[0].plot.bbox.width / 4) draw();
  }, 1000);
  document.addEventListener("visibilitychange", () => document.hidden || again());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
new Feed("/api/v1/ws/live-data", { rate: 1, device: facts.device }, { snapshot: take, changes: take });
followAlarms({ device: facts.device });
document.body.addEventListener("changed", () => {
  for (const [n, key] of document.querySelectorAll('[name="key"]').entries()) key.value = `${Date.now()}-${Math.random().toString(36).slice(2)}-${n}`;
  if (charts.length) again();
});
