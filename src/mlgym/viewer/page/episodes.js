// Episodes as columns: what the lists and grids of a run read, filter and sort.
import { beats, visible } from "./dom.js";

const NUMBERS = new Set([
  "seed",
  "score",
  "final",
  "progress",
  "best_progress",
  "steps",
  "attempts",
  "money",
  "tokens",
  "seconds",
  "began",
  "changed",
]);
const ENDED = new Set(["done", "failed"]);

// A document of episodes as columns by name, with `size` and the place of each key.
export function asColumns(told) {
  const table = { size: told.rows.length, version: told.version, place: new Map() };
  told.columns.forEach((name, at) => (table[name] = told.rows.map((row) => row[at])));
  table.key.forEach((key, at) => table.place.set(key, at));
  table.names = told.columns;
  table.run = table.run.map(visible);
  return table;
}

// Keys of the episodes of `now` that are not as they were in `before`.
export function changedKeys(before, now) {
  return now.key.filter((key, at) => {
    const was = before.place.get(key);
    return was === undefined || now.names.some((name) => String(now[name][at]) !== String(before[name][was]));
  });
}

// The values of a column, each once, in the order in which they come.
export function valuesOf(table, name) {
  return [...new Set(table[name])].filter((value) => value !== null && value !== "");
}

// Whether an episode has ended, with a score or by its own fault.
export function hasEnded(table, at) {
  return ENDED.has(table.state[at]);
}

// How many episodes are in each state.
export function stateCounts(table) {
  const counts = {};
  for (const state of table.state) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

// The mean of a column over some places, and of how many of them a number is known.
export function meanOf(table, name, places) {
  const known = places.map((at) => table[name][at]).filter((value) => value !== null && value !== undefined);
  return { mean: known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null, n: known.length };
}

// The sum of a column; null where nothing is known.
export function sumOf(table, name) {
  const { mean, n } = meanOf(table, name, [...table.key.keys()]);
  return n ? mean * n : null;
}

// The place of the best test score among some; -1 where there is none.
export function bestOf(table, places) {
  let best = -1;
  for (const at of places) {
    const score = table.score[at];
    if (score === null || !hasEnded(table, at)) continue;
    if (best < 0 || beats(score, table.score[best], table.direction[at])) best = at;
  }
  return best;
}

// The places whose episodes pass the filters, in the order asked for: `sort` is a column, with "-" for downwards.
export function chosenPlaces(table, filters, words) {
  const tests = [];
  for (const name of ["run", "task", "method", "state", "ended"]) {
    if (filters[name]) tests.push((at) => String(table[name][at]) === filters[name]);
  }
  for (const [name, column] of [
    ["progress", filters.of],
    ["steps", "steps"],
  ]) {
    const [least, most] = filters[name] ?? [null, null];
    if (least !== null) tests.push((at) => table[column][at] !== null && table[column][at] >= least);
    if (most !== null) tests.push((at) => table[column][at] !== null && table[column][at] <= most);
  }
  if (filters.q) {
    const sought = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
    tests.push((at) => sought.every((word) => words[at].includes(word)));
  }
  const places = [...table.key.keys()].filter((at) => tests.every((test) => test(at)));
  return filters.sort ? sortedPlaces(table, places, filters.sort) : places;
}

function sortedPlaces(table, places, sort) {
  const down = sort.startsWith("-") ? -1 : 1;
  const column = table[sort.replace(/^-/, "")];
  if (!column) return places;
  const gone = (value) => value === null || value === undefined || value === "";
  return places.sort((a, b) => {
    const [x, y] = [column[a], column[b]];
    if (gone(x) || gone(y)) return gone(x) - gone(y) || a - b;
    return x < y ? -down : x > y ? down : a - b;
  });
}

// What a text filter looks at, one lower-case line an episode.
export function wordsOf(table) {
  const columns = ["run", "task", "method", "agent", "model", "seed", "state", "ended", "why", "marks"].map(
    (name) => table[name],
  );
  return table.key.map((key, at) =>
    columns
      .map((column) => column[at] ?? "")
      .join(" ")
      .toLowerCase(),
  );
}

// Whether a column holds numbers, which are first sorted downwards.
export function isNumber(name) {
  return NUMBERS.has(name);
}
