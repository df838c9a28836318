// The plant: values as they are committed, and a trend beside them.

import { Feed, ask, changed } from "./app.js";

const LOOK_BACK_MIN = 120, TREND = "dissolved_oxygen";
const grid = document.getElementById("vessels");
const values = new Map(); // device → channel → value
const trends = new Map(); // device → { channel, unit, points: [minute, value][] }

const card = (device) => grid.querySelector(`[data-device="${CSS.escape(device)}"]`);
const shownChannels = () => [...new Set([...grid.querySelectorAll("[data-channel]")].flatMap((row) => [row.dataset.channel, row.dataset.setpoint ?? row.dataset.channel]))];

function show(device) {
  const element = card(device), known = values.get(device);
  if (!element || !known) return;
  for (const row of element.querySelectorAll(".row")) {
    const { channel, decimals, low, high, setpoint } = row.dataset;
    const value = known.get(channel);
    if (value === undefined) continue;
    const said = value === null ? "–" : decimals === "" ? String(+value.toPrecision(4)) : value.toFixed(decimals);
    const bold = row.querySelector("b");
    if (bold.textContent !== said) bold.textContent = said;
    if (low === undefined) continue;
    const place = (one) => (one == null ? -9 : Math.max(0, Math.min(100, ((one - low) / (high - low)) * 100)));
    row.querySelector(".pv").setAttribute("x", (place(value) - 0.9).toFixed(1));
    row.querySelector(".sp")?.setAttribute("transform", `translate(${place(known.get(setpoint)).toFixed(1)} 0)`);
  }
}

function take(message) {
  for (const one of message.devices ?? message.changes) {
    if (!values.has(one.device)) values.set(one.device, new Map());
    const known = values.get(one.device);
    for (const [channel, value] of Object.entries(one.values ?? {})) known.set(channel, value);
    show(one.device);
  }
  const live = document.getElementById("live");
  if (live && live.textContent !== "live") live.textContent = "live";
}

function draw(device) {
  const element = card(device), trend = trends.get(device);
  if (!element || !trend?.points.some(([, value]) => value !== null)) return;
  const canvas = element.querySelector(".spark"), there = trend.points.map(([, value]) => value).filter((value) => value !== null);
  const [low, high] = [Math.min(...there), Math.max(...there)];
  const [width, height] = [canvas.width, canvas.height], now = Date.now() / 60_000;
  canvas.hidden = false;
  const said = element.querySelector(".sparked");
  said.hidden = false;
  said.textContent = `${trend.title}, last 2 h, ${+low.toPrecision(3)} to ${+high.toPrecision(3)} ${trend.unit ?? ""}`;
  const paint = canvas.getContext("2d");
  paint.clearRect(0, 0, width, height);
  paint.strokeStyle = getComputedStyle(canvas).color;
  paint.lineWidth = 1.3;
  paint.beginPath();
  let isDown = false;
  for (const [minute, value] of trend.points) {
    if (value === null) { isDown = false; continue; }
    const x = width * (1 - (now - minute) / LOOK_BACK_MIN), y = height - 3 - ((height - 6) * (value - low)) / (high - low || 1);
    isDown ? paint.lineTo(x, y) : paint.moveTo(x, y);
    isDown = true;
  }
  paint.stroke();
}

async function readTrends() {
  const rows = new Map([...grid.querySelectorAll("[data-device]")].map((element) => {
    const all = [...element.querySelectorAll("[data-channel]")];
    return [element.dataset.device, all.find((row) => row.dataset.channel === TREND) ?? all[0]];
  }).filter(([, row]) => row));
  const channels = new Map(Map.groupBy(rows, ([, row]) => row.dataset.channel));
  for (const [channel, some] of channels) {
    const query = new URLSearchParams({ mode: "buckets", bucket: "2m", aggregate: "avg", from: `-${LOOK_BACK_MIN}m`, channel });
    for (const [device] of some) query.append("device", device);
    const answer = await ask(`/api/v1/telemetry?${query}`);
    for (const [device, row] of some) trends.set(device, { title: row.firstElementChild.textContent.trim(), unit: row.querySelector("small").textContent, points: [] });
    for (const [device, at, ...rest] of answer.rows) trends.get(device)?.points.push([Date.parse(at) / 60_000, rest.find((value) => value !== null) ?? null]);
  }
  for (const device of trends.keys()) draw(device);
}

function readSoon() {
  readTrends().catch(() => {}); // the trouble line says it already
}

let isLive = false;
/** Follow the values, once there is a vessel that has some. */
function follow() {
  if (isLive || !grid.querySelector("[data-channel]")) return;
  isLive = true;
  new Feed("/api/v1/ws/live-data", { rate: 1, channels: shownChannels().join(",") }, { snapshot: take, changes: take });
  readSoon();
  setInterval(() => document.hidden || readSoon(), 60_000);
}

follow();
new Feed("/api/v1/ws/alerts", {}, { transitions: () => changed("alarms") });
document.addEventListener("htmx:after:swap", () => {
  follow();
  for (const device of values.keys()) show(device);
  for (const device of trends.keys()) draw(device);
});
