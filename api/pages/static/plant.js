// The plant: values as they are committed, and a trend beside them.

import { Feed, ask, followAlarms, put, quietly, said } from "./app.js";

const LOOK_BACK_MIN = 120, TREND = "dissolved_oxygen";
const grid = document.getElementById("vessels");
const values = new Map(); // device → { channel: value }
const trends = new Map(); // device → { channel, unit, points: [minute, value][] }

const card = (device) => grid.querySelector(`[data-device="${CSS.escape(device)}"]`);
const shownChannels = () => [...new Set([...grid.querySelectorAll("[data-channel]")].flatMap((row) => [row.dataset.channel, row.dataset.setpoint ?? row.dataset.channel]))];

function show(device) {
  const element = card(device), known = values.get(device);
  if (!element || !known) return;
  for (const row of element.querySelectorAll(".row")) {
    const { channel, decimals, low, high, setpoint } = row.dataset;
    const value = known[channel];
    if (value === undefined) continue;
    put(row.querySelector("b"), said(value, decimals));
    if (low === undefined) continue;
    const place = (one) => (one == null ? -9 : Math.max(0, Math.min(100, ((one - low) / (high - low)) * 100)));
    row.querySelector(".pv").setAttribute("x", (place(value) - 0.9).toFixed(1));
    row.querySelector(".sp")?.setAttribute("transform", `translate(${place(known[setpoint]).toFixed(1)} 0)`);
  }
}

function take(message) {
  for (const one of message.devices ?? message.changes) {
    values.set(one.device, { ...values.get(one.device), ...one.values });
    show(one.device);
  }
  sayLive();
}

/** Say that values come by themselves, once they have. */
const sayLive = () => values.size && put(document.getElementById("live"), "live");

function draw(device) {
  const box = card(device)?.querySelector(".trend"), { title, unit, points } = trends.get(device), there = points.map(([, value]) => value).filter((value) => value !== null);
  if (!box || !there.length) return;
  const low = Math.min(...there), high = Math.max(...there), begin = Date.now() / 60_000 - LOOK_BACK_MIN;
  const steps = points.map(([minute, value], n) => (value === null ? "" : `${(points[n - 1]?.[1] ?? null) === null ? "M" : "L"}${(minute - begin).toFixed(1)} ${(33 - (30 * (value - low)) / (high - low || 1)).toFixed(1)}`));
  box.hidden = false;
  box.querySelector("path").setAttribute("d", steps.join(""));
  put(box.querySelector("p"), `${title}, last 2 h, ${+low.toPrecision(3)} to ${+high.toPrecision(3)} ${unit ?? ""}`);
}

async function readTrends() {
  const rows = new Map([...grid.querySelectorAll("[data-device]")].map((element) => {
    const all = [...element.querySelectorAll("[data-channel]")];
    return [element.dataset.device, all.find((row) => row.dataset.channel === TREND) ?? all[0]];
  }).filter(([, row]) => row));
  for (const [channel, some] of Map.groupBy(rows, ([, row]) => row.dataset.channel)) {
    const query = new URLSearchParams({ mode: "buckets", bucket: "2m", aggregate: "avg", from: `-${LOOK_BACK_MIN}m`, channel });
    for (const [device] of some) query.append("device", device);
    const answer = await ask(`/api/v1/telemetry?${query}`);
    for (const [device, row] of some) trends.set(device, { title: row.firstElementChild.textContent.trim(), unit: row.querySelector("small").textContent, points: [] });
    for (const [device, at, ...rest] of answer.rows) trends.get(device)?.points.push([Date.parse(at) / 60_000, rest.find((value) => value !== null) ?? null]);
  }
  for (const device of trends.keys()) draw(device);
}

const readSoon = quietly(readTrends);
let feed;
/** Follow the values, once there is a vessel that has some. */
function follow() {
  if (feed || !grid.querySelector("[data-channel]")) return;
  feed = new Feed("/api/v1/ws/live-data", { rate: 1, channels: shownChannels().join(",") }, { snapshot: take, changes: take });
  readSoon();
  setInterval(() => document.hidden || readSoon(), 60_000);
}

follow();
followAlarms();
document.addEventListener("htmx:after:swap", () => {
  follow();
  sayLive(); // what came says what it says where nothing follows
  for (const device of values.keys()) show(device);
  for (const device of trends.keys()) draw(device);
});
