// Curves of runs on one clock of hours, with the envelope of references behind them.

const INKS = ["--pv", "--second", "--third"], DASHES = [[], [6, 3], [2, 3]];
const plots = new Set();

function chart(root, facts, one, box) {
  const colour = (name) => getComputedStyle(root).getPropertyValue(name), readout = box.parentElement.querySelector("[data-readout]");
  const axis = { stroke: () => colour("--dim"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: () => colour("--line"), width: 0.5 }, gap: 4 };
  const band = (one.band ?? []).map(() => ({ width: 0, points: { show: false } }));
  const lines = one.lines.map((_, n) => ({
    stroke: () => colour(INKS[n % 3]), width: 1.4, dash: DASHES[Math.floor(n / 3) % 3], points: { show: false },
    paths: one.step ? uPlot.paths.stepped({ align: 1 }) : undefined,
  }));
  const plan = one.plan.length ? [{ stroke: () => colour("--dim"), width: 1, dash: [5, 4], points: { show: false } }] : [];
  const phases = (plot) => {
    const { ctx, bbox: { left, top, width, height } } = plot;
    ctx.save();
    ctx.fillStyle = colour("--ground-phase");
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    for (const [n, [name, begin]] of facts.phases.entries()) {
      const place = (hour) => Math.max(left, Math.min(left + width, plot.valToPos(hour, "x", true)));
      const a = place(begin), b = place(facts.phases[n + 1]?.[1] ?? facts.hours.at(-1));
      ctx.fillStyle = colour("--ground-phase");
      if (n % 2) ctx.fillRect(a, top, b - a, height);
      ctx.fillStyle = colour("--dim");
      ctx.fillText(name, a + 4, top + 3, Math.max(1, b - a - 6));
    }
    ctx.restore();
  };
  const plot = new uPlot({
    width: box.clientWidth, height: box.clientHeight, legend: { show: false }, padding: [6, 10, 2, 0],
    scales: { x: { time: false } }, axes: [{ ...axis, size: 20, values: (_, splits) => splits.map((hour) => `${hour} h`) }, { ...axis, size: 46 }],
    series: [{}, ...band, ...lines, ...plan], bands: band.length ? [{ series: [2, 1], fill: () => colour("--band") }] : [],
    cursor: { y: false, points: { show: false }, sync: { key: "runs" } },
    hooks: {
      drawClear: [phases],
      setCursor: [({ cursor: { idx } }) => (readout.textContent = idx == null ? "" : `${facts.hours[idx].toFixed(2)} h: ${one.lines.map((line) => line[idx]?.toPrecision(4) ?? "–").join(", ")}`)],
    },
  }, [facts.hours, ...(one.band ?? []), ...one.lines, ...(plan.length ? [one.plan] : [])], box);
  plots.add(plot);
  new ResizeObserver(() => box.clientWidth === plot.width || plot.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);
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
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.redraw()));
