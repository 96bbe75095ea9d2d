// The list of episodes: a table of which only the rows in sight are in the document.
import { h, clear, number, money, count, seconds, when, visible } from "./dom.js";
import { href } from "./address.js";
import { stateSign, progressBar } from "./signs.js";
import { isNumber } from "./episodes.js";

const WHOLE = 100; // rows that are in the document all at once
const SPARE = 12; // rows above and below those in sight, or nearest to it
const ROW_REM = { wide: 2.5, narrow: 5.6 };
const NARROW = "(max-width: 55rem)";
const LIST_COLUMNS = [
  ["run", "Run", (table, at) => table.run[at]],
  ["task", "Task", null],
  ["method", "Method", (table, at) => h("span", { class: "cut", title: table.method[at], text: table.method[at] })],
  ["seed", "Seed", (table, at) => table.seed[at]],
  ["state", "Ended", endedCell],
  ["progress", "Progress", (table, at, of) => progressBar(table[of][at])],
  ["score", "Score", scoreCell],
  ["steps", "Steps", (table, at) => number(table.steps[at])],
  ["money", "Money", (table, at) => money(table.money[at])],
  ["tokens", "Tokens", (table, at) => count(table.tokens[at])],
  ["seconds", "Time", (table, at) => seconds(table.seconds[at])],
  ["changed", "Changed", (table, at) => when(table.changed[at])],
];

