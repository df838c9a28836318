// What all charts have alike: inks, axes, curves, and what is painted behind these.

const font = (size) => `${size}px system-ui, sans-serif`;
export const INKS = ["--pv", "--second", "--third"];

export const seconds = (text) => Date.parse(text) / 1000;

/** The colours of an element's style, read at each use: they change with day and night. */
export const coloursOf = (element) => (name) => getComputedStyle(element).getPropertyValue(name);

export const axis = (colour) => ({ stroke: () => colour("--dim"), font: font(11), ticks: { show: false }, grid: { stroke: () => colour("--line"), width: 0.5 }, gap: 4 });
export const curve = (stroke, isStepped, more) => ({ stroke, width: 1.4, points: { show: false }, paths: isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined, ...more });

/** A plot that is as wide as its box, with the colours of the hour. */
export function plotIn(box, height, options, data) {
  const plot = new uPlot({ width: box.clientWidth, height, legend: { show: false }, ...options }, data, box);
  new ResizeObserver(() => box.clientWidth === plot.width || plot.setSize({ width: box.clientWidth, height })).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
}

/** Paint in the plot alone, or in a part of its width. */
export function within({ ctx, bbox }, paint, left = bbox.left, width = bbox.width) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, bbox.top, width, bbox.height);
  ctx.clip();
  Object.assign(ctx, { font: font(11 * devicePixelRatio), textAlign: "left" });
  paint(ctx, devicePixelRatio);
  ctx.restore();
}

const inside = (place, begin, size) => Math.max(begin, Math.min(begin + size, place));
/** Where times stand on the canvas, or the edge of the plot beyond which they are. */
const places = (plot, times) => times.map((time) => inside(plot.valToPos(time, "x", true), plot.bbox.left, plot.bbox.width));

/** Fill what lies between two times and two values, as far as it is in the plot; null is its edge. Returns its left and its right. */
export function fill(plot, ink, times, [low, high] = [null, null], { scale = "y", alpha = 1, least = 0 } = {}) {
  const { ctx, bbox: { top, height } } = plot, [a, b] = places(plot, times);
  const [bottom, up] = [[low, top + height], [high, top]].map(([value, edge]) => (value === null ? edge : inside(plot.valToPos(value, scale, true), top, height)));
  Object.assign(ctx, { fillStyle: ink, globalAlpha: alpha });
  ctx.fillRect(a, up, Math.max(b - a, least), bottom - up);
  ctx.globalAlpha = 1;
  return [a, b];
}

/** Grounds of phases, which alternate. */
export const phases = (plot, spans, colour) => spans.forEach(([, ...times], n) => n % 2 && fill(plot, colour("--ground-phase"), times));

/** The names of phases, where these have the room. */
export function names(plot, spans, colour) {
  const { ctx, bbox: { top } } = plot, dpr = devicePixelRatio;
  Object.assign(ctx, { fillStyle: colour("--dim"), textBaseline: "top" });
  for (const [name, ...times] of spans) {
    const [a, b] = places(plot, times);
    if (b - a > 24 * dpr) ctx.fillText(name, a + 4 * dpr, top + 3 * dpr, b - a - 6 * dpr);
  }
}
