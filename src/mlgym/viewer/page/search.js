// The view of a search in what was thought, done and seen: hits by episode, with the words in their place.
import { h, clear, plural } from "./dom.js";
import { href, update } from "./address.js";
import { get } from "./source.js";
import { sayChange } from "./say.js";

const FIELDS = { all: "Everything", action: "Actions", observation: "Observations", thought: "Thoughts" };
const LEAST = 3; // characters of a word
const TYPING_MS = 200;

// The search at `#/search?q=…&run=…&in=…`.
export async function search(root, place, go) {
  const { runs: known } = await get("runs");
  let query = asked(place.query);
  let [hits, after, more, turn, timer] = [[], "", false, null, 0];
  const names = new Map();
  const text = h("input", {
    type: "search",
    id: "search-text",
    placeholder: "words, or “a phrase”",
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => soon({ q: text.value }),
  });
  const where = h(
    "select",
    { "aria-label": "Where", onchange: () => change({ in: where.value }, true) },
    Object.entries(FIELDS).map(([value, label]) => h("option", { value, text: label })),
  );
  const which = h(
    "select",
    { "aria-label": "Run", onchange: () => change({ run: which.value }, true) },
    h("option", { value: "", text: "All runs" }),
    known.map(({ run }) => h("option", { value: run, text: run })),
  );
  const status = h("p", { class: "small quiet", role: "status" });
  const found = h("div", { class: "hits" });
  const further = h("button", { type: "button", hidden: true, text: "More", onclick: () => ask(true) });
  const form = h(
    "form",
    {
      class: "filters",
      role: "search",
      onsubmit: (event) => (event.preventDefault(), change({ q: text.value }, true), focusHit(0)),
    },
    h("label", { class: "unseen", for: "search-text", text: "Search" }),
    text,
    where,
    known.length > 1 ? which : null,
  );
  root.append(h("h1", { tabindex: -1, text: "Search" }), form, status, found, further);

  function soon(some) {
    clearTimeout(timer);
    timer = setTimeout(() => change(some, false), TYPING_MS);
  }

  function change(some, push) {
    clearTimeout(timer);
    if (Object.keys(some).every((name) => query[name] === some[name])) return;
    query = { ...query, ...some };
    update({ ...query, in: query.in === "all" ? "" : query.in }, push);
    ask(false);
  }

  function fill() {
    if (document.activeElement !== text) text.value = query.q;
    where.value = query.in;
    which.value = query.run;
    document.title = `${query.q ? `${query.q} · ` : ""}Search · mlgym`;
  }

  async function ask(onward) {
    turn?.abort();
    const mine = (turn = new AbortController());
    fill();
    if (!onward) [hits, after, more] = [[], "", false];
    if (query.q.trim().length < LEAST)
      return show(
        query.q.trim()
          ? `Give a word of at least ${LEAST} characters.`
          : "Words in any order, each in the same thought, action or observation; “quoted words” as they stand.",
      );
    status.textContent = onward ? status.textContent : "Searching …";
    try {
      const told = await get(
        "search",
        { ...query, after: onward ? after : "", limit: 50 },
        { signal: mine.signal, fresh: true },
      );
      if (turn !== mine) return;
      hits = [...hits, ...told.hits];
      [after, more] = [told.after, told.more];
      show(hits.length ? "" : "Nothing was found. Fewer or other words, or another run, may find it.");
    } catch (error) {
      if (turn === mine && error.name !== "AbortError") show(error.message);
    }
  }

  function show(words) {
    const groups = [];
    for (const hit of hits) {
      if (groups.at(-1)?.key !== hit.key) groups.push({ key: hit.key, hits: [] });
      groups.at(-1).hits.push(hit);
    }
    const kept =
      found.children.length && hits.length > 50
        ? [...found.querySelectorAll("a.hit")].indexOf(document.activeElement)
        : -1;
    clear(found).append(...groups.map(hitGroup));
    if (kept >= 0) focusHit(kept);
    further.hidden = !more;
    status.textContent =
      words ||
      `${plural(hits.length, "hit")}${more ? " so far" : ""} in ${plural(new Set(hits.map((hit) => hit.key)).size, "episode")}`;
    if (hits.length) sayChange(status.textContent);
    names.clear();
  }

  function focusHit(at) {
    const links = [...found.querySelectorAll("a.hit")];
    const link = links[Math.max(0, Math.min(links.length - 1, at))];
    link?.focus({ preventScroll: true });
    link?.scrollIntoView({ block: "nearest" });
  }

  function move(by) {
    const at = [...found.querySelectorAll("a.hit")].indexOf(document.activeElement);
    if (by > 0 && at === hits.length - 1 && more) ask(true);
    focusHit(at < 0 ? 0 : at + by);
  }

  await ask(false);
  if (!query.q) setTimeout(() => text.focus());
  const [next, before] = [
    ["next hit", () => move(1)],
    ["the one before", () => move(-1)],
  ];
  return {
    stop: () => (clearTimeout(timer), turn?.abort()),
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
      Enter: [
        "open the episode at the hit",
        () => go(found.querySelector("a.hit")?.getAttribute("href") ?? location.hash),
      ],
      "/": ["to the search field", () => (text.focus(), text.select())],
    },
  };
}

function asked(query) {
  return {
    q: query.get("q") ?? "",
    run: query.get("run") ?? "",
    in: FIELDS[query.get("in")] ? query.get("in") : "all",
  };
}

function hitGroup({ key, hits }) {
  const [run, task, method, seed] = key.split("/");
  const head = h(
    "h2",
    {},
    h("a", { href: href("e", key), text: task }),
    h("span", { class: "quiet small", text: `${method}, seed ${seed} · ${run}` }),
  );
  const lines = hits.map((hit) =>
    h(
      "li",
      {},
      h(
        "a",
        { class: "hit", href: href("e", key, { step: hit.n }), "data-step": hit.n },
        h("span", { class: "step quiet", text: `step ${hit.n}` }),
        h("span", { class: "field quiet", text: hit.field }),
        h(
          "span",
          { class: "snippet mono" },
          hit.snippet.map(([kind, words]) => (kind === "hit" ? h("mark", { text: words }) : words)),
        ),
      ),
    ),
  );
  return h("section", { class: "hit-group" }, head, h("ol", {}, lines));
}
