// Activity: the list asks for itself anew when something has happened, at most every two seconds.

import { Feed, changed } from "./app.js";

const PAUSE_MS = 2_000;
let soon;

function happened() {
  soon ??= setTimeout(() => { soon = undefined; changed("activity"); }, PAUSE_MS);
}

new Feed("/api/v1/ws/activity", {}, { snapshot: happened, activity: happened });
