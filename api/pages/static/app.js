// What every page has: times in the reader's zone, live feeds, and what is said of acts and of trouble.

export const organization = document.body.dataset.organization;
const SILENCE_MS = 45_000, FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 10_000;
const [time, day, full] = [
  { timeStyle: "medium" }, { dateStyle: "medium", timeStyle: "short" }, { dateStyle: "full", timeStyle: "long" },
].map((form) => new Intl.DateTimeFormat(undefined, form));

/** Ask the API as this page's organization. Rejects with the words of the problem. */
export async function ask(path, options = {}) {
  const headers = { "Biogate-Organization": organization, Accept: "application/json", ...options.headers };
  const answer = await fetch(path, { ...options, headers });
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

/** Tell the page's parts that something has changed: they ask for themselves anew. */
export function changed(what) {
  document.body.dispatchEvent(new CustomEvent(what));
}

/** Whether somebody is typing in an element or has a form of it open: it must not be replaced then. */
function isInUse(element) {
  const focused = document.activeElement;
  return element.querySelector("details.act[open]") || (element.contains(focused) && focused.matches("input:not([type=checkbox]), textarea, select"));
}

/** Whether somebody has a form open, which the way to the log-in would lose; then it is only said. */
function keepsWhatIsTyped() {
  if (!document.querySelector("details.act[open], form.fields :focus, form.form :focus")) return false;
  const problem = document.createElement("p");
  problem.className = "problem";
  problem.textContent = "Your session has ended. What you typed stays here: log in in another tab, then go on.";
  document.getElementById("problem")?.replaceChildren(problem);
  return true;
}

localize(document);
document.addEventListener("keydown", (event) => {
  const field = document.getElementById("search");
  if (event.key !== "/" || !field || event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  field.focus();
});
document.addEventListener("htmx:before:request", (event) => {
  const { sourceElement } = event.detail.ctx;
  if (sourceElement.matches("[data-live]") && isInUse(sourceElement)) event.preventDefault();
  if (sourceElement.matches("form, form *")) document.getElementById("problem")?.replaceChildren();
});
document.addEventListener("htmx:after:request", (event) => {
  if (event.detail.ctx.hx?.redirect === "/login" && keepsWhatIsTyped()) event.preventDefault();
});
document.addEventListener("htmx:after:swap", (event) => {
  localize(document);
  if (event.detail.ctx?.response?.status >= 400) document.getElementById("problem")?.scrollIntoView({ block: "nearest" });
});
document.addEventListener("htmx:error", (event) => {
  if (!event.detail.ctx?.sourceElement.matches("form")) return; // the trouble line says it already
  const problem = document.createElement("p");
  problem.className = "problem";
  problem.textContent = "There is no answer. What you typed is still there: try again once the connection is back.";
  document.getElementById("problem")?.replaceChildren(problem);
});
document.body.addEventListener("changed", (event) => {
  document.getElementById("said").textContent = event.detail?.said ?? "";
  const act = event.target.closest?.("details");
  if (act?.contains(document.activeElement)) act.firstElementChild.focus();
  act?.removeAttribute("open");
}, true); // before the parts that ask anew: an open act would keep them from it
