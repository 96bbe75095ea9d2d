// Where documents come from: the server's `api/`, or the data inside a page that was made as one file.
import { fromBundle } from "./bundled.js";

const KEPT = 300; // documents kept, the oldest of which goes first
const OF_STORE = /^(runs|episodes)\b/; // documents of many episodes, kept as long as the server tells of changes
const kept = new Map();
const watchers = new Set();
const serverWatchers = new Set();
let stream = null;
let following = false;
let away = false;

// Whether all data is inside this page, or beside it.
export const bundled = document.getElementById("data") !== null;

// A document, such as get("e/" + key + "/steps", {from: 1, count: 50}). Throws an Error with a sentence for readers.
// `fresh` asks again, `signal` gives up.
export async function get(path, params = {}, { fresh = false, signal = null } = {}) {
  if (bundled) return fromBundle(path, params);
  const address = documentAddress(path, params);
  const follows = stream?.readyState === EventSource.OPEN || !OF_STORE.test(address);
  if (!fresh && follows && kept.has(address)) return kept.get(address);
  const asked = fetched(address, signal);
  if (signal) return asked;
  kept.delete(address);
  kept.set(address, asked);
  asked.catch(() => kept.get(address) === asked && kept.delete(address));
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return asked;
}

// Be told of changes: callback({runs, changed}) with the keys of changed episodes, null where any may have changed.
// Gives a function that ends it.
export function watch(callback) {
  watchers.add(callback);
  if (!bundled && !following) followSeen();
  return () => watchers.delete(callback);
}

// Be told whether the server answers: callback(true) or callback(false).
export function whenServer(callback) {
  serverWatchers.add(callback);
}

function documentAddress(path, params) {
  const query = new URLSearchParams();
  for (const name of Object.keys(params).sort()) {
    if (params[name] !== null && params[name] !== undefined && params[name] !== "") query.append(name, params[name]);
  }
  const text = query.toString();
  return path.split("/").map(encodeURIComponent).join("/") + (text ? `?${text}` : "");
}

async function fetched(address, signal) {
  let answer;
  try {
    answer = await fetch(`api/${address}`, { signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tellServer(false);
    throw new Error("The server does not answer. Start `mlgym view` again and open the address that it prints.");
  }
  tellServer(true);
  const told = await answer.json().catch(() => ({ error: "The answer of the server cannot be read." }));
  if (!answer.ok || told.error) {
    const error = new Error(told.error || told.detail || `The server answered ${answer.status}.`);
    throw Object.assign(error, { gone: answer.status < 500 });
  }
  return told;
}

function tellServer(there) {
  if (away === !there) return;
  away = !there;
  serverWatchers.forEach((callback) => callback(there));
}

// Forget what is no longer so: of the episodes with these keys, and of all runs.
function dropChanged(keys) {
  const stale = (keys ?? []).map((key) => documentAddress(`e/${key}`, {}));
  for (const address of kept.keys()) {
    const own = stale.some((start) => `${address}/`.startsWith(`${start}/`));
    if (keys === null || own || OF_STORE.test(address)) kept.delete(address);
  }
}

// A browser holds six connections to a server, and the stream of a page is one: pages out of sight let theirs go.
function followSeen() {
  following = true;
  listenLive(false);
  document.addEventListener("visibilitychange", () => (document.hidden ? stream?.close() : listenLive(true)));
}

function listenLive(lost) {
  stream?.close();
  if (document.hidden) return;
  stream = new EventSource("api/live");
  stream.onopen = () => {
    tellServer(true);
    dropChanged(null);
    if (lost) watchers.forEach((callback) => callback({ runs: "", changed: null }));
    lost = false;
  };
  stream.onmessage = (event) => {
    const told = JSON.parse(event.data);
    dropChanged(told.changed);
    watchers.forEach((callback) => callback(told));
  };
  stream.onerror = () => {
    lost = true;
    tellServer(false);
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => listenLive(true), 5000);
  };
}