// The list. `sort(order)` is called with the order that the reader asks for, `picked` is a Set of keys that `pick` is
// called after a change of. Gives {node, show(table, places, filters), patch(table, keys), move(by), toggle(), open()}.
export function episodeList(withRun, picked, sort, pick) {
  const columns = LIST_COLUMNS.filter(([name]) => withRun || name !== "run");
  const narrow = matchMedia(NARROW);
  const rows = new Map(); // by key
  let [table, places, of, cursor, height] = [null, [], "progress", -1, 0];
  const heads = columns.map(([name, label]) => {
    const button = h("button", { type: "button", class: "link", text: label, onclick: () => sort(nextOrder(name)) });
    return h("div", { role: "columnheader", class: `c-${name}`, "data-column": name }, button);
  });
  const all = h("input", {
    type: "checkbox",
    "aria-label": "Select all that are listed",
    onchange: () => pickAll(all.checked),
  });
  const head = h(
    "div",
    { role: "row", class: "line head", "aria-rowindex": 1 },
    h("div", { role: "columnheader", class: "c-pick" }, all),
    heads,
  );
  const body = h("div", { role: "rowgroup", class: "lines" });
  const node = h(
    "div",
    { role: "table", class: `list${withRun ? " with-run" : ""}`, "aria-label": "Episodes" },
    h("div", { role: "rowgroup", class: "heads" }, head),
    body,
  );
  let [order, cursorKey] = ["", ""];

  function nextOrder(name) {
    const first = isNumber(name) && name !== "seed" ? `-${name}` : name;
    if (order === first) return first.startsWith("-") ? name : `-${name}`;
    return order.replace("-", "") === name ? "" : first;
  }

  function pickAll(on) {
    for (const at of places) on ? picked.add(table.key[at]) : picked.delete(table.key[at]);
    rows.forEach((row, key) => marked(row, key));
    pick();
  }

  function marked(row, key) {
    row.firstChild.firstChild.checked = picked.has(key);
    row.setAttribute("aria-selected", picked.has(key));
  }

  function newRow(key) {
    const box = h("input", { type: "checkbox", onchange: () => flip(key, box.checked) });
    const cells = columns.map(([name]) =>
      h("div", { role: "cell", class: `c-${name}${isNumber(name) ? " num" : ""}` }),
    );
    const row = h(
      "div",
      { role: "row", class: "line", "data-key": visible(key) },
      h("div", { role: "cell", class: "c-pick" }, box),
      cells,
    );
    row.addEventListener("focusin", () => setCursor(places.indexOf(table.place.get(key))));
    fillRow(row, key);
    return row;
  }

  function fillRow(row, key) {
    const at = table.place.get(key);
    row.dataset.state = table.state[at];
    row.firstChild.firstChild.setAttribute(
      "aria-label",
      `Select ${table.task[at]}, ${table.method[at]}, seed ${table.seed[at]}`,
    );
    columns.forEach(([name, , make], column) => {
      const cell = row.children[column + 1];
      if (name === "task") fillTask(cell, at);
      else clear(cell).append(make(table, at, of));
    });
    marked(row, key);
  }

  function fillTask(cell, at) {
    const link = cell.firstChild ?? cell.appendChild(h("a", { class: "cut" }));
    link.href = href("e", table.key[at]);
    link.textContent = table.task[at];
    link.title = `${table.task[at]}, seed ${table.seed[at]}`;
  }

  function flip(key, on = !picked.has(key)) {
    on ? picked.add(key) : picked.delete(key);
    if (rows.has(key)) marked(rows.get(key), key);
    pick();
  }

  function draw() {
    if (!node.isConnected || !table) return;
    const top = body.getBoundingClientRect().top;
    const first = Math.min(places.length - SPARE, Math.floor(-top / height) - SPARE);
    const last = Math.max(SPARE, Math.ceil((innerHeight - top) / height) + SPARE);
    const seen = (line) => places.length <= WHOLE || line === cursor || (line >= first && line <= last);
    const wanted = [...places.keys()].filter((line) => seen(line));
    const keys = new Set(wanted.map((line) => table.key[places[line]]));
    rows.forEach((row, key) => keys.has(key) || (row.remove(), rows.delete(key)));
    let next = body.firstChild;
    for (const line of wanted) {
      const key = table.key[places[line]];
      const row = rows.get(key) ?? newRow(key);
      rows.set(key, row);
      row.style.setProperty("--at", `${line * height}px`);
      row.setAttribute("aria-rowindex", line + 2);
      if (row === next) next = row.nextSibling;
      else body.insertBefore(row, next);
    }
  }

  function measure() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    height = Math.round(ROW_REM[narrow.matches ? "narrow" : "wide"] * rem);
    body.style.setProperty("--row", `${height}px`);
    body.style.setProperty("height", `${places.length * height}px`);
    draw();
  }

  function setCursor(line) {
    cursor = line;
    cursorKey = table.key[places[line]];
  }

  function focusLine(line) {
    if (!places.length) return;
    setCursor(Math.max(0, Math.min(places.length - 1, line)));
    const top = body.getBoundingClientRect().top + cursor * height;
    const room = 110;
    if (top < room) scrollBy(0, top - room);
    else if (top + height > innerHeight - 70) scrollBy(0, top + height - innerHeight + 70);
    draw();
    rows.get(table.key[places[cursor]])?.querySelector("a").focus({ preventScroll: true });
  }

  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", measure);

  return {
    node,
    columns: columns.map(([name, label]) => [name, label]),
    stop() {
      removeEventListener("scroll", draw);
      removeEventListener("resize", measure);
    },
    show(next, chosen, filters) {
      [table, places, order] = [next, chosen, filters.sort];
      const held = cursor < 0 ? null : cursorKey;
      if (of !== filters.of) (rows.forEach((row) => row.remove()), rows.clear());
      of = filters.of;
      cursor = held === null ? -1 : places.findIndex((at) => table.key[at] === held);
      node.setAttribute("aria-rowcount", places.length + 1);
      for (const cell of heads) cell.setAttribute("aria-sort", sortSaid(cell.dataset.column, order));
      all.checked = places.length > 0 && places.every((at) => picked.has(table.key[at]));
      measure();
    },
    patch(next, keys) {
      table = next;
      for (const key of keys) if (rows.has(key)) fillRow(rows.get(key), key);
    },
    picks: () => rows.forEach((row, key) => marked(row, key)),
    move: (by) => focusLine(cursor < 0 ? 0 : cursor + by),
    toggle: () => cursor >= 0 && flip(table.key[places[cursor]]),
    current: () => (cursor >= 0 ? table.key[places[cursor]] : null),
  };
}

function sortSaid(name, order) {
  if (order.replace("-", "") !== name) return "none";
  return order.startsWith("-") ? "descending" : "ascending";
}

function endedCell(table, at) {
  const [state, ended, why] = [table.state[at], table.ended[at], table.why[at]];
  const words = (state === "done" || state === "failed") && ended ? ended : state;
  const said = why && state !== "done" ? h("span", { class: "why quiet", text: why }) : null;
  return h(
    "span",
    { class: `ended ${state}`, title: why || state },
    stateSign(state),
    h("span", { class: "unseen", text: `${state}: ` }),
    h("span", { text: words }),
    said,
  );
}

function scoreCell(table, at, of) {
  const score = of === "progress" && table.final[at] !== null ? table.final[at] : table.score[at];
  if (score !== null) return h("span", { title: table.metric[at], text: number(score) });
  if (table.validation[at] === null) return h("span", { class: "quiet", text: "–" });
  return h(
    "span",
    { class: "quiet", title: `${table.metric[at]} on the validation split` },
    "val ",
    number(table.validation[at]),
  );
}
