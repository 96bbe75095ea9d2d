// The steps of several episodes side by side, aligned by their numbers: a row a step, a column an episode.
import { h, number } from "./dom.js";
import { get } from "./source.js";
import { aligned, scored } from "./contest.js";
import { markOf } from "./curves.js";
import { showOf } from "./episode.js";
import { hitWords, statusWords, stepNode } from "./step.js";

const ALIGNED_CHUNK = 100; // rows that come into the page together

// The table of steps, at the step `at`, those in `opened` unfolded; `moved(n)` is told where the reader is.
export function alignedSteps({ episodes, names, at, opened, moved }) {
  const table = aligned(episodes);
  const body = h("div", { class: "aligned", role: "table", "aria-label": "Steps side by side" });
  body.style.setProperty("--columns", episodes.length);
  const state = { episodes, names, moved, ...table, rows: new Map(), at: null, body, opened: new Set(opened) };
  body.append(alignedHead(names));
  const watcher = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) if (isIntersecting) fillChunk(state, target);
  }, { rootMargin: "600px" });
  for (let from = 0; from < table.numbers.length; from += ALIGNED_CHUNK) {
    const chunk = h("div", { class: "chunk", role: "rowgroup", "data-from": String(from) });
    chunk.style.setProperty("--rows", Math.min(ALIGNED_CHUNK, table.numbers.length - from));
    body.append(chunk);
    watcher.observe(chunk);
    if (!from) fillChunk(state, chunk);
  }
  const move = (by) => goRow(state, Math.min(Math.max(placeOf(state) + by, 0), table.numbers.length - 1));
  const parting = table.differs.indexOf(true);
  const first = at ? Math.max(table.numbers.findIndex((n) => n >= at), 0) : null;
  return {
    node: h("section", { class: "steps" }, h("h2", { text: "Step by step" }), partingLine(state, parting), body),
    show: (how = { focus: false }) => first !== null && goRow(state, first, how),
    move: (by) => (state.at === null ? goRow(state, 0) : move(by)),
    next: () => nextDifference(state),
    unfold: () => state.at !== null && state.rows.get(state.at).unfold(),
    at: () => (state.at === null ? null : state.numbers[state.at]),
    opened: () => [...state.opened],
    stop: () => watcher.disconnect(),
  };
}

function placeOf(state) {
  return state.at ?? -1;
}

function nextDifference(state) {
  const to = state.differs.findIndex((differs, i) => differs && i > placeOf(state));
  if (to >= 0) goRow(state, to);
}

// The sentence that says where the episodes part, with the way there.
function partingLine(state, parting) {
  if (!state.numbers.length) return h("p", { class: "quiet" }, "There are no steps yet.");
  if (parting < 0) return h("p", {}, "They do the same in every step.");
  const n = state.numbers[parting];
  const before = `The same until step ${state.numbers[parting - 1]}; they part at step ${n}.`;
  const words = parting ? before : "They part at their first step.";
  const jump = h("button", { type: "button", class: "jump", onclick: () => goRow(state, parting) }, `Go to step ${n}`);
  return h("p", { class: "parting" }, words, " ", parting ? jump : null);
}

function alignedHead(names) {
  const heads = names.map((name, i) => h("div", { class: "cell", role: "columnheader" }, markOf(i + 1), ` ${name}`));
  const corner = h("div", { class: "num", role: "columnheader", text: "step" });
  const row = h("div", { class: "row head", role: "row" }, corner, ...heads);
  return h("div", { role: "rowgroup", class: "aligned-top" }, row);
}

function fillChunk(state, chunk) {
  if (chunk.firstChild) return;
  const from = Number(chunk.dataset.from);
  const until = Math.min(from + ALIGNED_CHUNK, state.numbers.length);
  for (let i = from; i < until; i += 1) chunk.append(...alignedRow(state, i));
  chunk.classList.add("filled");
}

