// Rules: a trial drawn over the values of its channel.

import { ask } from "./app.js";

const HEIGHT = 180, MOST_POINTS = 1500;
const seconds = (text) => Date.parse(text) / 1000;

async function draw(figure) {
  const { device, channels, from, to, low, high, spans } = JSON.parse(figure.dataset.drawn);
  const query = new URLSearchParams({ mode: "plot", device, from, to, max_points: MOST_POINTS });
  for (const one of channels) query.append("channel", one);
  const series = (await ask(`/api/v1/telemetry?${query}`)).series.filter((one) => one.points.length);
  if (!series.length) return;
  figure.hidden = false;
  const style = getComputedStyle(figure), colour = (name) => style.getPropertyValue(`--${name}`);
  const limits = [low, high].filter((one) => one != null);
  const begin = Math.max(seconds(from), Math.min(...series.map((one) => seconds(one.points[0][0]))));
  const raised = spans.map(([begin, end]) => [seconds(begin), seconds(end)]);
  figure.querySelector("figcaption").append(
    `${series[0].unit ? `, ${series[0].unit}` : ""}${limits.length ? "; the band is beyond the limit" : ""}${raised.length ? "; marked: raised" : ""}`,
  );
  function fill(plot, name, alpha, [x0, x1], [y0, y1]) {
    const { left, top, width, height } = plot.bbox, { ctx } = plot;
    const within = (value, least, most) => Math.max(least, Math.min(most, value));
    const xs = [x0, x1].map((x) => within(plot.valToPos(x, "x", true), left, left + width));
    const ys = [y0, y1].map((y) => within(y === null ? top : plot.valToPos(y, "y", true), top, top + height));
    ctx.save();
    ctx.globalAlpha = alpha;
    ctx.fillStyle = colour(name);
    ctx.fillRect(xs[0], Math.min(...ys), Math.max(xs[1] - xs[0], 2), Math.abs(ys[1] - ys[0]));
    ctx.restore();
  }
  const ground = (plot) => {
    const { min, max } = plot.scales.y, end = seconds(to);
    if (high != null) fill(plot, "p2", 0.15, [begin, end], [high, max]);
    if (low != null) fill(plot, "p2", 0.15, [begin, end], [min, low]);
    for (const span of raised) fill(plot, "p2", 0.45, span, [min, max]);
  };
  const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  const plot = new uPlot({
    width: figure.clientWidth, height: HEIGHT, legend: { show: false }, hooks: { drawClear: [ground] },
    scales: {
      x: { range: () => [begin, seconds(to)] },
      y: { range: (_, least, most) => uPlot.rangeNum(Math.min(least, ...limits), Math.max(most, ...limits), 0.1, true) },
    },
    axes: [axis, { ...axis, size: 60 }],
    series: [{}, ...series.map((one, place) => ({
      label: one.channel, stroke: colour(place ? "sp" : "pv"), width: 1.5, dash: place ? [6, 4] : undefined, points: { show: false },
      paths: one.step || place ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear(),
    }))],
  }, uPlot.join(series.map((one) => [one.points.map(([at]) => seconds(at)), one.points.map(([, value]) => value)])), figure);
  addEventListener("resize", () => figure.isConnected && plot.setSize({ width: figure.clientWidth, height: HEIGHT }));
}

function drawAll() {
  for (const figure of document.querySelectorAll("figure.trial[hidden]")) draw(figure).catch(() => {}); // the list says the same
}

document.addEventListener("htmx:after:swap", drawAll);
