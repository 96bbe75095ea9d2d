// The grid of a run: tasks by methods, each cell coloured by its mean progress, its seeds as small squares.
import { h, clear, signed, number, plural } from "./dom.js";
import { href } from "./address.js";
import { meanOf, hasEnded, valuesOf } from "./episodes.js";
import { progressTint, stateSign } from "./signs.js";

const MOST_SQUARES = 60; // in one cell
const AT_ONCE = 1500; // squares that are made before the first paint; more come after it
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -1e9], End: [0, 1e9] };

// The grid: `pick(task, method)` is called for a cell ("" for all of them at a heading). Gives {node, update(table, of),
// mark(filters, places), enter()}; `of` is the column that is shown.
export function heatMap(table, of, pick) {
  const node = h("div", { class: "heat" });
  let grid = null;

  function build() {
    grid = heatGrid(table, of, pick);
    clear(node).append(h("div", { class: "heat-box" }, grid.node), heatLegend());
  }

  build();
  return {
    node,
    enter: () => grid.enter(),
    mark: (filters, places) => grid.mark(filters, places),
    update(next, column) {
      table = next;
      of = column;
      if (!grid.update(next, column)) build();
    },
  };
}

function heatGrid(table, of, pick) {
  const tasks = valuesOf(table, "task").sort();
  const groups = groupCells(table);
  const byMean = (method) => meanOf(table, of, methodPlaces(table, method)).mean ?? -9;
  const methods = valuesOf(table, "method").map((name) => [byMean(name), name]).sort((a, b) => b[0] - a[0]).map(([, name]) => name);
  const turned = methods.length > tasks.length;
  const [down, across] = turned ? [methods, tasks] : [tasks, methods];
  const named = (row, column) => (turned ? [across[column] ?? "", down[row] ?? ""] : [down[row] ?? "", across[column] ?? ""]);
  const lines = []; // lines[row + 1][column + 1], the headings first
  const later = [];
  let squares = 0;
  let current = null;

  function heading(row, column, scope) {
    const name = row < 0 ? across[column] : down[row];
    const cell = h("th", { scope, role: scope === "col" ? "columnheader" : "rowheader", tabindex: -1 }, h("span", { class: "name", title: name, text: name }));
    if ((row < 0) !== turned) cell.append(h("span", { class: "mean" }));
    return cell;
  }

  const head = across.map((_, column) => heading(-1, column, "col"));
  lines.push([null, ...head]);
  const body = down.map((_, row) => {
    const line = [heading(row, -1, "row")];
    across.forEach(() => line.push(h("td", { role: "gridcell", tabindex: -1 })));
    lines.push(line);
    return h("tr", { role: "row" }, line);
  });
  const corner = h("td", { class: "corner", role: "gridcell" }, h("span", { class: "unseen", text: turned ? "Methods" : "Tasks" }));
  const node = h(
    "table", { role: "grid", "aria-label": "Progress by task and method", "aria-readonly": "true" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, corner, head)),
    h("tbody", { role: "rowgroup" }, body),
  );

  node.style.setProperty("--columns", across.length);

  function place(cell) {
    const row = lines.findIndex((line) => line.includes(cell));
    return [row - 1, row < 0 ? -1 : lines[row].indexOf(cell) - 1];
  }

  function each(callback) {
    lines.forEach((line, row) => line.forEach((cell, column) => cell && callback(cell, row - 1, column - 1)));
  }

  function update(next, column) {
    const nextGroups = groupCells(next);
    if (next.place.size !== table.place.size && (valuesOf(next, "task").length !== tasks.length || valuesOf(next, "method").length !== methods.length)) return false;
    [table, of] = [next, column];
    groups.clear();
    nextGroups.forEach((places, name) => groups.set(name, places));
    each(fill);
    return true;
  }

  function fill(cell, row, column) {
    const [task, method] = named(row, column);
    if (row < 0 || column < 0) return method ? fillMean(cell, meanOf(table, of, methodPlaces(table, method))) : null;
    const places = groups.get(cellName(task, method)) ?? [];
    const state = `${of} ${places.map((at) => `${table.key[at]} ${table.state[at]} ${table[of][at]} ${table.score[at]}`).join()}`;
    if (cell.dataset.shown === state) return null;
    cell.dataset.shown = state;
    const held = cell.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const box = fillCell(cell, table, of, places, `${task}, ${method}`);
    squares += places.length;
    if (squares > AT_ONCE && !cell.isConnected) later.push([box, places]);
    else fillSquares(box, places);
    if (held) cell.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
    return null;
  }

  function fillSquares(box, places) {
    const tab = box.parentNode === current ? 0 : -1;
    box.append(...places.slice(0, MOST_SQUARES).map((at) => seedSquare(table, of, at, tab)));
  }

  function fillLater() {
    const end = performance.now() + 12;
    while (later.length && performance.now() < end) fillSquares(...later.shift());
    if (later.length) setTimeout(fillLater);
  }

  function become(cell, focus) {
    for (const one of current ? [current, ...current.querySelectorAll("a")] : []) one.tabIndex = -1;
    current = cell;
    for (const one of [cell, ...cell.querySelectorAll("a")]) one.tabIndex = 0;
    if (focus) cell.focus();
  }

  node.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td, th");
    if (event.target !== cell && (event.key === "Escape" || STEPS[event.key])) cell.focus();
    const step = STEPS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) {
      const [row, column] = place(cell);
      const line = Math.max(-1, Math.min(down.length - 1, row + step[0]));
      const at = Math.max(-1, Math.min(across.length - 1, column + step[1]));
      become(lines[line + 1][at + 1] ?? cell, true);
    } else if ((event.key === "Enter" || event.key === " ") && event.target === cell) {
      pick(...named(...place(cell)));
    } else if (!(event.key === "Escape" && event.target !== cell)) return;
    event.preventDefault();
  });
  node.addEventListener("click", (event) => {
    const cell = event.target.closest("td, th");
    if (!cell || cell === corner || event.target.closest("a")) return;
    become(cell, false);
    pick(...named(...place(cell)));
  });
  node.addEventListener("focusin", (event) => {
    const cell = event.target.closest("td, th");
    if (cell && cell !== current && cell !== corner) become(cell, false);
  });
  node.addEventListener("pointerover", (event) => {
    const square = event.target.closest("a");
    if (square && !square.title) square.title = square.getAttribute("aria-label");
  });

  each(fill);
  if (down.length) become(lines[1][1] ?? lines[1][0], false);
  if (later.length) requestAnimationFrame(() => setTimeout(fillLater));

  return {
    node,
    update,
    enter: () => current?.focus(),
    mark(filters, places) {
      const kept = places && new Set(places.map((at) => table.key[at]));
      for (const square of node.querySelectorAll("a")) square.classList.toggle("dim", kept !== null && !kept.has(square.dataset.key));
      each((cell, row, column) => {
        if (row < 0 || column < 0) return;
        const [task, method] = named(row, column);
        const chosen = (filters.task || filters.method) && [task, ""].includes(filters.task) && [method, ""].includes(filters.method);
        cell.setAttribute("aria-selected", Boolean(chosen));
      });
    },
  };
}

