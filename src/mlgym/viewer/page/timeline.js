// A slim strip over all steps: what was done, scores by step, errors, limits and checkpoints; a slider for all inputs.
import { h, s, clear, money, number, seconds } from "./dom.js";
import { chartParts, lineEdge } from "./linechart.js";
import { markWords, namedMarks, stepWords } from "./step.js";

const stripHigh = 14;
const narrowest = 2.5;
const barKinds = ["look", "command", "edit", "grade"];
const barWords = { command: "command", edit: "edit", grade: "grading" };
const barHigh = { look: 5, command: 8, edit: 12, grade: 14 };
const editTools = new Set(["edit", "create", "insert", "str_replace", "write"]);
const lookTools = new Set([
  "open",
  "view",
  "goto",
  "scroll_up",
  "scroll_down",
  "search_dir",
  "search_file",
  "find_file",
]);
const shapes = {
  error: "M-3,-3L3,3M3,-3L-3,3",
  limit: "M0,-4L0,1M0,3L0,4",
  saved: "M-3.5,3L3.5,3L0,-3Z",
  back: "M-3.5,-3L3.5,-3L0,3Z",
};
const shapeWords = { error: "error", limit: "limit hit", saved: "checkpoint saved", back: "gone back" };

// What kind of bar a step is.
function barKind(tool) {
  if (tool === "validate" || tool === "submit") return "grade";
  if (editTools.has(tool)) return "edit";
  return lookTools.has(tool) ? "look" : "command";
}

// The marks of step `at` (an index): error, limit, saved, back.
export function stepMarks(line, at) {
  const marks = [];
  if (line.hit[at] || line.status[at] === "timeout") marks.push("limit");
  else if (line.status[at] === "error" || line.status[at] === "format") marks.push("error");
  const saved = namedMarks(line.marks[at]);
  if (saved.some((mark) => mark[0] === "-")) marks.push("back");
  else if (saved.length) marks.push("saved");
  return marks;
}

// The strip: {node, choose(n), range(from, to), update(doc)}; `jump(n)` is called with the step that is asked for.
export function timeLine(doc, jump) {
  const state = { doc, jump, byTime: false, chosen: 0, over: 0, range: [0, 0], wide: 0 };
  state.picture = s("svg", { class: "line-picture", "aria-hidden": "true", width: "100%" });
  state.slider = h(
    "div",
    { class: "line-slider", role: "slider", tabindex: "0", "aria-label": "Steps of the episode" },
    state.picture,
  );
  state.caption = h("p", { class: "line-caption", "aria-live": "off" });
  state.node = h(
    "section",
    { class: "time-line", "aria-label": "Time line" },
    state.slider,
    h("div", { class: "line-foot" }, state.caption, scaleSwitch(state)),
  );
  listenLine(state);
  new ResizeObserver(() => resizeLine(state)).observe(state.slider);
  return {
    node: state.node,
    choose: (n) => {
      state.chosen = n;
      moveCursor(state);
    },
    range: (from, to) => {
      state.range = [from, to];
      moveCursor(state);
    },
    update: (fresh) => {
      state.doc = fresh;
      drawLine(state);
    },
  };
}

function scaleSwitch(state) {
  const button = h("button", { type: "button", class: "small", "aria-pressed": "false" }, "by time");
  button.addEventListener("click", () => {
    state.byTime = !state.byTime;
    button.setAttribute("aria-pressed", String(state.byTime));
    drawLine(state);
  });
  return button;
}

function resizeLine(state) {
  const wide = Math.floor(state.slider.clientWidth);
  if (wide && wide !== state.wide) {
    state.wide = wide;
    drawLine(state);
  }
}

// Edges of the steps in pixels: step i lies between edges[i] and edges[i + 1].
function lineEdges({ doc, byTime, wide }) {
  const count = doc.line.n.length;
  const whole = byTime ? doc.line.seconds.at(-1) || 1 : count || 1;
  const room = wide - 2 * lineEdge;
  const edges = new Float64Array(count + 1);
  for (let i = 0; i < count; i += 1) edges[i + 1] = ((byTime ? doc.line.seconds[i] : i + 1) / whole) * room;
  for (let i = 0; i <= count; i += 1) edges[i] += lineEdge;
  return edges;
}

function drawLine(state) {
  if (!state.wide) return;
  const { picture, doc, wide } = state;
  const scored = doc.line.validation.some((score) => score != null);
  state.chart = scored ? (wide < 560 ? 32 : 46) : 0;
  state.strip = state.chart + 6;
  const marks = state.strip + stripHigh + 8;
  clear(picture);
  picture.setAttribute("height", marks + 8);
  picture.setAttribute("viewBox", `0 0 ${wide} ${marks + 8}`);
  state.edges = lineEdges(state);
  state.told = "";
  state.view = s("rect", { class: "line-view", y: state.strip - 3, height: stripHigh + 6, rx: 2 });
  state.cursor = s("path", { class: "line-cursor" });
  picture.append(
    state.view,
    ...(scored ? chartParts(state) : []),
    ...barParts(state),
    ...markParts(state, marks),
    state.cursor,
  );
  moveCursor(state);
}

// A bar for each step, one for several where they are too narrow; it is the most telling of them.
function barParts({ doc: { line }, edges, strip }) {
  const bars = [];
  let from = 0;
  let kind = -1;
  const draw = (to) => {
    if (kind >= 0) bars.push(barNode(barKinds[kind], edges[from], edges[to] - edges[from], strip + stripHigh));
    from = to;
    kind = -1;
  };
  for (let i = 0; i < line.n.length; i += 1) {
    if (edges[i + 1] - edges[i] >= narrowest) draw(i);
    kind = Math.max(kind, barKinds.indexOf(barKind(line.tool[i])));
    if (edges[i + 1] - edges[from] >= narrowest) draw(i + 1);
  }
  draw(line.n.length);
  return bars;
}

