// Asks the API each second and draws what it answers. Text enters the page as text nodes only, so nothing needs escaping.
"use strict";

const EVERY_MS = 1000;
const ROWS_MAX = 100;
const DONE_MAX = 50;
const RANK = { draining: 0, not_ready: 1, suspect: 2, ready: 3, drained: 4, gone: 5 };

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.map((child) => (child instanceof Node ? child : String(child ?? ""))));
  return made;
}

// Columns are [title, class, cell], where cell makes the content from an item.
function table(columns, items) {
  const head = columns.map(([title, kind]) => element("th", kind, title));
  const rows = items.map((item) =>
    element("tr", "", ...columns.map(([, kind, cell]) => element("td", kind, cell(item)))));
  return element("div", "scroll",
    element("table", "", element("thead", "", element("tr", "", ...head)), element("tbody", "", ...rows)));
}

function seconds(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 10000) return (ms / 1000).toFixed(1) + " s";
  const whole = Math.round(ms / 1000);
  return whole < 120 ? whole + " s" : Math.floor(whole / 60) + " min " + (whole % 60) + " s";
}

function cutText(cut) {
  const parts = ["request", "stream", "tunnel"].filter((kind) => cut[kind]).map((kind) => cut[kind] + " " + kind);
  return parts.join(", ");
}

// What a drain waits for: the time it still has, as a bar and in words.
function left(age, rest) {
  if (rest === null || rest === undefined) return element("span", "none", "no deadline");
  const bar = element("progress");
  bar.max = Math.max(1, age + rest);
  bar.value = rest;
  return element("span", "", bar, seconds(rest) + " left");
}

function drainOf(endpoint) {
  const drain = endpoint.drain;
  if (!drain) return "";
  if (endpoint.state !== "draining") return cutText(drain.cut) ? "cut " + cutText(drain.cut) : "";
  return left(drain.age_ms, drain.left_ms);
}

const ENDPOINT = [
  ["endpoint", "id", (e) => e.id],
  ["address", "id", (e) => (e.address === e.id ? "" : e.address)],
  ["state", "", (e) => element("span", e.state, e.state)],
  ["reason", "", (e) => e.reason],
  ["in flight", "number", (e) => e.in_flight],
  ["connections", "number", (e) => e.connections],
  ["weight", "number", (e) => e.weight],
  ["zone", "", (e) => e.zone],
  ["pod", "", (e) => e.pod],
  ["drain", "", drainOf],
];

const DRAIN = [
  ["service", "", (d) => d.service],
  ["endpoint", "id", (d) => d.id],
  ["pod", "", (d) => d.pod],
  ["cause", "", (d) => d.cause],
  ["since", "", (d) => clock(d.since)],
];

const RUNNING = [
  ...DRAIN,
  ["in flight", "number", (d) => d.in_flight],
  ["left", "", (d) => left(d.age_ms, d.left_ms)],
  ["held by", "wide", (d) => d.held_by.map((h) => h.kind + " on " + h.route + " for " + seconds(h.age_ms)).join(", ")],
];

const DONE = [
  ...DRAIN,
  ["outcome", "", (d) => element("span", d.outcome, d.outcome)],
  ["took", "number", (d) => seconds(d.duration_ms)],
  ["in flight at start", "number", (d) => d.in_flight_at_start],
  ["finished", "number", (d) => d.finished],
  ["retried", "number", (d) => d.retried],
  ["cut", "", (d) => cutText(d.cut)],
  ["started after", "", (d) => ["fallback", "affinity"].filter((w) => d.started_after[w]).map((w) => d.started_after[w] + " " + w).join(", ")],
];

function clock(time) {
  return new Date(time).toLocaleTimeString();
}

// Sorting keeps the order of the source within a state.
function serviceOf(service) {
  const count = {};
  for (const { state } of service.endpoints) count[state] = (count[state] || 0) + 1;
  const states = Object.entries(count).map(([state, n]) => n + " " + state).join(", ") || "no endpoints";
  const parts = [element("h3", "", service.name, " ", element("span", "", service.source + ": " + states))];
  if (!service.source_up) {
    parts.push(element("p", "fault", "the source cannot see: " + (service.source_fault || "no reason given")));
  }
  const many = service.endpoints.length > ROWS_MAX;
  const shown = many
    ? [...service.endpoints].sort((a, b) => (RANK[a.state] ?? 9) - (RANK[b.state] ?? 9)).slice(0, ROWS_MAX)
    : service.endpoints;
  if (shown.length) parts.push(table(ENDPOINT, shown));
  if (many) parts.push(element("p", "more", "and " + (service.endpoints.length - ROWS_MAX) + " more"));
  return parts;
}

function show(id, parts, nothing) {
  document.getElementById(id).replaceChildren(...(parts.length ? parts : [element("p", "none", nothing)]));
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(path + " answered " + answer.status);
  return answer.json();
}

async function refresh() {
  const [{ services }, { running, drains }] = await Promise.all([ask("api/v1/services"), ask("api/v1/drains")]);
  show("services", services.flatMap(serviceOf), "none are configured");
  show("running", running.length ? [table(RUNNING, running)] : [], "none");
  show("done", drains.length ? [table(DONE, drains.slice(0, DONE_MAX))] : [], "none yet");
}

async function run() {
  const status = document.getElementById("status");
  const began = Date.now();
  try {
    if (!document.hidden) {
      await refresh();
      status.className = "";
      status.textContent = "as of " + new Date().toLocaleTimeString();
    }
  } catch (error) {
    status.className = "lost";
    status.textContent = "no answer, what is shown is old: " + error.message;
  }
  // A large installation is asked less often: at most a tenth of the time.
  setTimeout(run, Math.max(EVERY_MS, 10 * (Date.now() - began)));
}

run();
