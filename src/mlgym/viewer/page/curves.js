// Line charts: curves labelled at their ends, values read by pointer or arrow keys, the same numbers as a table.
import { h, s, clear, number } from "./dom.js";

const CURVE_HEIGHT = 300;
const CURVE_NAME = 170; // pixels that a name at a curve's end may take
const CURVE_DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2", "1 4"];
const CURVE_MARKS = ["circle", "square", "diamond", "triangle", "cross", "ring"];

// A figure of step curves: [{name, mark: 1 to 6, points: [{x, y, better}]}], with `levels` [{name, y}] as lines.
export function curveChart({ title, curves, levels, xName, show, showX = number, whole = false }) {
  const node = h("figure", { class: "curves" });
  const xs = [...new Set(curves.flatMap((curve) => curve.points.map((point) => point.x)))].sort((a, b) => a - b);
  if (!xs.length) {
    node.append(h("p", { class: "quiet" }, "There is nothing to draw: no attempt has a score here."));
    return node;
  }
  const plate = h("div", {
    class: "plate", role: "slider", tabindex: "0", "aria-label": `${title}. Arrow keys read the values.`,
    "aria-valuemin": xs[0], "aria-valuemax": xs.at(-1),
  });
  const readout = h("p", { class: "readout" });
  const state = { at: xs.at(-1), scale: null, needle: null };
  const read = (x) => {
    state.at = x;
    const values = curves.map((curve) => ({ curve, y: valueAt(curve.points, x) }));
    clear(readout);
    const where = h("span", { class: "where" }, `${xName} ${showX(x)}`);
    readout.append(where, ...values.map((each) => curveValue(each, show)));
    const said = values.map(({ curve, y }) => `${curve.name}: ${y === null ? "nothing yet" : show(y)}`).join("; ");
    plate.setAttribute("aria-valuenow", x);
    plate.setAttribute("aria-valuetext", `${xName} ${showX(x)}: ${said}`);
    if (state.needle) moveNeedle(state, x);
  };
  const draw = () => {
    const width = Math.max(node.clientWidth, 280);
    state.scale = curveScale(width, curves, levels);
    state.needle = s("line", { class: "needle", y1: state.scale.top, y2: state.scale.bottom });
    clear(plate);
    plate.append(curvePicture(state, { curves, levels, xName, show, showX, width, whole }));
    moveNeedle(state, state.at);
  };
  plate.addEventListener("keydown", (event) => {
    const to = arrowTo(event.key, xs, state.at);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    read(to);
  });
  plate.addEventListener("pointermove", (event) => {
    const x = event.clientX - plate.getBoundingClientRect().left;
    read(Math.min(Math.max(state.scale.backX(x), xs[0]), xs.at(-1)));
  });
  node.append(h("figcaption", { text: title }), plate, readout, curveTable({ title, curves, xName, show, showX }));
  new ResizeObserver(draw).observe(node);
  read(xs.at(-1));
  return node;
}

function curveValue({ curve, y }, show) {
  return h("span", { class: "value" }, markOf(curve.mark), ` ${curve.name} `, h("b", {}, y === null ? "–" : show(y)));
}

// The number of an episode in its own colour, as it stands at its curve, head and column.
export function markOf(mark) {
  return h("span", { class: `badge line${mark}` }, String(mark));
}

function valueAt(points, x) {
  return points.findLast((point) => point.x <= x)?.y ?? null;
}

function arrowTo(key, xs, at) {
  const next = {
    ArrowRight: () => xs.find((x) => x > at),
    ArrowLeft: () => xs.findLast((x) => x < at),
    Home: () => xs[0],
    End: () => xs.at(-1),
  }[key];
  return next && (next() ?? at);
}

function moveNeedle({ scale, needle }, x) {
  needle.setAttribute("x1", scale.x(x));
  needle.setAttribute("x2", scale.x(x));
}

function curveScale(width, curves, levels) {
  const ys = [...curves.flatMap((curve) => curve.points.map((point) => point.y)), ...levels.map((level) => level.y)];
  const all = curves.flatMap((curve) => curve.points.map((point) => point.x));
  const high = Math.max(...all);
  let [low, top] = [Math.min(...ys), Math.max(...ys)];
  const pad = (top / 8 - low / 8 || Math.abs(top) / 8 || 1 / 8) * 0.64;
  [low, top] = [Math.max(low - pad, -Number.MAX_VALUE), Math.min(top + pad, Number.MAX_VALUE)];
  const frame = { left: 58, right: width - (width < 560 ? 30 : CURVE_NAME), top: 14, bottom: CURVE_HEIGHT - 40 };
  const span = high || 1;
  return {
    ...frame, low, high: top, end: span, narrow: width < 560,
    x: (x) => frame.left + ((frame.right - frame.left) * x) / span,
    y: (y) => frame.bottom - ((frame.bottom - frame.top) * (y / 8 - low / 8)) / (top / 8 - low / 8),
    backX: (pixel) => ((pixel - frame.left) / (frame.right - frame.left)) * span,
  };
}