function cellName(task, method) {
  return `${task}\n${method}`;
}

function groupCells(table) {
  const groups = new Map();
  for (let at = 0; at < table.size; at++) {
    const name = cellName(table.task[at], table.method[at]);
    if (groups.has(name)) groups.get(name).push(at);
    else groups.set(name, [at]);
  }
  return groups;
}

function methodPlaces(table, method) {
  return [...table.key.keys()].filter((at) => table.method[at] === method);
}

function fillMean(cell, { mean, n }) {
  cell.querySelector(".mean").textContent = n ? `mean ${signed(mean)}` : "";
}

// What a cell says; gives the box of its squares, for which it keeps the room.
function fillCell(cell, table, of, places, name) {
  const { mean, n } = meanOf(table, of, places);
  const scores = meanOf(table, "score", places);
  const ended = places.filter((at) => hasEnded(table, at)).length;
  const { kind, css } = progressTint(mean ?? 0);
  cell.className = !places.length ? "none" : mean === null ? "" : kind;
  for (const [key, text] of Object.entries(css)) cell.style.setProperty(key, text);
  const [value, words] = cellValue(table, places, mean, scores);
  const part = n === places.length ? `n=${n}` : `${n || scores.n} of ${places.length}`;
  const whys = [...new Set(places.filter((at) => table.why[at] && !hasEnded(table, at)).map((at) => table.why[at]))];
  const said = [`${name}: ${words}`, `${ended} of ${plural(places.length, "episode")} ended`, ...oddStates(table, places), ...whys.slice(0, 2)];
  cell.setAttribute("aria-label", places.length ? `${said.join(". ")}.` : `${name}: no episodes.`);
  cell.title = whys.slice(0, 3).join("\n");
  const box = h("span", { class: "seeds", role: "presentation" });
  const line = places.length <= 10 ? 5 : places.length <= 20 ? 10 : 12;
  box.style.setProperty("--line", Math.min(line, Math.max(1, places.length)));
  box.style.setProperty("--lines", Math.ceil(Math.min(places.length, MOST_SQUARES) / line));
  if (places.length > 20) box.classList.add("many");
  const more = places.length > MOST_SQUARES ? h("small", { text: `+${places.length - MOST_SQUARES}` }) : null;
  const top = places.length ? h("span", { class: "value", "aria-hidden": "true" }, h("b", {}, value), h("small", { text: part }), more) : null;
  clear(cell).append(...[top, box].filter(Boolean));
  return box;
}

