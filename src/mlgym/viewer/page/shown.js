// Renders what an agent wrote and got back: highlighted code, differences, text; long ones folded, quiet ones closed.
import { h, clear, number, plural } from "./dom.js";
import { bundled } from "./source.js";

const foldHead = { action: 30, observation: 12, thought: 24 };
const foldTail = { action: 0, observation: 6, thought: 0 };
const inlineLines = 5;
const stretchLines = 100;
const rowLetters = 110;
export const headLetters = 4000; // of a text at first, of one that is unfolded, and of each page beyond
const wholeLetters = 200000;
export const pageLetters = 100000;

// Highlighted lines as the children of one code block; `first` numbers them from that one on.
export function spansNode(spans, { first = 0, label = "" } = {}) {
  const lines = spans.map((line, at) =>
    h("span", { class: "line", "data-line": first ? first + at : null }, ...spanParts(line), "\n"),
  );
  const props = { class: first ? "code numbered" : "code" };
  if (label) Object.assign(props, { "aria-label": label, role: "region", tabindex: "0" });
  return h("pre", props, h("code", {}, ...(lines.length > 3 * stretchLines ? stretches(lines) : lines)));
}

// Very many lines in stretches that are laid out when they come into sight.
function stretches(lines) {
  const parts = [];
  for (let at = 0; at < lines.length; at += stretchLines) {
    const some = lines.slice(at, at + stretchLines);
    const css = { "contain-intrinsic-block-size": `auto ${1.5 * some.length}em` };
    parts.push(h("span", { class: "stretch", css }, ...some));
  }
  return parts;
}

function spanParts(line) {
  return line.map(([kind, text]) => (kind ? h("span", { class: kind }, text) : text));
}

// How many lines a difference adds and removes.
export function hunkCounts(hunks) {
  let plus = 0;
  let minus = 0;
  for (const hunk of hunks) {
    for (const [sign] of hunk.lines) {
      if (sign === "+") plus += 1;
      if (sign === "-") minus += 1;
    }
  }
  return { plus, minus };
}

// A difference: one column, signs as text, the lines in ins and del, so that it is told without colour too.
export function hunksNode(hunks, { title = "" } = {}) {
  const { plus, minus } = hunkCounts(hunks);
  const label = `Difference${title ? ` of ${title}` : ""}: ${plus} added, ${minus} removed`;
  const parts = hunks.map((hunk, at) => hunkNode(hunk, at));
  return h("div", { class: "diff", role: "group", "aria-label": label }, ...parts);
}

const hunkLook = { "+": ["ins", "row plus", "+"], "-": ["del", "row minus", "−"], "=": ["div", "row", " "] };

function hunkNode(hunk, at) {
  const rows = hunk.lines.map(([sign, before, after, line]) => {
    const [tag, look, mark] = hunkLook[sign];
    const places = [before, after].map((place) =>
      h("span", { class: "place", "aria-hidden": "true" }, String(place ?? "")),
    );
    return h(
      tag,
      { class: look },
      ...places,
      h("span", { class: "sign" }, mark),
      h("code", {}, ...spanParts(line), "\n"),
    );
  });
  return h("div", { class: "hunk" }, at ? h("div", { class: "gap" }, `⋯ from line ${hunk.new}`) : null, ...rows);
}

function plainNode(text, name) {
  return h(name === "thought" ? "div" : "pre", { class: name === "thought" ? "prose" : "plain" }, text);
}

// A Text as a Shown; the document gives its first `most` letters.
export function asShown(text, most = headLetters) {
  const folded = text.size > most;
  const here = folded ? text : { ...text, text: text.text.trimEnd() };
  return { kind: "text", text: here, spans: null, hunks: null, size: text.size, lines: text.lines, folded };
}

