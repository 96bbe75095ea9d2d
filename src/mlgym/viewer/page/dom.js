// Nodes without HTML as text, and figures as people read them.

const SVG = "http://www.w3.org/2000/svg";
const LOCAL = /^(#|blob:)/;
const READ = /^(title|placeholder|aria-.*)$/;
const PROPERTIES = new Set(["value", "checked", "indeterminate", "disabled", "hidden", "open"]);

// An element: `class`, `text`, `css` (custom properties and styles), `onclick` and so on, everything else an attribute.
export function h(tag, props, ...children) {
  return furnish(document.createElement(tag), props, children);
}

// The same for SVG.
export function s(tag, props, ...children) {
  return furnish(document.createElementNS(SVG, tag), props, children);
}

function furnish(node, props, children) {
  const given = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...given.map((child) => (typeof child === "string" ? visible(child) : child)));
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value !== null && value !== undefined) attribute(node, name, value);
  }
  return node;
}

function attribute(node, name, value) {
  if (name === "text") node.textContent = visible(value);
  else if (name === "css") Object.entries(value).forEach(([key, text]) => node.style.setProperty(key, text));
  else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "style" || (name === "href" && !LOCAL.test(value))) throw new Error(`${name} is not for pages`);
  else if (PROPERTIES.has(name) && name in node) node[name] = value;
  else if (READ.test(name)) node.setAttribute(name, visible(value));
  else if (value !== false) node.setAttribute(name, value === true ? "" : value);
}

// Take everything out of a node, and give it back.
export function clear(node) {
  node.replaceChildren();
  return node;
}

// A score or a count; "–" where it is not known.
export function number(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e15) return minus(x.toLocaleString("en"));
  if (size >= 1e7 || size < 1e-4) return minus(x.toExponential(2));
  if (size >= 1000) return minus(x.toLocaleString("en", { maximumFractionDigits: 1 }));
  const places = size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : size >= 0.1 ? 4 : 5;
  return minus(x.toFixed(places));
}

// A progress, with its sign and two places.
export function signed(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  const text = minus(x.toFixed(2));
  return x > 0 && text !== "0.00" ? `+${text}` : text.replace("−0.00", "0.00");
}

// Whether a score is better than another, by the task's direction.
export function beats(a, b, direction) {
  return direction === "minimize" ? a < b : a > b;
}

// A large count, short: 12.3k, 4.1M, 1.2B.
export function count(x) {
  if (x === null || x === undefined) return "–";
  for (const [unit, letter] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (x >= unit) return `${(x / unit).toFixed(x < 100 * unit ? 1 : 0)}${letter}`;
  }
  return String(Math.round(x));
}

// Dollars.
export function money(x) {
  if (x === null || x === undefined) return "–";
  if (x > 0 && x < 0.01) return `$${x.toPrecision(1)}`;
  return `$${x.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

// A duration in its two largest units.
export function seconds(x) {
  if (x === null || x === undefined) return "–";
  if (x < 9.95) return `${x < 0.05 ? x.toFixed(2) : x.toFixed(1)} s`;
  if (x < 60) return `${Math.round(x)} s`;
  if (x < 3600) return units(x, 60, "min", 1, "s");
  if (x < 86400) return units(x, 3600, "h", 60, "min");
  return units(x, 86400, "d", 3600, "h");
}

function units(x, large, word, small, next) {
  const rest = Math.floor((x % large) / small);
  return `${Math.floor(x / large)} ${word}${rest ? ` ${rest} ${next}` : ""}`;
}

// How long ago a moment (epoch seconds) was; a date where that is more than a week.
export function ago(t) {
  if (t === null || t === undefined) return "–";
  const past = Date.now() / 1000 - t;
  if (past < 5) return "now";
  if (past < 60) return `${Math.floor(past)} s ago`;
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  if (past < 604800) return `${Math.floor(past / 86400)} d ago`;
  return moment(t).slice(0, 10);
}

// A moment as date and time of this machine's clock.
export function moment(t) {
  if (t === null || t === undefined) return "–";
  const date = new Date(t * 1000);
  const two = (part) => String(part).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

// A moment as the time since then, which the shell keeps up to date.
export function when(t) {
  return h("time", { title: moment(t), "data-since": t ?? "", text: ago(t) });
}

// "1 episode", "2 episodes".
export function plural(n, one, many = `${one}s`) {
  return `${n === null || n === undefined ? "–" : n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

const COLOURS = /\x1b\[[0-9;:]*m/g;
const UNSEEN =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

// Text with its unseen characters shown; colours of terminals are taken out.
export function visible(text) {
  return String(text).replace(COLOURS, "").replace(/\r\n/g, "\n").replace(UNSEEN, shownCharacter);
}

function shownCharacter(letter) {
  const code = letter.codePointAt(0);
  if (code < 32) return String.fromCodePoint(0x2400 + code);
  return code === 127 ? "␡" : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

function minus(text) {
  return text.replace("-", "−");
}
