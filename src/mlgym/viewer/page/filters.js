// The filters of a list of episodes: in the address, in the bar above the list, and as chips that take one away.
import { h, clear } from "./dom.js";
import { valuesOf } from "./episodes.js";

const CHOICES = { run: "Run", task: "Task", method: "Method", state: "State", ended: "Ended" };
const RANGES = { progress: "Progress", steps: "Steps" };

// The filters that an address holds.
export function readFilters(query) {
  const filters = { q: query.get("q") ?? "", sort: query.get("sort") ?? "" };
  for (const name of Object.keys(CHOICES)) filters[name] = query.get(name) ?? "";
  for (const name of Object.keys(RANGES)) filters[name] = asRange(query.get(name) ?? "");
  filters.of = query.get("of") === "best" ? "best_progress" : "progress";
  return filters;
}

// The filters as parameters of an address.
export function filterParams(filters) {
  const params = { q: filters.q, sort: filters.sort, of: filters.of === "best_progress" ? "best" : "" };
  for (const name of Object.keys(CHOICES)) params[name] = filters[name];
  for (const name of Object.keys(RANGES)) params[name] = rangeText(filters[name]);
  return params;
}

// The filters with nothing filtered; the order stays.
export function noFilters(filters) {
  return { ...readFilters(new URLSearchParams()), sort: filters.sort, of: filters.of };
}

// Whether anything is filtered.
export function isFiltered(filters) {
  return filterNames(filters).length > 0;
}

function filterNames(filters) {
  return [...Object.keys(CHOICES), ...Object.keys(RANGES), "q"].filter((name) => filters[name]?.length);
}

function asRange(text) {
  const parts = text
    .split("..")
    .map((part) => (part.trim() === "" || Number.isNaN(Number(part)) ? null : Number(part)));
  return parts.length === 2 && (parts[0] !== null || parts[1] !== null) ? parts : null;
}

function rangeText(range) {
  return range ? range.map((end) => end ?? "").join("..") : "";
}

// The bar: `change(filters, push)` is called with what the reader has set. Gives {node, set(filters), options(table)}.
export function filterBar(withRun, change) {
  let now = readFilters(new URLSearchParams());
  const text = h("input", {
    type: "search",
    placeholder: "Filter",
    "aria-label": "Filter by text",
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => set({ q: text.value }, false),
  });
  const selects = {};
  for (const [name, label] of Object.entries(CHOICES)) {
    if (name === "run" && !withRun) continue;
    selects[name] = h("select", { "aria-label": label, onchange: (event) => set({ [name]: event.target.value }) });
  }
  const ends = Object.keys(RANGES).flatMap((name) => [rangeField(name, 0), rangeField(name, 1)]);
  const ranges = h(
    "details",
    { class: "ranges" },
    h("summary", { class: "button", text: "Ranges" }),
    h(
      "div",
      {},
      Object.entries(RANGES).map(([name, label], at) =>
        h(
          "fieldset",
          {},
          h("legend", { text: label }),
          ends[2 * at].field,
          h("span", { text: "to" }),
          ends[2 * at + 1].field,
        ),
      ),
    ),
  );
  const chips = h("div", { class: "chips" });
  ranges.addEventListener("focusout", (event) => (ranges.open = ranges.open && ranges.contains(event.relatedTarget)));
  ranges.addEventListener(
    "keydown",
    (event) => event.key === "Escape" && ((ranges.open = false), ranges.firstChild.focus()),
  );
  const node = h(
    "div",
    { class: "filters", role: "search", "aria-label": "Episodes" },
    text,
    Object.values(selects),
    ranges,
    chips,
  );

  function rangeField(name, end) {
    const said = `${RANGES[name]}, ${end ? "at most" : "at least"}`;
    const field = h("input", { type: "number", step: "any", "aria-label": said, placeholder: end ? "most" : "least" });
    field.addEventListener("change", () => {
      const range = [...(now[name] ?? [null, null])];
      range[end] = field.value === "" ? null : Number(field.value);
      set({ [name]: range[0] === null && range[1] === null ? null : range });
    });
    return { field, fill: () => document.activeElement !== field && (field.value = now[name]?.[end] ?? "") };
  }

  function set(some, push = true) {
    change({ ...now, ...some }, push);
  }

  function showChips() {
    const names = filterNames(now);
    clear(chips).append(
      ...names.map((name) => {
        const value = RANGES[name] ? rangeSaid(now[name]) : now[name];
        const said = `${CHOICES[name] ?? RANGES[name] ?? "Text"}: ${value}`;
        const drop = { [name]: RANGES[name] ? null : "" };
        return h(
          "button",
          { type: "button", class: "chip on", "aria-label": `Without ${said}`, onclick: () => set(drop) },
          said,
          h("span", { "aria-hidden": "true", text: "×" }),
        );
      }),
    );
    if (names.length > 1)
      chips.append(
        h("button", {
          type: "button",
          class: "link small",
          text: "Clear all",
          onclick: () => change(noFilters(now), true),
        }),
      );
  }

  return {
    node,
    focus: () => text.focus(),
    set(filters) {
      now = filters;
      if (document.activeElement !== text) text.value = now.q;
      for (const [name, select] of Object.entries(selects)) select.value = now[name];
      ends.forEach((end) => end.fill());
      showChips();
    },
    options(table) {
      for (const [name, select] of Object.entries(selects)) {
        const values = valuesOf(table, name);
        if (now[name] && !values.includes(now[name])) values.push(now[name]);
        if (values.length === select.options.length - 1) continue;
        clear(select).append(h("option", { value: "", text: `${CHOICES[name]}: all` }));
        select.append(...values.sort().map((value) => h("option", { value, text: value })));
        select.value = now[name];
      }
    },
  };
}

function rangeSaid([least, most]) {
  if (least === null) return `at most ${most}`;
  return most === null ? `at least ${least}` : `${least} to ${most}`;
}
