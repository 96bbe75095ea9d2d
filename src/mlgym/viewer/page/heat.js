// The grid of a run: tasks by methods, each cell coloured by its mean progress, its seeds as small squares.
import { h, clear, plural, signed } from "./dom.js";
import { meanOf, valuesOf } from "./episodes.js";
import { FEW, cellState, fillCell, fillSquares, heatLegend } from "./seeds.js";

const AT_ONCE = 1000; // squares that are made at once; more come a little later
const LATER_MS = 12; // for which squares are made at a time
const FAR = 1e6;
const ARROWS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, -FAR],
  End: [0, FAR],
};

// The grid: `pick(task, method)` is called for a cell ("" for all of them at a heading), `of` is the column that is
// shown. Gives {node, update(table, of), mark(filters, places), enter()}.
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
      const same = ["task", "method"].every((name) => valuesOf(next, name).length === valuesOf(table, name).length);
      [table, of] = [next, column];
      if (same) grid.update(next, column);
      else build();
    },
  };
}

function heatGrid(table, of, pick) {
  const axes = heatAxes(table, of);
  const groups = new Map();
  const filled = new Map(); // what each cell shows
  const later = []; // boxes that get their squares a little later, with the names of their groups
  const { node, lines } = heatTable(axes);
  let squares = 0;
  let current = null;

  function each(callback) {
    lines.forEach((line, row) => line.forEach((cell, column) => cell && callback(cell, row - 1, column - 1)));
  }

  function refill() {
    groups.clear();
    for (let at = 0; at < table.size; at++) {
      const name = groupName(table.task[at], table.method[at]);
      if (groups.has(name)) groups.get(name).push(at);
      else groups.set(name, [at]);
    }
    squares = 0;
    each(fill);
    if (later.length) requestAnimationFrame(() => setTimeout(fillLater));
  }

  function fill(cell, row, column) {
    const [task, method] = axes.named(row, column);
    if (row < 0 || column < 0) return fillMean(cell, table, of, method);
    const places = groups.get(groupName(task, method)) ?? [];
    const state = cellState(table, of, places);
    if (filled.get(cell) === state) return;
    filled.set(cell, state);
    const held = [...cell.querySelectorAll("a")].indexOf(document.activeElement);
    const box = fillCell(cell, table, of, places, `${task}, ${method}`);
    squares += places.length;
    if (squares > AT_ONCE && held < 0) later.push([box, groupName(task, method)]);
    else fillSquares(box, table, of, places, tabOf(cell));
    cell.querySelectorAll("a")[held]?.focus({ preventScroll: true });
  }

  function fillLater() {
    const end = performance.now() + LATER_MS;
    while (later.length && performance.now() < end) {
      const [box, name] = later.shift();
      if (box.isConnected) fillSquares(box, table, of, groups.get(name) ?? [], tabOf(box.parentNode));
    }
    if (later.length) setTimeout(fillLater);
  }

  const tabOf = (cell) => (cell === current ? 0 : -1);

  function become(cell) {
    const before = current;
    current = cell;
    for (const one of [before, cell]) {
      if (one) for (const stop of [one, ...one.querySelectorAll("a")]) stop.tabIndex = tabOf(one);
    }
  }

  function placeOf(cell) {
    const row = lines.findIndex((line) => line.includes(cell));
    return [row - 1, lines[row].indexOf(cell) - 1];
  }

  function step(cell, [by, aside]) {
    const [row, column] = placeOf(cell);
    const to = lines[Math.max(0, Math.min(lines.length - 1, row + 1 + by))];
    become(to[Math.max(0, Math.min(to.length - 1, column + 1 + aside))] ?? cell);
    current.focus();
  }

  function key(event) {
    const cell = cellOf(event);
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[event.key]) step(cell, ARROWS[event.key]);
    else if (event.key === "Escape" && event.target !== cell) cell.focus();
    else if ((event.key === "Enter" || event.key === " ") && event.target === cell)
      pick(...axes.named(...placeOf(cell)));
    else return;
    event.preventDefault();
  }

  node.addEventListener("keydown", key);
  node.addEventListener("focusin", (event) => cellOf(event) && become(cellOf(event)));
  node.addEventListener("pointerover", (event) => {
    const square = event.target.closest("a");
    if (square) square.title = square.getAttribute("aria-label");
  });
  node.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (cell && !event.target.closest("a")) pick(...axes.named(...placeOf(cell)));
  });
  refill();
  become(lines[1][1]);

  return {
    node,
    enter: () => current.focus(),
    update: (next, column) => (([table, of] = [next, column]), refill()),
    mark(filters, places) {
      const kept = places && new Set(places);
      each((cell, row, column) => {
        if (row < 0 || column < 0) return;
        const [task, method] = axes.named(row, column);
        const fits = [task, ""].includes(filters.task) && [method, ""].includes(filters.method);
        cell.setAttribute("aria-selected", fits && Boolean(filters.task || filters.method));
        dim(cell, groups.get(groupName(task, method)) ?? [], kept);
      });
    },
  };
}

