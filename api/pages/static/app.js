// What every page has: times in the reader's zone, live feeds, and what is said of acts and of trouble.

export const organization = document.body.dataset.organization;
const SILENCE_MS = 45_000, FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 10_000, SOON_MS = 200, PAUSE_MS = 2000;
const [time, day, full] = [
  { timeStyle: "medium" }, { dateStyle: "medium", timeStyle: "short" }, { dateStyle: "full", timeStyle: "long" },
].map((form) => new Intl.DateTimeFormat(undefined, form));

/** Ask the API as this page's organization. Rejects with the words of the problem. */
export async function ask(path) {
  const answer = await fetch(path, { headers: { "Biogate-Organization": organization, Accept: "application/json" } });
  if (answer.status === 401 && !keepsWhatIsTyped()) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `the answer is ${answer.status}`);
  return answer.json();
}

/** Write all times below an element in the reader's zone; UTC is in their titles. */
export function localize(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const instant = new Date(element.dateTime);
    const today = instant.toDateString() === new Date().toDateString();
    const form = { full, date: day }[element.dataset.form] ?? (today ? time : day);
    element.textContent = form.format(instant);
    element.title = `${full.format(instant)} = ${element.dateTime.slice(0, 19).replace("T", " ")} UTC`;
  }
}

/** A live feed: one socket, closed while nobody looks, opened again by itself; each time it begins with a snapshot. */
export class Feed {
  static #lost = new Set();
  #socket; #timer; #pause = FIRST_PAUSE_MS;

