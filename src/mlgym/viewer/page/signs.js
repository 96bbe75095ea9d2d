// States by sign and word, and progress as colour, bar and text.
import { h, s, signed } from "./dom.js";

const SIGNS = {
  done: ["good", "M2.5 8.5 6 12l7.5-8.5"],
  failed: ["bad", "M3.5 3.5l9 9m0-9-9 9"],
  running: ["on", "M8 2a6 6 0 1 0 .01 0M7.5 8h1m-1 .5h1m-1-1h1"],
  waiting: ["", "M8 2a6 6 0 1 0 .01 0"],
  stopped: ["warn", "M5.5 3v10m5-10v10"],
  cancelled: ["warn", "M3.5 3.5h9v9h-9z"],
  missing: ["warn", "M8 2v8m0 3v.6"],
};

// The states of an episode.
export const STATES = Object.keys(SIGNS);

// The sign of a state, which colour alone does not tell.
export function stateSign(state) {
  const [, path] = SIGNS[state] ?? SIGNS.waiting;
  return s("svg", { class: "sign", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: path }));
}

// A state, of an episode or a run, as a chip; `words` stand in it where the state's own name should not.
export function stateChip(state, words = state) {
  const known = state === "complete" ? "done" : state;
  const kind = SIGNS[known]?.[0] ?? "";
  return h("span", { class: `chip ${kind}`, "data-state": state }, stateSign(known), words);
}

// The colour of a progress as class and share, for `class` and `css` of an element.
export function progressTint(value) {
  const share = `${Math.round(Math.min(1, Math.abs(value)) * 100)}%`;
  return { kind: value < 0 ? "below" : "above", css: { "--share": share } };
}

// A progress as a small bar from the baseline, and as text.
export function progressBar(value) {
  if (value === null || value === undefined) return h("span", { class: "quiet", text: "–" });
  const size = `${Math.min(1, Math.abs(value)) * 50}%`;
  const bar = h("i", { class: value < 0 ? "below" : "above", css: { width: size } });
  return h("span", { class: "progress" }, h("span", { class: "track", "aria-hidden": "true" }, bar), signed(value));
}
