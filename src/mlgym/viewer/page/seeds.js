// A cell of the grid: the mean of its episodes in words and colour, and a square for each of them.
import { h, clear, signed, number, plural, visible } from "./dom.js";
import { href } from "./address.js";
import { meanOf, hasEnded } from "./episodes.js";
import { STATES, progressTint, stateSign } from "./signs.js";

const MOST_SQUARES = 60; // in one cell
const SHADES = [
  [-1, "−1"],
  [-0.5, ""],
  [0, "0 baseline"],
  [0.5, ""],
  [1, "1 best known"],
];

// Squares of a cell that are of full size, and dimmed one by one.
export const FEW = 20;

// Everything that a cell shows, as text: as long as it stays the same, so does the cell.
export function cellState(table, of, places) {
  const columns = ["key", "state", of, "score"].map((name) => table[name]);
  return `${of} ${places.map((at) => columns.map((column) => column[at]).join()).join(" ")}`;
}

// Fill a cell; gives the box for its squares, which keeps their room.
export function fillCell(cell, table, of, places, name) {
  const { mean, n } = meanOf(table, of, places);
  const scores = meanOf(table, "score", places);
  const { kind, css } = progressTint(mean ?? 0);
  cell.className = !places.length ? "none" : mean === null ? "open" : kind;
  for (const [key, text] of Object.entries(css)) cell.style.setProperty(key, text);
  const whys = [...new Set(places.filter((at) => !hasEnded(table, at)).map((at) => table.why[at]))].filter(Boolean);
  const [value, words] = cellValue(table, places, mean, scores);
  cell.setAttribute("aria-label", cellSaid(table, places, name, words, whys));
  cell.title = whys.slice(0, 3).join("\n");
  clear(cell);
  if (places.length) cell.append(cellTop(value, n || scores.n, places.length));
  const box = squareBox(places.length);
  cell.append(box);
  return box;
}

function cellTop(value, n, size) {
  const more = size > MOST_SQUARES ? h("small", { text: `+${size - MOST_SQUARES}` }) : null;
  const part = h("small", { text: n === size ? `n=${n}` : `${n} of ${size}` });
  return h("span", { class: "value", "aria-hidden": "true" }, h("b", {}, value), part, more);
}

function cellSaid(table, places, name, words, whys) {
  if (!places.length) return `${name}: no episodes.`;
  const ended = places.filter((at) => hasEnded(table, at)).length;
  const odd = STATES.slice(1).map((state) => [places.filter((at) => table.state[at] === state).length, state]);
  const states = odd.filter(([count]) => count).map(([count, state]) => `${count} ${state}`);
  const all = [`${name}: ${words}`, `${ended} of ${plural(places.length, "episode")} ended`, ...states];
  return `${[...all, ...whys.slice(0, 2).map((why) => why.replace(/\.$/, ""))].join(". ")}.`;
}

// What stands in a cell and what is said of it: mean progress, else mean score, else the state of its episodes.
function cellValue(table, places, mean, scores) {
  if (mean !== null) return [signed(mean), `mean progress ${signed(mean)}`];
  if (scores.n) return [number(scores.mean), `mean score ${number(scores.mean)}`];
  const states = [...new Set(places.map((at) => table.state[at]))];
  return states.length === 1 ? [[stateSign(states[0]), " ", states[0]], states[0]] : ["–", "no score yet"];
}

function squareBox(size) {
  const css = { "--n": Math.min(size, MOST_SQUARES) };
  return h("span", { class: `seeds${size > FEW ? " many" : ""}`, role: "presentation", css });
}

// Put the squares of the episodes at `places` into their box; `tab` is their tabindex.
export function fillSquares(box, table, of, places, tab) {
  if (box.hasChildNodes()) return;
  box.append(...places.slice(0, MOST_SQUARES).map((at) => seedSquare(table, of, at, tab)));
}

function seedSquare(table, of, at, tab) {
  const [value, score, state, why] = [table[of][at], table.score[at], table.state[at], table.why[at]];
  const { kind, css } = progressTint(value ?? 0);
  const result = value !== null ? `, progress ${signed(value)}` : score !== null ? `, score ${number(score)}` : "";
  const said = `Seed ${table.seed[at]}: ${state}${result}${why && state !== "done" ? `: ${why}` : ""}`;
  const link = { href: href("e", table.key[at]), tabindex: tab, "aria-label": said };
  return h("a", {
    class: value === null ? "" : kind,
    css,
    ...link,
    "data-state": state,
    "data-key": visible(table.key[at]),
  });
}

// What the colours and squares mean.
export function heatLegend() {
  const shades = SHADES.map(([value, text]) => {
    const { kind, css } = progressTint(value);
    return h("span", { class: `shade ${kind}`, css, text });
  });
  const states = STATES.map((state, at) => {
    const square = h("i", { class: `square ${at < 2 ? "above" : ""}`, css: { "--share": "60%" }, "data-state": state });
    return h("span", {}, square, state);
  });
  const parts = [h("span", { class: "shades" }, shades), h("span", { class: "states" }, "seeds:", states)];
  return h("div", { class: "heat-legend small quiet", "aria-hidden": "true" }, parts);
}
