// Activity: the list asks for itself anew when something has happened.

import { Feed, changed, seldom } from "./app.js";

const happened = seldom(() => changed("activity"));
new Feed("/api/v1/ws/activity", {}, { snapshot: happened, activity: happened });
