// The view of a run, or of all: what its episodes came to, as a grid, figures and a list; kept up to date.
import { h, clear, plural, visible } from "./dom.js";
import { href, update } from "./address.js";
import { get, watch } from "./source.js";
import { asColumns, changedKeys, chosenPlaces, wordsOf } from "./episodes.js";
import { readFilters, filterParams, noFilters, isFiltered, filterBar } from "./filters.js";
import { heatMap } from "./heat.js";
import { episodeList } from "./list.js";
import { showSummary, endedCount } from "./summary.js";
import { picked, pickedTray } from "./tray.js";
import { sayChange, sayGone } from "./say.js";

const MEASURES = { progress: "last submission", best_progress: "best attempt" };
const PAUSE_SHARE = 8; // between two looks, of the time that one takes

// One run's overview at `#/run/NAME`, all runs' at `#/all`.
export async function overview(root, place, go) {
  const run = place.view === "run" ? place.key : "";
  const name = visible(run) || "All episodes";
  let table = asColumns(await get("episodes", { run }));
  let words = wordsOf(table);
  let filters = readFilters(place.query);
  let places = [];
  document.title = `${name} · mlgym`;
  const nodes = { state: h("span", { class: "state" }), facts: h("dl", { class: "facts" }), rest: h("div") };
  const measure = h(
    "div",
    { class: "measure", role: "group", "aria-label": "Progress of" },
    Object.entries(MEASURES).map(([of, text]) =>
      h("button", { type: "button", text, "data-of": of, onclick: () => apply({ ...filters, of }, true) }),
    ),
  );
  const shown = h("p", { class: "small quiet shown", role: "status" });
  const stale = h("button", {
    type: "button",
    class: "link small",
    hidden: true,
    text: "Order and filter anew",
    onclick: () => refilter(),
  });
  const none = h(
    "div",
    { class: "none", hidden: true },
    h("p", { text: "No episode passes the filters." }),
    h("button", { type: "button", text: "Clear the filters", onclick: () => apply(noFilters(filters), true) }),
  );
  const sorted = (sort) => apply({ ...filters, sort }, true);
  const bar = filterBar(!run, apply);
  const list = episodeList(!run, picked, sorted, () => tray.show(table));
  const order = orderField(list.columns, sorted);
  const tray = pickedTray(() => (list.picks(), tray.show(table)), go);
  const heat = table.size ? heatMap(table, filters.of, pickCell) : null;

  function pickCell(task, method) {
    const again = filters.task === task && filters.method === method;
    apply({ ...filters, task: again ? "" : task, method: again ? "" : method }, true);
  }

  function apply(next, push) {
    follow(next);
    update(filterParams(filters), push);
  }

  function follow(next) {
    const other = next.of !== filters.of;
    filters = next;
    if (other) heat.update(table, filters.of);
    refilter();
  }

  function refilter() {
    places = chosenPlaces(table, filters, words);
    bar.set(filters);
    order.value = filters.sort;
    for (const button of measure.children) button.setAttribute("aria-pressed", button.dataset.of === filters.of);
    stale.hidden = true;
    showList();
  }

  function showList() {
    list.show(table, places, filters);
    heat.mark(filters, isFiltered(filters) ? places : null);
    const all = plural(table.size, "episode");
    shown.textContent = isFiltered(filters) ? `${places.length.toLocaleString("en")} of ${all}` : all;
    none.hidden = places.length > 0;
  }

  function summary() {
    showSummary(table, nodes, (state) => apply({ ...noFilters(filters), state }, true));
    if (!run) clear(nodes.state);
    const part = table.state.includes("running") ? `${endedCount(table)} of ${table.size} · ` : "";
    document.title = `${part}${name} · mlgym`;
  }

  // What is new, without a row in the list changing its place.
  async function refresh() {
    const now = asColumns(await get("episodes", { run }, { fresh: true }));
    const keys = changedKeys(table, now);
    if (!keys.length && now.size === table.size) return;
    const before = endedCount(table);
    const known = places.map((at) => table.key[at]);
    const fresh = new Set(keys.filter((key) => !table.place.has(key)));
    table = now;
    words = wordsOf(table);
    const wanted = chosenPlaces(table, filters, words);
    const stay = known.filter((key) => table.place.has(key)).map((key) => table.place.get(key));
    places = [...stay, ...wanted.filter((at) => fresh.has(table.key[at]))];
    heat.update(table, filters.of);
    bar.options(table);
    list.patch(table, keys);
    showList();
    stale.hidden = String(wanted) === String(places);
    summary();
    tray.show(table);
    const ended = endedCount(table);
    if (ended !== before || fresh.size) sayChange(`${ended} of ${plural(table.size, "episode")} ended.`);
  }

  if (run) root.append(h("nav", { class: "crumbs", "aria-label": "Where" }, h("a", { href: "#/", text: "Runs" })));
  root.append(h("div", { class: "headline" }, h("h1", { tabindex: -1, text: name }), nodes.state));
  const stop = watching(run, heat ? refresh : () => go(location.hash), (error) => sayGone(root, error));
  if (!heat) {
    root.append(
      h("p", { class: "empty", text: "There is no episode here yet. When one begins, it shows here by itself." }),
    );
    return { stop };
  }
  const grid = h(
    "section",
    { "aria-labelledby": "heat-title" },
    h("div", { class: "between" }, h("h2", { id: "heat-title", text: "Progress" }), measure),
    heat.node,
  );
  // Of all runs together the list is what one comes for: their tasks and methods have little in common.
  const folded = h("details", { class: "fold" }, h("summary", { text: "Progress by task and method" }));
  if (!run) folded.append(grid, nodes.rest);
  root.append(
    nodes.facts,
    ...(run ? [grid, nodes.rest] : [folded]),
    h(
      "section",
      { "aria-labelledby": "list-title" },
      h(
        "div",
        { class: "between" },
        h("h2", { id: "list-title", text: "Episodes" }),
        h("span", {}, shown, stale),
        order,
      ),
      bar.node,
      list.node,
      none,
    ),
    tray.node,
  );
  bar.options(table);
  summary();
  refilter();
  tray.show(table);
  return {
    stop: () => (stop(), list.stop()),
    moved: (next) => (follow(readFilters(next.query)), true),
    keys: {
      j: ["next episode of the list", () => list.move(1)],
      k: ["the one before", () => list.move(-1)],
      Enter: ["open it", () => list.current() && go(href("e", list.current()))],
      x: ["select it", () => list.toggle()],
      c: ["compare the selected", () => tray.compare()],
      f: ["filter by text", () => bar.focus()],
      m: ["to the grid: arrows move, Enter filters", () => ((folded.open = true), heat.enter())],
      b: ["last submission or best attempt", () => measure.querySelector("[aria-pressed=false]").click()],
      "/": ["search in what was done", () => go(href("search", [], { run }))],
    },
  };
}

// Calls `refresh` when episodes of the run change, one call after the other, with pauses; `gone` is called with an
// error. Gives a function to end it.
function watching(run, refresh, gone) {
  let [busy, again, stopped] = [false, false, false];
  async function turn() {
    again = true;
    if (busy) return;
    busy = true;
    while (again && !stopped) {
      again = false;
      const begun = performance.now();
      await Promise.resolve(refresh()).catch(gone);
      const pause = Math.min(15000, 400 + PAUSE_SHARE * (performance.now() - begun));
      await new Promise((done) => setTimeout(done, pause));
    }
    busy = false;
  }
  const end = watch(({ changed }) => {
    if (changed === null || !run || changed.some((key) => key.startsWith(`${run}/`))) turn();
  });
  return () => ((stopped = true), end());
}

function orderField(columns, change) {
  const options = columns.flatMap(([name, label]) => [
    [name, `${label} ↑`],
    [`-${name}`, `${label} ↓`],
  ]);
  return h(
    "select",
    { class: "order", "aria-label": "Order", onchange: (event) => change(event.target.value) },
    h("option", { value: "", text: "As planned" }),
    options.map(([value, text]) => h("option", { value, text })),
  );
}
