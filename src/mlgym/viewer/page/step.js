// One step as people read it: number, what was done, thought, action, observation, and its figures in the margin.
import { h, beats, money, number, seconds } from "./dom.js";
import { get } from "./source.js";
import { asShown, pageLetters, shownNode } from "./shown.js";

export const hitWords = {
  __proto__: null, // a record may name anything, `constructor` too
  oom: "out of memory",
  disk: "disk full",
  processes: "too many processes",
  output: "output cut",
  timeout: "time limit",
};
export const statusWords = { error: "error", timeout: "timed out", format: "not understood", end: "the end" };

// How a step is told on one line, for lists, marks and titles.
export function stepWords(n, tool, brief) {
  return `Step ${n}: ${brief || tool || "text"}`;
}

// The article of a step. `show` has key, doc, link(params) and numbers of the episode, `column` where several stand
// beside each other; `joined` says that it belongs to the reply of the step before.
export function stepNode(card, show, joined = false) {
  const id = `${show.column ?? ""}step-${card.n}`;
  const title = h(
    "h3",
    { id: `${id}-h` },
    h(
      "a",
      { class: "step-n", href: show.link({ step: card.n }), title: "Link to this step" },
      h("span", { class: "unseen" }, "Step "),
      String(card.n),
    ),
    ...titleParts(card),
    joined ? h("span", { class: "quiet" }, " · in the same reply") : null,
  );
  const props = { class: joined ? "step joined" : "step", id, "data-step": card.n, tabindex: "-1" };
  Object.assign(props, { "data-tool": card.tool, "data-status": card.status, "aria-labelledby": `${id}-h` });
  const body = [thoughtNode(card, show), fieldNode(card, "action", show), outcomeNode(card, show)];
  const head = h("header", { class: "step-head" }, title, chipsNode(card));
  return h("article", props, head, marginNode(card, show), h("div", { class: "step-body" }, ...body));
}

// The tool and what it did; where the action says the same in one line, only for those who listen to headings.
function titleParts({ tool, brief, action }) {
  const name = tool || "text";
  const rest = brief === name ? "" : brief.startsWith(`${name} `) ? brief.slice(name.length + 1) : brief;
  const again = action?.lines === 1 && action.size === [...brief].length && !action.hunks;
  return [
    h("span", { class: "tool" }, name),
    " ",
    rest ? h("span", { class: again ? "unseen" : "brief" }, rest) : null,
  ];
}

function chipsNode(card) {
  const chips = [];
  if (statusWords[card.status]) {
    chips.push(h("span", { class: card.status === "end" ? "chip" : "chip bad" }, statusWords[card.status]));
  }
  if (card.hit && card.hit !== card.status)
    chips.push(h("span", { class: "chip warn" }, hitWords[card.hit] || card.hit));
  for (const mark of namedMarks(card.marks)) chips.push(h("span", { class: "chip saved" }, markWords(mark)));
  return chips.length ? h("p", { class: "chips" }, ...chips) : null;
}

// What was done with named checkpoints: saved, and gone back to another than was saved just now.
export function namedMarks(marks) {
  const all = marks || [];
  return all.filter(
    (mark, at) =>
      mark.length > 1 && all.indexOf(mark) === at && !(mark[0] === "-" && all.includes(`+${mark.slice(1)}`)),
  );
}

// One of them in words.
export function markWords(mark) {
  return `${mark[0] === "+" ? "saved" : "back to"} ${mark.slice(1)}`;
}

function thoughtNode(card, show) {
  if (!card.thought?.text) return null;
  return h("div", { class: "thought" }, shownNode(asShown(card.thought), fieldParts(card, "thought", show)));
}

function fieldParts(card, name, show) {
  const more = async () => {
    const whole = (await get(`e/${show.path}/step/${card.n}`))[name];
    return name === "thought" ? asShown(whole) : whole;
  };
  const page = (from) => get(`e/${show.path}/text`, { step: card.n, field: name, from, count: pageLetters });
  return { name, more, page };
}

function fieldNode(card, name, show) {
  const shown = card[name];
  if (!shown || (!shown.size && !shown.hunks && !shown.title)) return null;
  const failed = name === "observation" && card.status !== "ok" && card.status !== "end";
  return h("div", { class: name }, shownNode(shown, { ...fieldParts(card, name, show), failed }));
}

