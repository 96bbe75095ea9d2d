// Renders what an agent wrote and got back: highlighted code, differences, text; long ones folded, quiet ones closed.
import { h, clear, number } from "./dom.js";

const foldHead = { action: 24, observation: 10, thought: 24 };
const foldTail = { action: 0, observation: 4, thought: 0 };
const inlineLines = 3;

// Highlighted lines as the children of one code block; `numbered` gives each line its number (by CSS).
export function spansNode(spans, { numbered = false, label = "" } = {}) {
  const lines = spans.map((line) => h("span", { class: "line" }, ...spanParts(line), "\n"));
  const props = { class: numbered ? "code numbered" : "code" };
  if (label) Object.assign(props, { "aria-label": label, role: "region", tabindex: "0" });
  return h("pre", props, h("code", {}, ...lines));
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
    const places = [before, after].map((place) => h("span", { class: "place", "aria-hidden": "true" }, String(place ?? "")));
    return h(tag, { class: look }, ...places, h("span", { class: "sign" }, mark), h("code", {}, ...spanParts(line), "\n"));
  });
  return h("div", { class: "hunk" }, at ? h("div", { class: "gap" }, `⋯ from line ${hunk.new}`) : null, ...rows);
}

// A Text object's lines, or as many of them as are here.
function textLines(text) {
  return text.split("\n");
}

function plainNode(text, name) {
  return h(name === "thought" ? "div" : "pre", { class: name === "thought" ? "prose" : "plain" }, text);
}

// One Shown (or a Text as one): `name` is its field, `more()` fetches the whole Shown, `page(from)` what lies beyond.
export function shownNode(shown, { name, more, page, failed = false }) {
  const node = h("div", { class: `shown ${shown.kind}`, "data-kind": shown.kind, "data-field": name });
  if (shown.kind === "traceback") node.append(tracebackLead(shown));
  const body = h("div", { class: "shown-body" });
  const fill = () => fillShown(body, shown, { name, more, page });
  if (shown.quiet || (shown.kind === "traceback" && shown.lines > 6)) {
    node.append(closedNode(shown, body, fill, name));
    return node;
  }
  if (shown.title && (shown.hunks || shown.kind === "create" || shown.kind === "insert")) {
    node.append(h("p", { class: "shown-title" }, titleWords(shown)));
  }
  fill();
  if (failed) node.classList.add("failed");
  node.append(body);
  return node;
}

function titleWords(shown) {
  if (!shown.hunks) return shown.title;
  const { plus, minus } = hunkCounts(shown.hunks);
  return h("span", {}, shown.title, " ", h("span", { class: "quiet" }, `+${plus} −${minus}`));
}

function tracebackLead(shown) {
  const lines = textLines(shownText(shown)).filter((line) => line.trim());
  const last = shown.folded ? shown.title || lines[0] || "" : lines.at(-1) || shown.title || "";
  return h("p", { class: "traceback-last" }, last);
}

function shownText(shown) {
  if (shown.text) return shown.text.text;
  return (shown.spans || []).map((line) => line.map((part) => part[1]).join("")).join("\n");
}

// A quiet one is a line that opens; what is inside is made when it does.
function closedNode(shown, body, fill, name) {
  const count = `${number(shown.lines)} ${shown.lines === 1 ? "line" : "lines"}`;
  const words = shown.kind === "traceback" ? "whole traceback" : shown.title || firstWords(shown) || name;
  const line = h("details", { class: "quietly" }, h("summary", {}, words, " ", h("span", { class: "count" }, count)), body);
  line.addEventListener("toggle", () => line.open && !body.firstChild && fill());
  return line;
}

function firstWords(shown) {
  const line = textLines(shownText(shown)).find((each) => each.trim()) || "";
  return line.length > 90 ? `${line.slice(0, 89)}…` : line;
}

// The body: whole, or its ends with a button between or below that says how much is hidden.
function fillShown(body, shown, { name, more, page }, open = false) {
  clear(body);
  if (shown.hunks) return fillHunks(body, shown, { name, more, page }, open);
  const lines = shown.spans || textLines(shownText(shown));
  const head = foldHead[name] || foldHead.observation;
  const tail = shown.folded ? 0 : foldTail[name] || 0;
  const long = lines.length > head + tail + inlineLines;
  if (open || !(shown.folded || long)) {
    body.append(linesNode(lines, shown, name));
    if (open) unfoldedEnd(body, shown, { name, more, page });
    return undefined;
  }
  const first = long ? lines.slice(0, head) : lines;
  body.append(linesNode(first, shown, name));
  const hidden = Math.max(shown.lines - first.length - tail, 0);
  body.append(unfoldButton(hidden, shown, () => unfold(body, shown, { name, more, page })));
  if (long && tail) body.append(linesNode(lines.slice(-tail), shown, name));
  return undefined;
}

function linesNode(lines, shown, name) {
  return shown.spans ? spansNode(lines) : plainNode(lines.join("\n"), name);
}

function fillHunks(body, shown, parts, open) {
  body.append(hunksNode(shown.hunks, { title: shown.title }));
  if (!open && shown.folded) body.append(unfoldButton(0, shown, () => unfold(body, shown, parts)));
}

function unfoldButton(hidden, shown, act) {
  const chars = shown.size - shownText(shown).length;
  let words = "show all of it";
  if (hidden > 0) words = `show ${number(hidden)} more ${hidden === 1 ? "line" : "lines"}`;
  else if (chars > 0) words = `show ${number(chars)} more characters`;
  return h("button", { type: "button", class: "unfold", "aria-expanded": "false", onclick: act }, words);
}

async function unfold(body, shown, parts) {
  const button = body.querySelector(".unfold");
  if (button) button.setAttribute("aria-busy", "true");
  try {
    const whole = shown.folded && parts.more ? await parts.more() : shown;
    fillShown(body, whole || shown, parts, true);
    body.querySelector(".refold")?.focus({ preventScroll: true });
  } catch (problem) {
    if (button) button.textContent = `${problem.message} Try again`;
    button?.removeAttribute("aria-busy");
  }
}

// Below what was unfolded: the next page where even that is not all, and the way back.
function unfoldedEnd(body, shown, { name, more, page }) {
  let at = shownText(shown).length;
  const foot = h("p", { class: "fold-foot" });
  const refold = () => {
    fillShown(body, shown.before || shown, { name, more, page });
    body.querySelector(".unfold")?.focus({ preventScroll: true });
  };
  if (page && !shown.hunks && at < shown.size) {
    const next = h("button", { type: "button", class: "unfold" }, nextWords(at, shown.size));
    next.addEventListener("click", async () => {
      const piece = await page(at);
      at = piece.from + [...piece.text].length;
      foot.before(h("pre", { class: "plain" }, piece.text));
      if (at >= piece.size || !piece.text) next.remove();
      else next.textContent = nextWords(at, piece.size);
    });
    foot.append(next);
  }
  foot.append(h("button", { type: "button", class: "refold", "aria-expanded": "true", onclick: refold }, "show less"));
  body.append(foot);
}

function nextWords(at, size) {
  return `show the next ${number(Math.min(100000, size - at))} of ${number(size)} characters`;
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
