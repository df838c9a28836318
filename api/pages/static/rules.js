// Rules: a trial drawn over the values of its channel.

import { ask, quietly } from "./app.js";
import { axis, coloursOf, curve, fill, plotIn, seconds } from "./plots.js";

const HEIGHT = 180, MOST_POINTS = 1500;

async function draw(figure) {
  const { device, channels, from, to, low, high, spans } = JSON.parse(figure.dataset.drawn);
  const query = new URLSearchParams({ mode: "plot", device, from, to, max_points: MOST_POINTS });
  for (const one of channels) query.append("channel", one);
  const series = (await ask(`/api/v1/telemetry?${query}`)).series.filter((one) => one.points.length);
  if (!series.length) return;
  figure.hidden = false;
  const colour = coloursOf(figure), limits = [low, high].filter((one) => one != null);
  const begin = Math.max(seconds(from), Math.min(...series.map((one) => seconds(one.points[0][0]))));
  const raised = spans.map(([begin, end]) => [seconds(begin), seconds(end)]);
  figure.querySelector("figcaption").append(
    `${series[0].unit ? `, ${series[0].unit}` : ""}${limits.length ? "; the band is beyond the limit" : ""}${raised.length ? "; marked: raised" : ""}`,
  );
  const ground = (plot) => {
    const ink = colour("--p2"), span = [begin, seconds(to)];
    if (high != null) fill(plot, ink, span, [high, null], { alpha: 0.15 });
    if (low != null) fill(plot, ink, span, [null, low], { alpha: 0.15 });
    for (const one of raised) fill(plot, ink, one, [null, null], { alpha: 0.45, least: 2 });
  };
  plotIn(figure, HEIGHT, {
    hooks: { drawClear: [ground] },
    scales: {
      x: { range: () => [begin, seconds(to)] },
      y: { range: (_, least, most) => uPlot.rangeNum(Math.min(least, ...limits), Math.max(most, ...limits), 0.1, true) },
    },
    axes: [axis(colour), { ...axis(colour), size: 60 }],
    series: [{}, ...series.map((one, place) => curve(() => colour(place ? "--sp" : "--pv"), one.step || place, { dash: place ? [6, 4] : undefined }))],
  }, uPlot.join(series.map((one) => [one.points.map(([at]) => seconds(at)), one.points.map(([, value]) => value)])));
}

document.addEventListener("htmx:after:swap", () => document.querySelectorAll("figure.trial[hidden]").forEach(quietly(draw)));