  /** `on` has a function for each type of message. */
  constructor(path, parameters, on) {
    const query = new URLSearchParams({ organization, ...parameters });
    this.url = `${location.protocol.replace("http", "ws")}//${location.host}${path}?${query}`;
    this.on = on;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    addEventListener("online", () => this.#again());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#again());
    if (!document.hidden) this.#open();
  }

  #open() {
    if (this.#socket) return;
    const socket = (this.#socket = new WebSocket(this.url));
    this.#watch();
    socket.onmessage = (event) => {
      this.#watch();
      this.#pause = FIRST_PAUSE_MS;
      const message = JSON.parse(event.data);
      tell(Feed.#lost, this, message.type === "trouble" ? message.detail : null);
      this.on[message.type]?.(message);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      clearTimeout(this.#timer);
      if (document.hidden) return;
      tell(Feed.#lost, this, "There is no connection.");
      if (this.#pause > 4 * FIRST_PAUSE_MS) ask("/api/v1/auth/me").catch(() => {}); // leads to the log-in if it has ended
      this.#timer = setTimeout(() => this.#open(), this.#pause * (0.5 + Math.random() / 2));
      this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
    };
  }

  #close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #again() {
    this.#close();
    this.#pause = FIRST_PAUSE_MS;
    if (!document.hidden) this.#open();
  }

  /** A feed that says nothing is dead: a heartbeat comes each 15 s. */
  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), SILENCE_MS);
  }
}

function tell(lost, feed, trouble) {
  if (trouble ? lost.has(feed) : !lost.delete(feed)) return;
  if (trouble) lost.add(feed);
  const line = document.getElementById("trouble");
  document.body.classList.toggle("lost", lost.size > 0);
  line.hidden = !lost.size;
  if (trouble) line.textContent = `${trouble} What you see is of ${time.format(new Date())}; it becomes current by itself.`;
}

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
/** Have days mean those of the reader's zone: in links, in forms, and in what is said of them. */
for (const element of document.querySelectorAll("[data-zone]")) {
  if (element.matches("a")) element.search = `?${new URLSearchParams({ tz: zone })}`;
  else if (element.matches("input")) element.value = zone;
  else element.textContent = zone;
}

/** Tell the page's parts that something has changed: they ask for themselves anew. */
export const changed = (what) => document.body.dispatchEvent(new CustomEvent(what));

/** A function that acts soon, and then at most every two seconds: in a flood things come by the hundred. */
export function seldom(act) {
  let waiting, last = -Infinity;
  return () => {
    waiting ??= setTimeout(() => {
      waiting = undefined;
      last = performance.now();
      act();
    }, Math.max(SOON_MS, last + PAUSE_MS - performance.now()));
  };
}

/** Have what shows alarms ask for itself anew when one changes, and when the feed begins: until then nobody told of changes. */
export function followAlarms(parameters = {}) {
  const anew = seldom(() => changed("alarms"));
  new Feed("/api/v1/ws/alerts", parameters, { snapshot: anew, transitions: anew });
}

/** A function that works without a word of failure, for what the trouble line or the page says already. */
export const quietly = (work) => (...facts) => void work(...facts).catch(() => {});

/** A value in words; without decimals it has four digits. */
export const said = (value, decimals) => (value == null ? "–" : decimals == null || decimals === "" ? String(+value.toPrecision(4)) : value.toFixed(decimals));

/** Write a text that has changed: readers of screens hear each write. */
export function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Whether somebody is typing in an element or has a form of it open: it must not be replaced then. */
function isInUse(element) {
  const focused = document.activeElement;
  return element.querySelector("details.act[open]") || (element.contains(focused) && focused.matches("input:not([type=checkbox]), textarea, select"));
}

/** Whether somebody has a form open, which the way to the log-in would lose; then it is only said. */
function keepsWhatIsTyped() {
  if (!document.querySelector("details.act[open], form.fields :focus, form.form :focus")) return false;
  tellProblem("Your session has ended. What you typed stays here: log in in another tab, then go on.");
  return true;
}

function tellProblem(textContent) {
  document.getElementById("problem")?.replaceChildren(Object.assign(document.createElement("p"), { className: "problem", textContent }));
}

/** What a field has, and what it had when the page was made. */
const has = (field) => (field.type === "checkbox" ? field.checked : field.value);
const had = (field) => (field.type === "checkbox" ? field.defaultChecked : field.matches("select") ? ([...field.options].find((one) => one.defaultSelected) ?? field.options[0])?.value : field.defaultValue);

/** Somebody has changed meanwhile what a form is about: say what, take it over where nothing was typed, keep the rest. */
async function renew(form) {
  const address = form?.getAttribute("action");
  if (!form?.elements.version) return;
  const pages = await Promise.all([location.href, address].map(async (url) => new DOMParser().parseFromString(await (await fetch(url)).text(), "text/html")));
  const fresh = pages.map((page) => page.querySelector(`form[action="${CSS.escape(address)}"]`)).find((one) => one?.elements.version);
  if (!fresh) return;
  const told = [];
  [...form.elements].forEach((field) => {
    const now = fresh.elements[field.name], old = had(field);
    if (!field.name || !now || now instanceof RadioNodeList || field.matches("button") || had(now) === old) return;
    const isTyped = has(field) !== old && has(field) !== had(now);
    if (field.name !== "version") told.push(`${field.labels?.[0]?.firstChild?.textContent.trim() || field.name} was “${old}” and is “${had(now)}”${isTyped ? `, and you typed “${has(field)}”` : ""}`);
    if (field.matches("select")) for (const one of field.options) one.defaultSelected = one.value === had(now);
    else if (field.type === "checkbox") field.defaultChecked = had(now);
    else field.defaultValue = had(now);
    if (!isTyped) field.type === "checkbox" ? (field.checked = had(now)) : (field.value = had(now));
  });
  tellProblem(`Somebody has changed this meanwhile: ${told.join("; ") || "nothing that this form shows"}. What you typed is still there: look at it, and send it again.`);
}

addEventListener("beforeprint", () => {
  document.querySelector(".printed time")?.setAttribute("datetime", new Date().toISOString());
  localize(document);
});
localize(document);
let working;
document.addEventListener("keydown", (event) => {
  const field = document.getElementById("search");
  if (event.key !== "/" || !field || event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  field.focus();
});
document.addEventListener("htmx:before:request", (event) => {
  const { sourceElement } = event.detail.ctx;
  clearInterval(working);
  if (sourceElement.matches("form")) {
    const begun = Date.now(), said = document.getElementById("said");
    working = setInterval(() => (said.textContent = `Working for ${Math.round((Date.now() - begun) / 1000)} s …`), 1000);
  }
  if (sourceElement.matches("[data-live]") && isInUse(sourceElement)) event.preventDefault();
  if (sourceElement.matches("form, form *")) document.getElementById("problem")?.replaceChildren();
});
document.addEventListener("htmx:finally:request", (event) => {
  if (!event.detail.ctx.sourceElement.matches("form")) return;
  clearInterval(working);
  const said = document.getElementById("said");
  if (said?.textContent.startsWith("Working for ")) said.textContent = "";
});
document.addEventListener("htmx:after:request", (event) => {
  if (event.detail.ctx.hx?.redirect === "/login" && keepsWhatIsTyped()) event.preventDefault();
});
document.addEventListener("htmx:after:swap", (event) => {
  localize(document);
  const { response, sourceElement } = event.detail.ctx ?? {};
  if (response?.status === 412) renew(sourceElement);
  if (response?.status >= 400) document.getElementById("problem")?.scrollIntoView({ block: "nearest" });
});
document.addEventListener("htmx:error", (event) => {
  if (!event.detail.ctx?.sourceElement.matches("form")) return; // the trouble line says it already
  tellProblem("There is no answer. What you typed is still there: try again once the connection is back.");
});
document.body.addEventListener("changed", (event) => {
  document.getElementById("said").textContent = event.detail?.said ?? "";
  const act = event.target.closest?.("details");
  if (act?.contains(document.activeElement)) act.firstElementChild.focus();
  act?.removeAttribute("open");
}, true); // before the parts that ask anew: an open act would keep them from it
