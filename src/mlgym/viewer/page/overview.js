// The view of a run, or of all: what its episodes came to, as a grid, figures and a list; kept up to date.
import { h, clear, number, money, count, seconds, moment, plural, signed } from "./dom.js";
import { href, update } from "./address.js";
import { get, watch, bundled } from "./source.js";
import { asColumns, changedKeys, chosenPlaces, wordsOf, stateCounts, hasEnded, sumOf, bestOf, valuesOf } from "./episodes.js";
import { stateChip, progressBar } from "./signs.js";
import { readFilters, filterParams, noFilters, isFiltered, filterBar } from "./filters.js";
import { heatMap } from "./heat.js";
import { episodeList } from "./list.js";
import { sayChange } from "./say.js";

const picked = new Set(); // keys of the episodes that are to be compared, as long as the page is open

// One run's overview at `#/run/NAME`, all runs' at `#/all`.
export async function overview(root, place, go) {
  const run = place.view === "run" ? place.key : "";
  let table = asColumns(await get("episodes", { run }, { fresh: true }));
  let words = wordsOf(table);
  let filters = readFilters(place.query);
  let places = [];

  const title = h("h1", { tabindex: -1, text: run || "All episodes" });
  const state = h("span", { class: "state" });
  const facts = h("dl", { class: "facts" });
  const best = h("div", { class: "best" });
  const measure = h("div", { class: "measure", role: "group", "aria-label": "Progress of" });
  const shown = h("p", { class: "small quiet shown", role: "status" });
  const stale = h("button", { type: "button", class: "link small", hidden: true, text: "Order and filter anew", onclick: () => apply(filters, false) });
  const bar = filterBar(!run, apply);
  const list = episodeList(!run, picked, (sort) => apply({ ...filters, sort }, true), showPicked);
  const order = orderField(list.columns, (sort) => apply({ ...filters, sort }, true));
  const tray = h("div", { class: "tray", role: "region", "aria-label": "Selected episodes", hidden: true });
  const heat = table.size ? heatMap(table, filters.of, pickCell) : null;

  function pickCell(task, method) {
    const again = filters.task === task && filters.method === method;
    apply({ ...filters, task: again ? "" : task, method: again ? "" : method }, true);
  }

  function apply(next, push) {
    const other = next.of !== filters.of;
    filters = next;
    update(filterParams(filters), push);
    if (other) heat.update(table, filters.of);
    refilter();
  }

  function refilter() {
    places = chosenPlaces(table, filters, words);
    bar.set(filters);
    order.value = filters.sort;
    list.show(table, places, filters);
    heat?.mark(filters, isFiltered(filters) ? places : null);
    stale.hidden = true;
    showCount();
    showMeasure();
  }

  function showCount() {
    const all = plural(table.size, "episode");
    shown.textContent = isFiltered(filters) ? `${plural(places.length, "episode")} of ${table.size.toLocaleString("en")}` : all;
    none.hidden = places.length > 0;
  }

  function showMeasure() {
    const [last, top] = [["progress", "last submission"], ["best_progress", "best attempt"]].map(([of, label]) =>
      h("button", { type: "button", text: label, "aria-pressed": filters.of === of, onclick: () => apply({ ...filters, of }, true) }));
    const at = [...measure.children].indexOf(document.activeElement);
    clear(measure).append(last, top);
    if (at >= 0) measure.children[at].focus();
  }

  function showPicked() {
    const chosen = [...picked].filter((key) => table.place.has(key));
    const tasks = new Set(chosen.map((key) => table.task[table.place.get(key)]));
    tray.hidden = chosen.length === 0;
    if (tray.hidden) return;
    const fits = chosen.length > 1 && tasks.size === 1;
    const hint = tasks.size > 1 ? "To compare them, choose episodes of one task." : chosen.length < 2 ? "Choose another one of this task to compare." : "";
    const drop = h("button", { type: "button", text: "Clear", onclick: () => (picked.clear(), list.picks(), showPicked()) });
    const both = h("button", { type: "button", class: "primary", disabled: !fits, text: "Compare", "aria-keyshortcuts": "c", onclick: () => go(href("compare", [], { e: chosen })) });
    clear(tray).append(h("span", { text: `${chosen.length} selected` }), h("span", { class: "quiet small", text: hint }), both, drop);
  }

  function compareNow() {
    const button = tray.querySelector(".primary");
    if (button && !tray.hidden && !button.disabled) button.click();
    else sayChange(tray.hidden ? "Select episodes first." : tray.querySelector(".quiet").textContent, true);
  }

  function showFacts() {
    const counts = stateCounts(table);
    const ended = [...table.key.keys()].filter((at) => hasEnded(table, at)).length;
    const now = counts.running ? "running" : ended === table.size ? "complete" : "stopped";
    if (run) clear(state).append(stateChip(now));
    document.title = `${counts.running ? `${ended} of ${table.size} · ` : ""}${run || "All episodes"} · mlgym`;
    const rest = ["failed", "running", "waiting", "stopped", "missing"].filter((name) => counts[name]).map((name) => `${counts[name]} ${name}`);
    const times = table.changed.filter((time) => time !== null);
    const lines = [
      ["Ended", [`${ended.toLocaleString("en")} of ${table.size.toLocaleString("en")} `, h("span", { class: "quiet", text: rest.join(", ") })]],
      ["Money", money(sumOf(table, "money"))],
      ["Tokens", count(sumOf(table, "tokens"))],
      ["Time of episodes", seconds(sumOf(table, "seconds"))],
      ["Last change", times.length ? moment(times.reduce((a, b) => Math.max(a, b))) : "–"],
    ];
    clear(facts).append(...lines.map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value))));
    clear(best).append(...bestTable(table));
  }

  async function refresh() {
    const now = asColumns(await get("episodes", { run }, { fresh: true }));
    const keys = changedKeys(table, now);
    if (!keys.length && now.size === table.size) return;
    const wasEnded = table.key.filter((_, at) => hasEnded(table, at)).length;
    const fresh = keys.filter((key) => !table.place.has(key));
    const known = places.map((at) => table.key[at]).filter((key) => now.place.has(key));
    table = now;
    words = wordsOf(table);
    const wanted = chosenPlaces(table, filters, words);
    const wantedKeys = new Set(wanted.map((at) => table.key[at]));
    places = [...known, ...fresh.filter((key) => wantedKeys.has(key))].map((key) => table.place.get(key));
    heat?.update(table, filters.of);
    heat?.mark(filters, isFiltered(filters) ? places : null);
    bar.options(table);
    list.show(table, places, filters);
    list.patch(table, keys);
    stale.hidden = String(wanted) === String(places);
    showFacts();
    showCount();
    const ended = table.key.filter((_, at) => hasEnded(table, at)).length;
    if (ended !== wasEnded || fresh.length) sayChange(`${ended} of ${plural(table.size, "episode")} ended.`);
  }

  const none = h("div", { class: "none", hidden: true }, h("p", { text: "No episode passes the filters." }),
    h("button", { type: "button", text: "Clear the filters", onclick: () => apply(noFilters(filters), true) }));
  if (run) root.append(h("nav", { class: "crumbs", "aria-label": "Where" }, h("a", { href: "#/", text: "Runs" }), ""));
  root.append(h("div", { class: "headline" }, title, state));
  if (!heat) {
    root.append(h("p", { class: "empty", text: "There is no episode here yet. When one begins, it shows here by itself." }));
  } else {
    root.append(
      facts,
      h("section", { "aria-labelledby": "heat-title" }, h("div", { class: "between" }, h("h2", { id: "heat-title", text: "Progress" }), measure), heat.node),
      best,
      h("section", { "aria-labelledby": "list-title", class: "episodes" }, h("div", { class: "between" }, h("h2", { id: "list-title", text: "Episodes" }), h("span", {}, shown, stale), order), bar.node, list.node, none),
      tray,
    );
    bar.options(table);
    showFacts();
    refilter();
    showPicked();
  }
  const stop = watching(run, () => (heat ? refresh() : go(location.hash)));
  return {
    stop: () => (stop(), list.stop()),
    moved(next) {
      const old = filters.of;
      filters = readFilters(next.query);
      if (old !== filters.of) heat?.update(table, filters.of);
      if (heat) refilter();
      return Boolean(heat);
    },
    keys: {
      j: ["next episode of the list", () => list.move(1)],
      k: ["the one before", () => list.move(-1)],
      Enter: ["open it", () => list.current() && go(href("e", list.current()))],
      x: ["select it", () => list.toggle()],
      c: ["compare the selected", compareNow],
      f: ["filter by text", () => bar.focus()],
      m: ["to the grid; arrows move in it, Enter filters", () => heat?.enter()],
      b: ["best attempt or last submission", () => apply({ ...filters, of: filters.of === "progress" ? "best_progress" : "progress" }, true)],
      "/": ["search in what was done", () => go(href("search", [], { run }))],
    },
  };
}

