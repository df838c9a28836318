// Alarms: lists ask for themselves anew when one changes, and marks outlive that.

import { Feed, changed } from "./app.js";

const SOON_MS = 200, PAUSE_MS = 2000; // the first is shown at once; in a flood transitions come by the hundred
const marks = () => [...document.querySelectorAll('input[name="alarm"][form]')];
let waiting, last = -Infinity, marked = new Set();

new Feed("/api/v1/ws/alerts", {}, {
  transitions: () => {
    waiting ??= setTimeout(() => {
      waiting = undefined;
      last = performance.now();
      changed("alarms");
    }, Math.max(SOON_MS, last + PAUSE_MS - performance.now()));
  },
});

document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-mark-all]")) for (const one of marks()) one.checked = target.checked;
});
document.addEventListener("htmx:before:swap", () => {
  marked = new Set(marks().filter((one) => one.checked).map((one) => one.value));
});
document.addEventListener("htmx:after:swap", () => {
  for (const one of marks()) one.checked = marked.has(one.value); // its number is in it: one raised again is not marked
});