function alignedRow(state, i) {
  const n = state.numbers[i];
  const button = h("button", { type: "button", "aria-expanded": "false", "aria-label": `step ${n}`, text: String(n) });
  const cells = state.episodes.map((episode, which) => alignedCell(state, episode, which, n));
  const parts = state.differs.indexOf(true) === i && i > 0;
  const look = ["row", state.differs[i] ? "differs" : "same", parts ? "parts" : ""].join(" ").trim();
  const row = h("div", { class: look, role: "row" }, h("div", { class: "num", role: "rowheader" }, button), ...cells);
  const whole = h("div", { class: "row whole", role: "row", hidden: true });
  const unfold = () => unfoldRow(state, n, { button, whole });
  button.addEventListener("click", () => {
    goRow(state, i, { scroll: false });
    unfold();
  });
  state.rows.set(i, { row, button, unfold });
  if (state.opened.has(n)) unfold();
  return [row, whole];
}

function alignedCell(state, episode, which, n) {
  const i = state.where[which].get(n);
  const label = h("span", { class: "whose", "aria-hidden": "true" }, markOf(which + 1));
  if (i === undefined) {
    const last = episode.line.n.at(-1);
    const words = n === last + 1 ? "ended" : n > last ? "" : "no such step";
    return h("div", { class: words ? "cell gone" : "cell gone past", role: "cell" }, label, words);
  }
  const brief = h("span", { class: "brief" }, episode.line.brief[i] || episode.line.tool[i]);
  return h("div", { class: "cell", role: "cell" }, label, brief, ...cellChips(episode, i));
}

function cellChips({ line, metric, attempts }, i) {
  const [status, hit, graded] = [line.status[i], line.hit[i], attempts.find((each) => each.n === line.attempt[i])];
  return [
    status === "ok" || status === "end" ? null : h("span", { class: "chip bad", text: statusWords[status] }),
    hit && hit !== status ? h("span", { class: "chip warn", text: hitWords[hit] ?? hit }) : null,
    graded ? gradedChip(graded, metric) : null,
  ];
}

function gradedChip(attempt, metric) {
  const split = ["validation", "test"].find((each) => scored(attempt[each], metric) !== null);
  if (!split) return h("span", { class: "chip warn", text: "not valid" });
  return h("span", { class: "chip", text: `${split} ${number(scored(attempt[split], metric))}` });
}

async function unfoldRow(state, n, { button, whole }) {
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  whole.hidden = !open;
  if (open) state.opened.add(n);
  else state.opened.delete(n);
  if (!open || whole.firstChild) return;
  const row = button.closest(".row");
  const cells = state.episodes.map((_, which) =>
    h("div", { class: "cell", role: "cell" }, h("p", { class: "whose" }, markOf(which + 1), ` ${state.names[which]}`)));
  whole.append(h("div", { class: "num", role: "cell" }), ...cells);
  await Promise.all(cells.map(async (cell, which) => {
    if (state.where[which].has(n)) cell.append(await wholeStep(state.episodes[which], n, which));
  }));
  if (whole.getBoundingClientRect().bottom > innerHeight) row.scrollIntoView({ block: "start" });
}

// One step as its episode's page shows it.
async function wholeStep(episode, n, which) {
  try {
    const { steps } = await get(`e/${episode.key}/steps`, { from: n, count: 1 });
    return stepNode(steps[0], { ...showOf(episode, episode.key), column: `column-${which + 1}-` });
  } catch (problem) {
    return h("p", { class: "quiet", text: problem.message });
  }
}

function goRow(state, i, { scroll = true, focus = true } = {}) {
  const chunk = state.body.querySelectorAll(".chunk")[Math.floor(i / ALIGNED_CHUNK)];
  if (!chunk) return;
  fillChunk(state, chunk);
  if (state.at !== null) state.rows.get(state.at)?.row.classList.remove("here");
  state.at = i;
  const { row, button } = state.rows.get(i);
  row.classList.add("here");
  if (focus) button.focus({ preventScroll: true });
  if (scroll) row.scrollIntoView({ block: "nearest" });
  state.moved(state.numbers[i]);
}