// Round numbers within [low, high], some `count` of them.
function ticksOf(low, high, count) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5].find((each) => each * unit >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const many = Math.floor(high / step) - first + 1;
  return Array.from({ length: Math.max(many, 0) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function curvePicture({ scale, needle }, { curves, levels, xName, show, showX, width, whole }) {
  return s(
    "svg", { viewBox: `0 0 ${width} ${CURVE_HEIGHT}`, width, height: CURVE_HEIGHT, "aria-hidden": "true" },
    ...ticksOf(scale.low, scale.high, 4).flatMap((y) => [
      s("line", { class: "grid", x1: scale.left, x2: scale.right, y1: scale.y(y), y2: scale.y(y) }),
      s("text", { class: "tick", x: scale.left - 8, y: scale.y(y) + 4, "text-anchor": "end" }, show(y)),
    ]),
    ...ticksOf(0, scale.end, scale.narrow ? 4 : 8).filter((x) => !whole || Number.isInteger(x)).map((x) =>
      s("text", { class: "tick", x: scale.x(x), y: scale.bottom + 17, "text-anchor": "middle" }, showX(x)),
    ),
    s("text", { class: "axis", x: scale.right, y: CURVE_HEIGHT - 5, "text-anchor": "end" }, xName),
    ...levels.map((level) => levelLine(level, scale)),
    needle,
    ...curves.map((curve) => curveLine(curve, scale)),
    ...curveEnds(curves, levels, scale, show),
  );
}

function levelLine({ y }, scale) {
  return s("line", { class: "level", x1: scale.left, x2: scale.right, y1: scale.y(y), y2: scale.y(y) });
}

function curveLine({ mark, points }, scale) {
  if (!points.length) return s("g", {});
  const [first, ...rest] = points;
  const path = [`M${scale.x(first.x)} ${scale.y(first.y)}`, ...rest.map((p) => `H${scale.x(p.x)}V${scale.y(p.y)}`)];
  const dash = CURVE_DASHES[mark - 1] ? { "stroke-dasharray": CURVE_DASHES[mark - 1] } : {};
  return s(
    "g", { class: `line${mark}` },
    s("path", { class: "curve", d: path.join(""), ...dash }),
    ...points.filter((point) => point.better).map((point) => curveMark(mark, scale.x(point.x), scale.y(point.y))),
  );
}

function curveMark(mark, x, y) {
  const shapes = {
    circle: () => s("circle", { class: "point", cx: x, cy: y, r: 4 }),
    ring: () => s("circle", { class: "point open", cx: x, cy: y, r: 4 }),
    square: () => s("rect", { class: "point", x: x - 3.5, y: y - 3.5, width: 7, height: 7 }),
    diamond: () => s("path", { class: "point", d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z` }),
    triangle: () => s("path", { class: "point", d: `M${x} ${y - 5}l5 9h-10z` }),
    cross: () => s("path", { class: "point open", d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` }),
  };
  return shapes[CURVE_MARKS[mark - 1]]();
}

// The names of curves and levels where they end, moved apart where they would meet. A curve that ends early has its
// name above its last stretch.
function curveEnds(curves, levels, scale, show) {
  const own = curves.filter((curve) => curve.points.length).map(({ mark, name, points }) => {
    const [x, y] = [scale.x(points.at(-1).x), scale.y(points.at(-1).y)];
    const above = !scale.narrow && x < scale.right - 8 && x > scale.left + CURVE_NAME;
    const words = scale.narrow ? String(mark) : `${mark} ${name}`;
    return { look: `end line${mark}`, words, above, x: above ? x - CURVE_NAME : x, y: above ? y - 12 : y };
  });
  if (scale.narrow) return [...levels.map((level) => levelName(level, scale, show)), ...apart(own, scale).map(endName)];
  const place = (y) => ({ look: "end", x: scale.right, y: scale.y(y) });
  const flat = levels.map(({ name, y }) => ({ ...place(y), words: `${name} ${show(y)}` }));
  return apart([...own, ...flat], scale).map(endName);
}

function apart(ends, scale) {
  const sorted = ends.sort((a, b) => a.y - b.y);
  sorted.forEach((end, i) => {
    const near = sorted.slice(0, i).filter((other) => Math.abs(other.x - end.x) < CURVE_NAME);
    end.y = Math.max(end.y, scale.top, ...near.map((other) => other.y + 17));
  });
  const over = Math.max(...sorted.map((end) => end.y)) - scale.bottom;
  if (over > 0) for (const end of sorted) end.y -= over;
  return sorted;
}

function endName({ look, words, above, x, y }) {
  const place = above ? { x: x + CURVE_NAME, "text-anchor": "end" } : { x: x + 9 };
  return s("text", { class: look, y: y + 4, ...place }, words.length > 24 ? `${words.slice(0, 23)}…` : words);
}

function levelName({ name, y }, scale, show) {
  return s("text", { class: "end", x: scale.right, y: scale.y(y) - 4, "text-anchor": "end" }, `${name} ${show(y)}`);
}

function curveTable({ title, curves, xName, show, showX }) {
  const turns = curves.flatMap((curve) => curve.points.filter((point) => point.better).map((point) => point.x));
  const row = (x) => {
    const values = curves.map((curve) => valueAt(curve.points, x));
    const cells = values.map((y) => h("td", { class: "num" }, y === null ? "–" : show(y)));
    return h("tr", {}, h("th", { scope: "row" }, showX(x)), ...cells);
  };
  const names = [xName, ...curves.map((curve) => curve.name)].map((name) => h("th", { scope: "col" }, name));
  const rows = [...new Set(turns)].sort((a, b) => a - b).map(row);
  const caption = h("caption", { class: "unseen", text: title });
  const table = h("table", {}, caption, h("thead", {}, h("tr", {}, ...names)), h("tbody", {}, ...rows));
  const word = h("summary", { text: "The same as a table" });
  return h("details", { class: "fold numbers" }, word, h("div", { class: "table" }, table));
}