function dim(cell, own, kept) {
  const out = (at) => kept !== null && !kept.has(at);
  cell.classList.toggle("dim", own.every(out));
  if (own.length > FEW) return;
  cell.querySelectorAll("a").forEach((square, n) => square.classList.toggle("dim", out(own[n])));
}

function groupName(task, method) {
  return `${task}\n${method}`;
}

// What is down and what across, the longer down: {down, across, turned, named(row, column) as [task, method]}.
function heatAxes(table, of) {
  const tasks = valuesOf(table, "task").sort();
  const means = new Map(valuesOf(table, "method").map((name) => [name, methodMean(table, of, name).mean ?? -FAR]));
  const methods = [...means.keys()].sort((a, b) => means.get(b) - means.get(a));
  const turned = methods.length > tasks.length;
  const [down, across] = turned ? [methods, tasks] : [tasks, methods];
  const named = (row, column) => {
    const pair = [down[row] ?? "", across[column] ?? ""];
    return turned ? pair.reverse() : pair;
  };
  return { down, across, turned, named };
}

function methodMean(table, of, method) {
  return meanOf(
    table,
    of,
    [...table.key.keys()].filter((at) => table.method[at] === method),
  );
}

// The empty grid, and its cells as lines[row + 1][column + 1] with the headings before them and no corner.
function heatTable({ down, across, turned }) {
  const heading = (name, role, ofMethod) => {
    const label = h("span", { class: "name", title: name }, breakable(name));
    return h("th", { role, tabindex: -1 }, label, ofMethod ? h("span", { class: "mean" }) : null);
  };
  const head = across.map((name) => heading(name, "columnheader", !turned));
  const body = down.map((name) => [
    heading(name, "rowheader", turned),
    ...across.map(() => h("td", { role: "gridcell", tabindex: -1 })),
  ]);
  const corner = h(
    "td",
    { class: "corner", role: "gridcell" },
    h("span", { class: "unseen", text: turned ? "Methods" : "Tasks" }),
  );
  const node = h(
    "table",
    {
      role: "grid",
      "aria-label": "Progress by task and method",
      "aria-readonly": "true",
      css: { "--columns": across.length },
    },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, corner, head)),
    h(
      "tbody",
      { role: "rowgroup" },
      body.map((line) => h("tr", { role: "row" }, line)),
    ),
  );
  return { node, lines: [[null, ...head], ...body] };
}

// A name that breaks behind its signs rather than anywhere.
function breakable(name) {
  return name.split(/(?<=[/?=,:_-])/).flatMap((part) => [part, h("wbr")]);
}

function fillMean(cell, table, of, method) {
  if (!method) return;
  const { mean, n } = methodMean(table, of, method);
  const tasks = new Set([...table.key.keys()].filter((at) => table.method[at] === method).map((at) => table.task[at]));
  const some = tasks.size < new Set(table.task).size ? `, ${plural(tasks.size, "task")}` : "";
  cell.querySelector(".mean").textContent = n ? `mean ${signed(mean)}${some}` : "";
}

function cellOf(event) {
  return event.target.closest("td:not(.corner), th");
}