// One Shown: `name` is its field, `more()` fetches all of it, `page(from)` what lies beyond its first `whole` letters.
export function shownNode(shown, { name, more, page, whole, failed = false }) {
  const node = h("div", { class: `shown ${shown.kind}`, "data-kind": shown.kind, "data-field": name });
  if (failed) node.classList.add("failed");
  const body = h("div", { class: "shown-body" });
  const parts = { name, more, page, whole };
  if (shown.kind === "traceback") node.append(h("p", { class: "traceback-last" }, tracebackLast(shown)));
  if ((shown.quiet && shown.lines > 1) || (shown.kind === "traceback" && shown.lines > inlineLines)) {
    node.append(closedNode(shown, body, parts));
    return node;
  }
  if (shown.title && titledKinds.has(shown.kind)) node.append(h("p", { class: "shown-title" }, titleWords(shown)));
  fillShown(body, shown, parts);
  node.append(body);
  return node;
}

const titledKinds = new Set(["edit", "insert", "create", "view", "window", "diff"]);

function titleWords(shown) {
  if (!shown.hunks) return shown.title;
  const { plus, minus } = hunkCounts(shown.hunks);
  return h("span", {}, shown.title, " ", h("span", { class: "quiet" }, `+${plus} −${minus}`));
}

function tracebackLast(shown) {
  return (
    shown.title ||
    shownText(shown)
      .split("\n")
      .findLast((line) => line.trim()) ||
    ""
  );
}

function shownText(shown) {
  if (shown.text) return shown.text.text;
  return (shown.spans || []).map((line) => line.map((part) => part[1]).join("")).join("\n");
}

// A quiet one is a line that opens; what is inside is made, or fetched, when it does.
function closedNode(shown, body, parts) {
  const words = shown.kind === "traceback" ? "the whole traceback" : shown.title || firstWords(shown) || parts.name;
  const line = h(
    "details",
    { class: "quietly" },
    h(
      "summary",
      {},
      words,
      /\d lines?\b|lines \d/.test(words) ? null : h("span", { class: "count" }, plural(shown.lines, "line")),
    ),
    body,
  );
  line.addEventListener("toggle", () => {
    if (!line.open || body.firstChild) return;
    fillShown(body, shown, parts);
    if (shown.folded) unfold(body, shown, parts);
  });
  return line;
}

function firstWords(shown) {
  const line = shownText(shown).split("\n").find((each) => each.trim()) || "";
  return line.length > 90 ? `${line.slice(0, 89)}…` : line;
}

// The body: whole, or its ends with a button between or below that says how much is hidden.
function fillShown(body, shown, parts, whole = null) {
  clear(body);
  const now = whole || shown;
  const { head, tail, folded } = whole
    ? { head: bodyLines(whole), tail: [], folded: false }
    : shownEnds(shown, parts.name);
  body.append(
    now.hunks ? hunksNode(now.hunks, { title: now.title }) : linesNode(head, now, parts.name, now.first || 0),
  );
  if (whole) body.append(unfoldedEnd(body, shown, whole, parts));
  if (!folded) return;
  const hidden = now.hunks ? 0 : Math.max(shown.lines - head.length - tail.length, 0);
  const letters = shown.size - lineLetters([...head, ...tail]);
  body.append(unfoldButton(hidden, letters, shown, () => unfold(body, shown, parts)));
  if (tail.length) body.append(linesNode(tail, now, parts.name, now.first ? now.first + shown.lines - tail.length : 0));
}

function bodyLines(shown) {
  return shown.hunks ? [] : shown.spans || shownText(shown).split("\n");
}

// What stands open of one that is not unfolded: the ends that the document gives, or those of one that is rather long.
function shownEnds(shown, name) {
  const lines = bodyLines(shown);
  const most = foldHead[name] || foldHead.observation;
  const last = foldTail[name] || 0;
  if (shown.folded) {
    const tail = shown.hunks ? [] : shown.tail || [];
    return { head: tail.length ? lines : firstRows(lines, most + last), tail, folded: true };
  }
  if (rowsOf(lines) <= most + last + inlineLines) return { head: lines, tail: [], folded: false };
  const head = firstRows(lines, most);
  const rest = lines.slice(head.length);
  const tail = last ? rest.slice(rest.length - fitting([...rest].reverse(), last)) : [];
  return { head, tail, folded: rest.length > tail.length || head[0] !== lines[0] };
}