// What stands in a cell and what is said of it: mean progress, else mean score, else the state of its episodes.
function cellValue(table, places, mean, scores) {
  if (mean !== null) return [signed(mean), `mean progress ${signed(mean)}`];
  if (scores.n) return [number(scores.mean), `mean score ${number(scores.mean)}`];
  const states = [...new Set(places.map((at) => table.state[at]))];
  return states.length === 1 ? [[stateSign(states[0]), states[0]], states[0]] : ["–", "no score yet"];
}

function oddStates(table, places) {
  const counts = {};
  for (const at of places) counts[table.state[at]] = (counts[table.state[at]] ?? 0) + 1;
  return Object.keys(counts).filter((state) => state !== "done").map((state) => `${counts[state]} ${state}`);
}

function seedSquare(table, of, at, tab) {
  const value = table[of][at];
  const state = table.state[at];
  const { kind, css } = progressTint(value ?? 0);
  const result = value !== null ? `, progress ${signed(value)}` : table.score[at] !== null ? `, score ${number(table.score[at])}` : "";
  const why = table.why[at] && state !== "done" ? `: ${table.why[at]}` : "";
  return h("a", {
    class: value === null ? "" : kind, css, href: href("e", table.key[at]), tabindex: tab, "data-state": state, "data-key": table.key[at],
    "aria-label": `Seed ${table.seed[at]}: ${state}${result}${why}`,
  });
}

function heatLegend() {
  const shades = [-1, -0.5, 0, 0.5, 1].map((value) => {
    const { kind, css } = progressTint(value);
    return h("span", { class: `shade ${kind}`, css, text: { "-1": "−1", 0: "0 baseline", 1: "1 best known" }[value] ?? "" });
  });
  const states = ["done", "failed", "running", "waiting", "stopped", "missing"].map((state) =>
    h("span", {}, h("i", { class: `square ${state === "done" || state === "failed" ? "above" : ""}`, css: { "--share": "60%" }, "data-state": state }), state));
  return h("div", { class: "heat-legend small quiet", "aria-hidden": "true" }, h("span", { class: "shades" }, shades), h("span", { class: "states" }, "seeds:", states));
}