// Calls `refresh` when episodes of the run change, one call after the other and not for ever.
function watching(run, refresh) {
  if (bundled) return () => {};
  let [busy, again, stopped, took] = [false, false, false, 0];
  async function turn() {
    if (busy) return void (again = true);
    busy = true;
    const begun = performance.now();
    await Promise.resolve(refresh()).catch(() => {});
    took = performance.now() - begun;
    await new Promise((done) => setTimeout(done, Math.min(15000, 400 + 8 * took)));
    busy = false;
    if (again && !stopped) (again = false), turn();
  }
  const end = watch(({ changed }) => {
    if (changed === null || !run || changed.some((key) => key.startsWith(`${run}/`))) turn();
  });
  return () => ((stopped = true), (again = false), end());
}

function orderField(columns, change) {
  const options = columns.flatMap(([name, label]) => [[name, `${label} ↑`], [`-${name}`, `${label} ↓`]]);
  return h("select", { class: "order", "aria-label": "Order", onchange: (event) => change(event.target.value) },
    h("option", { value: "", text: "Order: as planned" }), options.map(([value, text]) => h("option", { value, text })));
}

function bestTable(table) {
  const rows = valuesOf(table, "task").sort().map((task) => {
    const at = bestOf(table, [...table.key.keys()].filter((place) => table.task[place] === task));
    if (at < 0) return h("tr", {}, h("th", { scope: "row", text: task }), h("td", { colspan: 6, class: "quiet", text: table.state.includes("running") ? "no score yet" : "no valid score" }));
    const by = h("a", { href: href("e", table.key[at]), text: `${table.method[at]}, seed ${table.seed[at]}` });
    return h("tr", {}, h("th", { scope: "row", text: task }), h("td", {}, table.metric[at], h("span", { class: "quiet", text: table.direction[at].startsWith("min") ? " ↓" : " ↑", title: `${table.direction[at]}imise` })),
      ...["baseline", "score", "best_known"].map((name) => h("td", { class: "num" }, name === "score" ? h("b", { text: number(table[name][at]) }) : number(table[name][at]))),
      h("td", { "aria-label": `progress ${signed(table.best_progress[at])}` }, progressBar(table.best_progress[at])), h("td", {}, by));
  });
  const head = ["Task", "Metric", "Baseline", "Best here", "Best known", "Progress", "By"].map((text, at) => h("th", { scope: "col", class: at > 1 && at < 5 ? "num" : "", text }));
  return [h("h2", { id: "best-title", text: "Best of each task" }), h("div", { class: "table", role: "region", tabindex: 0, "aria-labelledby": "best-title" },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)))];
}
