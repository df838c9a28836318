// Alarms: lists ask for themselves anew when one changes, and marks outlive that.

import { followAlarms } from "./app.js";

const marks = () => [...document.querySelectorAll('input[name="alarm"][form]')];
let marked = new Set();

followAlarms();

document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-mark-all]")) for (const one of marks()) one.checked = target.checked;
  marked = new Set(marks().filter((one) => one.checked).map((one) => one.value));
});
document.addEventListener("htmx:after:swap", () => {
  for (const one of marks()) one.checked = marked.has(one.value); // its number is in it: one raised again is not marked
});
