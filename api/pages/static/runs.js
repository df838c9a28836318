// Curves of runs on one clock of hours, with the envelope of references behind them.

import { INKS, axis, coloursOf, curve, names, phases, plotIn, within } from "./plots.js";

const DASHES = [[], [6, 3], [2, 3]];

function chart(root, facts, one, box) {
  const colour = coloursOf(root), usual = axis(colour), readout = box.parentElement.querySelector("[data-readout]");
  const band = (one.band ?? []).map(() => curve(undefined, false, { width: 0 }));
  const lines = one.lines.map((_, n) => curve(() => colour(INKS[n % 3]), one.step, { dash: DASHES[Math.floor(n / 3) % 3] }));
  const plan = one.plan.length ? [curve(() => colour("--dim"), false, { width: 1, dash: [5, 4] })] : [];
  const drawn = one.lines.map((line) => line.map((value) => (value === false ? undefined : value))); // the line goes on there
  const spans = facts.phases.map(([name, begin], n) => [name, begin, facts.phases[n + 1]?.[1] ?? facts.hours.at(-1)]);
  const read = ({ cursor: { idx } }) => (readout.textContent = idx == null ? "" : `${facts.hours[idx].toFixed(2)} h: ${drawn.map((line) => line[idx]?.toPrecision(4) ?? "–").join(", ")}`);
  plotIn(box, box.clientHeight, {
    padding: [6, 10, 2, 0],
    scales: { x: { time: false } }, axes: [{ ...usual, size: 20, values: (_, splits) => splits.map((hour) => `${hour} h`) }, { ...usual, size: 46 }],
    series: [{}, ...band, ...lines, ...plan], bands: band.length ? [{ series: [2, 1], fill: () => colour("--band") }] : [],
    cursor: { y: false, points: { show: false }, sync: { key: "runs" } },
    hooks: { setCursor: [read], drawClear: [(plot) => within(plot, () => [phases, names].forEach((paint) => paint(plot, spans, colour)))] },
  }, [facts.hours, ...(one.band ?? []), ...drawn, ...(plan.length ? [one.plan] : [])]);
}

function draw() {
  for (const root of document.querySelectorAll(".runs[data-facts]:not([data-drawn])")) {
    root.dataset.drawn = "";
    const facts = JSON.parse(root.dataset.facts), boxes = root.querySelectorAll(".plot");
    facts.charts.forEach((one, n) => chart(root, facts, one, boxes[n]));
  }
}

draw();
new MutationObserver(draw).observe(document.getElementById("main"), { childList: true, subtree: true });