// The first lines that fit; of a single one that is too long, its beginning.
function firstRows(lines, rows) {
  const first = lines.slice(0, fitting(lines, rows));
  return first.length === 1 && typeof first[0] === "string" ? [first[0].slice(0, rows * rowLetters)] : first;
}

// How many rows lines take when they are wrapped, and how many lines fit into so many rows (one at least).
function rowsOf(lines) {
  return lines.reduce((sum, line) => sum + lineRows(line), 0);
}

function lineRows(line) {
  return Math.max(1, Math.ceil(lineLetters([line]) / rowLetters));
}

function lineLetters(lines) {
  const size = (line) => (Array.isArray(line) ? line.reduce((sum, part) => sum + part[1].length, 0) : line.length);
  return lines.reduce((sum, line) => sum + size(line) + 1, -1);
}

function fitting(lines, rows) {
  let left = rows;
  const over = lines.findIndex((line) => (left -= lineRows(line)) < 0);
  return Math.max(over < 0 ? lines.length : over, 1);
}

// Lines as code where they have classes, as text else; the last lines of a text come as lines with classes too.
function linesNode(lines, shown, name, first) {
  if (shown.spans) return spansNode(lines, { first });
  return plainNode(
    lines.map((line) => (Array.isArray(line) ? line.map((part) => part[1]).join("") : line)).join("\n"),
    name,
  );
}

function unfoldButton(lines, letters, shown, act) {
  let words = shown.hunks ? `show all ${plural(shown.lines, "line")}` : "show all of it";
  if (lines > 0) words = `show ${plural(lines, "more line")}`;
  else if (letters > 0 && !shown.hunks) words = `show ${plural(letters, "more character")}`;
  return h("button", { type: "button", class: "unfold", "aria-expanded": "false", onclick: act }, words);
}

async function unfold(body, shown, parts) {
  const button = body.querySelector(".unfold");
  const focused = button !== null && document.activeElement === button;
  button?.setAttribute("aria-busy", "true");
  try {
    const whole = shown.folded && parts.more ? await parts.more() : shown;
    fillShown(body, shown, parts, whole);
    if (focused) body.querySelector(".refold")?.focus({ preventScroll: true });
  } catch (problem) {
    if (button) button.textContent = `${problem.message} Try again`;
    button?.removeAttribute("aria-busy");
  }
}

// Below what was unfolded: the next page where even that is not all, and the way back.
function unfoldedEnd(body, shown, whole, parts) {
  let at = bundled ? [...shownText(whole)].length : (parts.whole ?? wholeLetters);
  const refold = (event) => {
    const focused = document.activeElement === event.target;
    fillShown(body, shown, parts);
    if (focused) body.querySelector(".unfold")?.focus({ preventScroll: true });
  };
  const back = h("button", { type: "button", class: "refold", "aria-expanded": "true", onclick: refold }, "show less");
  const foot = h("p", { class: "fold-foot" }, back);
  if (!parts.page || whole.hunks || at >= whole.size) return foot;
  const next = h("button", { type: "button", class: "further" }, nextWords(at, whole.size));
  next.addEventListener("click", async () => {
    const piece = await parts.page(at).catch((problem) => problem);
    if (piece instanceof Error) return void (next.textContent = `${piece.message} Try again`);
    at = piece.from + pageLetters;
    if (piece.text) foot.before(h("pre", { class: "plain" }, piece.text));
    next.textContent = nextWords(at, piece.size);
    if (!piece.text) next.replaceWith(h("span", { class: "quiet" }, "The rest was left out of this page."));
    else if (at >= piece.size) next.remove();
    return undefined;
  });
  foot.prepend(next);
  return foot;
}

function nextWords(at, size) {
  return `show the next ${number(Math.min(pageLetters, size - at))} of ${number(size)} characters`;
}

// Opens everything that is folded under `node`.
export function unfoldAll(node) {
  for (const line of node.querySelectorAll("details.quietly")) line.open = true;
  for (const button of node.querySelectorAll(".unfold[aria-expanded=false]")) button.click();
}

// Folds what was opened under `node`.
export function foldAll(node) {
  for (const line of node.querySelectorAll("details.quietly")) line.open = false;
  for (const button of node.querySelectorAll(".refold")) button.click();
}