// The observation, or the scores where it was a grading that they tell better.
function outcomeNode(card, show) {
  const attempt = show.attempt(card.attempt);
  const seen = fieldNode(card, "observation", show);
  if (attempt && (attempt.validation || attempt.test)) return scoresNode(attempt, show);
  return seen || (attempt && !attempt.valid ? h("p", { class: "invalid" }, attempt.why) : null);
}

// Whether the agent was shown test scores, as the original's protocol has it.
function testWords(doc) {
  return doc.spec.feedback === "test" ? " (shown to the agent)" : " (the agent never saw it)";
}

// A small table of what a grading gave, against the best so far and the baseline.
function scoresNode(attempt, show) {
  const { doc } = show;
  const head = h(
    "tr",
    {},
    ...["", doc.metric || "score", "to the best before", "to the baseline"].map((word) =>
      word ? h("th", { scope: "col" }, word) : h("td"),
    ),
  );
  const rows = ["validation", "test"]
    .filter((split) => attempt[split])
    .map((split) => {
      const score = attempt[split][doc.metric];
      const before = show.bestBefore(attempt, split);
      return h(
        "tr",
        { class: split },
        h("th", { scope: "row" }, split, split === "test" ? testWords(doc) : ""),
        h("td", { class: "score" }, number(score)),
        differenceCell(score, before, doc),
        differenceCell(score, doc.baseline?.[split], doc),
      );
    });
  const flags = [attempt.best ? "best attempt" : "", attempt.counted ? "this one counts" : ""].filter(Boolean);
  const words = flags.map((flag) => h("span", { class: "chip good" }, flag));
  return h(
    "div",
    { class: "scores" },
    h("table", { "aria-label": `Scores of attempt ${attempt.n}` }, h("thead", {}, head), h("tbody", {}, ...rows)),
    words.length ? h("p", { class: "chips" }, ...words) : null,
  );
}

// A cell with the difference of two scores, and in a word whether it is better.
export function differenceCell(score, other, doc) {
  if (score == null || other == null) return h("td", { class: "unknown" }, "–");
  const gap = score - other;
  const look = gap === 0 ? "equal" : beats(score, other, doc.direction) ? "better" : "worse";
  const sign = gap > 0 ? "+" : gap < 0 ? "−" : "±";
  return h("td", { class: look }, `${sign}${number(Math.abs(gap))} `, h("span", { class: "word" }, look));
}

// Figures in the margin: clocks, money, the model's calls, and the files that the step changed.
function marginNode(card, show) {
  const clocks = [
    ["command", card.command_s],
    ["model", card.model_s],
    ["grading", card.grader_s],
  ];
  const lines = clocks.filter(([, time]) => time >= 0.05).map(([word, time]) => `${seconds(time)} ${word}`);
  const paid = show.paid(card.n);
  if (paid) lines.push(money(paid));
  const parts = lines.map((line) => h("span", {}, line));
  if (card.calls && show.doc.calls) {
    const [first, last] = card.calls;
    const words = first === last ? `call ${first}` : `calls ${first}–${last}`;
    parts.push(h("a", { href: show.link({ step: card.n, tab: "calls", call: first }) }, words));
  }
  const files = (card.changed || []).map((file) => changedNode(file, card, show));
  return h(
    "div",
    { class: "margin" },
    h("p", { class: "clocks" }, ...parts),
    files.length ? h("p", { class: "changed" }, ...files) : null,
  );
}

const changeWords = { added: "new", modified: "changed", removed: "removed" };

function changedNode(file, card, show) {
  const counts = file.plus == null ? "" : ` +${file.plus} −${file.minus ?? 0}`;
  const to = show.link({ step: card.n, tab: "files", path: file.path, against: "previous" });
  const label = `${file.path}, ${changeWords[file.change] || file.change}${counts}: look at it at step ${card.n}`;
  return h(
    "a",
    { class: `chip file ${file.change}`, href: to, "aria-label": label },
    h("span", { class: "path" }, file.path),
    h("span", { class: "count" }, counts || ` ${changeWords[file.change] || ""}`),
  );
}
