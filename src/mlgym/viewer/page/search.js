// The view of a search in what was thought, done and seen: hits by episode, with the words in their place.
import { h, clear, plural, visible } from "./dom.js";
import { href, update } from "./address.js";
import { get } from "./source.js";

const FIELDS = { all: "Everything", action: "Actions", observation: "Observations", thought: "Thoughts" };
const LEAST = 3; // characters of a search
const AT_A_TIME = 50; // hits
const TYPING_MS = 200;
const READING_MS = 2000; // between two looks at how far the index is
const HOW = "All words in one thought, action or observation, in any order; “quoted words” as they stand.";
const NOTHING = "Nothing was found. Fewer or other words, or another run, may find it.";

// The search at `#/search?q=…&run=…&in=…`.
export async function search(root, place, go) {
  const { runs: known, indexing } = await get("runs", {}, { fresh: true });
  let query = asked(place.query);
  let [hits, after, turn, typing, reading] = [[], "", null, 0, 0];
  const text = h("input", {
    type: "search",
    "aria-label": "Search for",
    placeholder: "Words, or “a phrase”",
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(() => change({ q: text.value }, false), TYPING_MS);
    },
  });
  const fields = Object.entries(FIELDS).map(([value, label]) => h("option", { value, text: label }));
  const where = h("select", { "aria-label": "Where", onchange: () => change({ in: where.value }, true) }, fields);
  const names = known.map(({ run }) => h("option", { value: visible(run), text: run }));
  const all = h("option", { value: "", text: "All runs" });
  const which = h(
    "select",
    { "aria-label": "Run", onchange: () => change({ run: rawName(which.value) }, true) },
    all,
    names,
  );
  const status = h("p", { class: "small quiet", role: "status" });
  const note = h("p", { class: "small warn", role: "status", hidden: true });
  const found = h("div", { class: "hits" });
  const further = h("button", { type: "button", hidden: true, text: "More hits", onclick: () => ask(true) });
  const form = h("form", { class: "filters", role: "search" }, text, where, known.length > 1 ? which : null);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    change({ q: text.value }, true);
    focusHit(0);
  });

  function change(some, push) {
    clearTimeout(typing);
    if (Object.keys(some).every((name) => query[name] === some[name])) return;
    query = { ...query, ...some };
    update({ ...query, in: query.in === "all" ? "" : query.in }, push);
    ask(false);
  }

  function rawName(shown) {
    return known.find(({ run }) => visible(run) === shown)?.run ?? "";
  }

  function fill() {
    if (document.activeElement !== text) text.value = query.q;
    where.value = query.in;
    which.value = visible(query.run);
    document.title = visible(`${query.q ? `${query.q} · ` : ""}Search · mlgym`);
  }

  // Ask for the hits of the query, or for those that follow.
  async function ask(onward) {
    turn?.abort();
    const mine = (turn = new AbortController());
    fill();
    if (!onward) [hits, after] = [[], ""];
    const given = query.q.trim().length;
    if (given < LEAST) return show(given ? `Give at least ${LEAST} characters.` : HOW, []);
    if (!onward) status.textContent = "Searching …";
    found.setAttribute("aria-busy", "true");
    try {
      const params = { ...query, after, limit: AT_A_TIME };
      const told = await get("search", params, { signal: mine.signal, fresh: true });
      if (turn !== mine) return;
      after = told.more ? told.after : "";
      show("", told.hits, told.note);
    } catch (error) {
      if (turn === mine && error.name !== "AbortError") show(error.message, []);
    }
  }

  function show(words, more, told = "") {
    if (!hits.length) clear(found);
    found.removeAttribute("aria-busy");
    more.forEach((hit, at) => addHit(found, hit, at ? more[at - 1].key : hits.at(-1)?.key));
    hits = [...hits, ...more];
    further.hidden = !after;
    const episodes = plural(new Set(hits.map((hit) => hit.key)).size, "episode");
    const counted = `${plural(hits.length, "hit")}${after ? " so far" : ""} in ${episodes}.`;
    status.textContent = words || [hits.length ? counted : NOTHING, told].filter(Boolean).join(" ");
  }

  function focusHit(at) {
    const links = found.querySelectorAll("a.hit");
    const link = links[Math.max(0, Math.min(links.length - 1, at))];
    link?.focus({ preventScroll: true });
    link?.scrollIntoView({ block: "nearest" });
  }

  async function move(by) {
    const at = [...found.querySelectorAll("a.hit")].indexOf(document.activeElement);
    if (by > 0 && at === hits.length - 1 && after) await ask(true);
    focusHit(at < 0 ? 0 : at + by);
  }

  // While the store is still being read for the first time, say so, and search again when it has been.
  async function tellReading(told) {
    const whole = !told || told.done >= told.total;
    const was = !note.hidden;
    note.hidden = whole;
    if (whole) return was && !found.contains(document.activeElement) && ask(false);
    const part = `${told.done.toLocaleString("en")} of ${plural(told.total, "episode")}`;
    note.textContent = `${part} have been read: there may be more hits.`;
    reading = setTimeout(async () => {
      const next = await get("runs", {}, { fresh: true }).catch(() => ({}));
      if (root.isConnected) tellReading(next.indexing);
    }, READING_MS);
  }

  root.append(h("h1", { tabindex: -1, text: "Search" }), form, note, status, found, further);
  await ask(false);
  tellReading(indexing);
  if (!query.q) setTimeout(() => text.focus());
  const [next, before] = [
    ["next hit", () => move(1)],
    ["the one before", () => move(-1)],
  ];
  const first = () => found.querySelector("a.hit")?.getAttribute("href");
  return {
    stop() {
      clearTimeout(typing);
      clearTimeout(reading);
      turn?.abort();
    },
    moved(now) {
      query = asked(now.query);
      text.value = query.q;
      ask(false);
      return true;
    },
    keys: {
      j: next,
      k: before,
      n: next,
      p: before,
      Enter: ["open the episode at the hit", () => first() && go(first())],
      "/": ["to the search field", () => text.select()],
    },
  };
}

function asked(query) {
  const where = query.get("in");
  return { q: query.get("q") ?? "", run: query.get("run") ?? "", in: FIELDS[where] ? where : "all" };
}

// Put a hit at the end, under the heading of its episode where that is another than the one before it.
function addHit(found, hit, before) {
  if (hit.key !== before) found.append(hitGroup(hit.key));
  const words = hit.snippet.map(([kind, text]) => (kind === "hit" ? h("mark", { text }) : text));
  const link = { class: "hit", href: href("e", hit.key, { step: hit.n }), "data-step": hit.n };
  const step = h("span", { class: "hit-step quiet", text: `step ${hit.n}` });
  const field = h("span", { class: "hit-field quiet", text: hit.field });
  const snippet = h("span", { class: "snippet mono" }, words);
  found.lastChild.lastChild.append(h("li", {}, h("a", link, step, field, snippet)));
}

function hitGroup(key) {
  const [run, task, method, seed] = key.split("/");
  const label = method.replace(/-[0-9a-f]{8}$/, ""); // a folder's name; what it ends in tells it from others
  const about = h("span", { class: "quiet small", title: key, text: `${label}, seed ${seed} · ${run}` });
  return h(
    "section",
    { class: "hit-group" },
    h("h2", {}, h("a", { href: href("e", key), text: task }), about),
    h("ol"),
  );
}