function barNode(kind, x, wide, foot) {
  const gap = wide > 3 * narrowest ? 1.5 : 0.5;
  const place = { x: x.toFixed(1), width: Math.max(wide - gap, 0.8).toFixed(1) };
  return s("rect", { class: `bar ${kind}`, ...place, y: foot - barHigh[kind], height: barHigh[kind] });
}

function markParts({ doc: { line }, edges }, y) {
  const marks = [];
  const last = {};
  for (let i = 0; i < line.n.length; i += 1) {
    const x = (edges[i] + edges[i + 1]) / 2;
    for (const name of stepMarks(line, i)) {
      if (x - (last[name] ?? -99) < 5) continue;
      last[name] = x;
      marks.push(
        s("path", { class: `line-mark ${name}`, d: shapes[name], transform: `translate(${x.toFixed(1)},${y})` }),
      );
    }
  }
  return marks;
}

function stepAtX(state, x) {
  const { edges } = state;
  let low = 0;
  let high = edges.length - 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle + 1] < x) low = middle + 1;
    else high = middle;
  }
  return state.doc.line.n[low];
}

function listenLine(state) {
  const place = (event) => stepAtX(state, event.clientX - state.slider.getBoundingClientRect().left);
  state.slider.addEventListener("pointermove", (event) => {
    if (!state.edges || state.edges.length < 2) return;
    state.over = place(event);
    moveCursor(state);
    if (event.buttons & 1) state.jump(state.over);
  });
  state.slider.addEventListener("pointerleave", () => {
    state.over = 0;
    moveCursor(state);
  });
  state.slider.addEventListener("click", (event) => state.edges?.length > 1 && state.jump(place(event)));
  state.slider.addEventListener("keydown", (event) => {
    const last = state.doc.line.n.length;
    const now = state.chosen || 1;
    const to = {
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      PageUp: now + 10,
      PageDown: now - 10,
      Home: 1,
      End: last,
    }[event.key];
    if (to === undefined || !last || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    state.jump(Math.min(Math.max(to, 1), last));
  });
}

function moveCursor(state) {
  const { doc, chosen, over, edges, range } = state;
  const told = over || chosen;
  if (state.told !== `${told} ${chosen}`) tellStepOfLine(state, told);
  if (!edges) return;
  const middle = told ? (edges[told - 1] + edges[told]) / 2 : 0;
  state.cursor.setAttribute("d", told ? `M${middle},0V${state.strip + stripHigh + 2}` : "M0,0");
  const [from, to] = range;
  const left = from ? edges[from - 1] : 0;
  state.view.setAttribute("x", String(left));
  state.view.setAttribute("width", String(to ? Math.max(edges[Math.min(to, doc.line.n.length)] - left, 2) : 0));
}

// The caption and the slider's own words: of the step under the pointer or the chosen one, else what the signs mean.
function tellStepOfLine(state, told) {
  const { slider, doc, chosen } = state;
  state.told = `${told} ${chosen}`;
  slider.setAttribute("aria-valuemin", "1");
  slider.setAttribute("aria-valuemax", String(Math.max(doc.line.n.length, 1)));
  slider.setAttribute("aria-valuenow", String(chosen || 1));
  slider.setAttribute("aria-valuetext", chosen ? lineWords(doc, chosen - 1) : "no step chosen");
  clear(state.caption).append(...(told ? [lineWords(doc, told - 1)] : legendParts(doc.line)));
}

// What the caption says of a step, which is also what a screen reader is told.
function lineWords(doc, at) {
  const { line } = doc;
  if (at >= line.n.length || at < 0) return "";
  const parts = [stepWords(line.n[at], line.tool[at], line.brief[at])];
  if (line.validation[at] != null) parts.push(`validation ${number(line.validation[at])}`);
  if (line.hit[at]) parts.push(`limit hit: ${line.hit[at]}`);
  else if (!["ok", "end", ""].includes(line.status[at])) parts.push(line.status[at]);
  for (const mark of namedMarks(line.marks[at])) parts.push(markWords(mark));
  const took = (line.command_s[at] || 0) + (line.model_s[at] || 0) + (line.grader_s[at] || 0);
  if (took >= 0.05) parts.push(seconds(took));
  if (line.money[at]) parts.push(`${money(line.money[at])} so far`);
  return parts.join(" · ");
}

// What the signs mean, of those that this episode has.
function legendParts(line) {
  const bars = new Set(line.tool.map(barKind));
  const marks = new Set(line.n.flatMap((_, at) => stepMarks(line, at)));
  const sign = (shape) => s("svg", { width: 10, height: 10, viewBox: "-5 -5 10 10", "aria-hidden": "true" }, shape);
  const square = (name) => sign(s("rect", { class: `bar ${name}`, x: -4, y: -4, width: 8, height: 8 }));
  const mark = (name) => sign(s("path", { class: `line-mark ${name}`, d: shapes[name] }));
  return [
    ...Object.keys(barWords)
      .filter((name) => bars.has(name))
      .map((name) => [square(name), barWords[name]]),
    ...Object.keys(shapes)
      .filter((name) => marks.has(name))
      .map((name) => [mark(name), shapeWords[name]]),
  ].map((parts) => h("span", { class: "legend" }, ...parts));
}
