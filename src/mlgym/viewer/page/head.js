// The head of an episode: task, method, how it went in words, how it ended, what it used, and where to go from here.
import { h, beats, money, number, plural, seconds, signed } from "./dom.js";
import { href } from "./address.js";
import { gradingMargin } from "./contest.js";

const stateWords = { done: "ended", missing: "not scored" };
const stateLook = { done: "good", failed: "bad", running: "on", missing: "warn", stopped: "warn", cancelled: "warn" };

// How an episode ended, in other words than the record's where those say little.
export const endedWords = {
  __proto__: null, // a record may name anything, `constructor` too
  gave_up: "gave up",
  steps: "ran out of steps",
  money: "ran out of money",
  tokens: "ran out of tokens",
  context: "ran out of context",
  time: "ran out of time",
  error: "ended by an error",
};

// The head; `ways` is the node that holds the links to other episodes (made by `wayNode`).
export function headNode(show, ways) {
  const { doc } = show;
  const crumbs = h(
    "nav",
    { class: "crumbs", "aria-label": "Where this is" },
    h("a", { href: "#/" }, "Runs"),
    h("a", { href: href("run", doc.run) }, doc.run),
    h("a", { href: href("run", doc.run, { task: doc.task }) }, doc.task),
  );
  const state = h(
    "span",
    { class: `chip state ${stateLook[doc.state] || ""}` },
    doc.live ? h("span", { class: "live-dot", "aria-hidden": "true" }) : null,
    stateWords[doc.state] || doc.state,
  );
  return h(
    "header",
    { class: "episode-head" },
    h("div", { class: "head-ways" }, crumbs, ways),
    h("h1", { tabindex: "-1" }, doc.title || doc.task),
    h(
      "p",
      { class: "by" },
      h("strong", {}, doc.method),
      ` · seed ${doc.seed} `,
      state,
      doc.imported ? h("span", { class: "chip" }, "imported") : null,
      doc.result?.oracle ? h("span", { class: "chip warn" }, "oracle") : null,
    ),
    h("p", { class: "verdict" }, ...scoreWords(doc)),
    h("p", { class: "ending" }, endingWords(doc), lastWrong(doc)),
    h(
      "dl",
      { class: "used" },
      ...usedFacts(doc).map(([word, text]) => h("div", {}, h("dt", {}, word), h("dd", {}, text))),
    ),
    ...(doc.problems || []).map((problem) => h("p", { class: "problem", role: "note" }, problem)),
    instructionNode(doc),
  );
}

function instructionNode(doc) {
  if (!doc.instruction?.text) return null;
  const rest = doc.instruction.size - [...doc.instruction.text].length;
  return h(
    "details",
    { class: "fold instruction" },
    h("summary", {}, "What the agent was asked"),
    h("div", { class: "prose" }, doc.instruction.text),
    rest > 0 ? h("p", { class: "quiet" }, `${number(rest)} more characters`) : null,
  );
}

// The score in words, as nodes: what it was, against what, and what that means.
function scoreWords(doc) {
  const { result, metric } = doc;
  const base = doc.baseline || {};
  if (!result) return soFarWords(doc);
  const score = result.final?.[metric];
  if (score == null) return [result.scored ? "No valid score" : "Not scored", known(doc, base.test), "."];
  const strong = h("strong", { class: "score" }, number(score));
  const verdict = h("strong", { class: verdictLook(score, doc) }, verdictWords(score, doc));
  const progress = result.progress == null ? "" : `, progress ${signed(result.progress)}`;
  return [strong, ` ${metric} on test`, known(doc, base.test), ": ", verdict, progress, bestWords(doc, score)];
}

function known(doc, base) {
  const parts = [];
  if (base != null) parts.push(`baseline ${number(base)}`);
  if (doc.best_known != null) parts.push(`best known ${number(doc.best_known)}`);
  return parts.length ? `, ${parts.join(", ")}` : "";
}

function bestWords(doc, score) {
  const best = doc.result.best?.[doc.metric];
  if (best == null || best === score) return "";
  const attempt = doc.attempts.find((each) => each.best);
  return `. Its best attempt had ${number(best)}${attempt ? ` (step ${attempt.step})` : ""}`;
}

function soFarWords(doc) {
  const seen = doc.line.validation.filter((score) => score != null);
  const base = doc.baseline?.validation;
  if (!seen.length) return ["No score yet", known(doc, base), "."];
  const best = doc.direction === "minimize" ? Math.min(...seen) : Math.max(...seen);
  return [
    h("strong", { class: "score" }, number(best)),
    ` ${doc.metric} on validation, the best so far`,
    known(doc, base),
    ".",
  ];
}

function verdictWords(score, doc) {
  const base = doc.baseline?.test;
  const reached = doc.best_known != null && !beats(doc.best_known, score, doc.direction);
  if (reached) return "as good as the best known, or better";
  if (base == null) return "there is no baseline to compare with";
  if (score === base) return "the same as the starter";
  if (Math.abs(score - base) <= gradingMargin([doc])) return "within the noise of the starter";
  return beats(score, base, doc.direction) ? "better than the starter" : "worse than the starter";
}

function verdictLook(score, doc) {
  const base = doc.baseline?.test;
  if (base == null || Math.abs(score - base) <= gradingMargin([doc])) return "";
  return beats(score, base, doc.direction) ? "good" : "bad";
}

function endingWords(doc) {
  const { result } = doc;
  if (!result)
    return doc.live ? `Running, at step ${doc.steps}.` : `${plural(doc.steps, "step")} so far; it has not ended.`;
  const word = endedWords[result.ended] || result.ended;
  const fault = result.boundary ? ` (fault: ${result.boundary})` : "";
  return `It ${word} after ${plural(stepsTaken(doc), "step")}${fault}.${result.why ? ` ${result.why}` : ""}`;
}

// The steps that the agent took: its end is on the page as a step where the agent did not end it itself.
function stepsTaken(doc) {
  return doc.steps - (doc.line.tool.at(-1) === "end" ? 1 : 0);
}

// The way to the last thing that went wrong, where an episode failed or has no score.
function lastWrong({ key, line, result, metric }) {
  if (!result || (!result.boundary && result.final?.[metric] != null)) return null;
  const at = line.status.findLastIndex((status, i) => status !== "ok" && line.tool[i] !== "end");
  if (at < 0) return null;
  const link = h("a", { href: href("e", key, { step: line.n[at] }) }, `step ${line.n[at]}, ${line.brief[at]}`);
  return [" What went wrong last: ", link, "."];
}

// What the episode used of what it had.
function usedFacts(doc) {
  const { limits, line } = doc;
  const cost = doc.result?.cost || {};
  const of = (used, limit, text) => (limit == null ? text(used) : `${text(used)} of ${text(limit)}`);
  const facts = [["steps", of(stepsTaken(doc), limits.steps, number)]];
  const paid = cost.money ?? line.money.at(-1);
  if (paid || limits.money != null) facts.push(["cost", of(paid ?? 0, limits.money, money)]);
  const tokens = cost.tokens_in ? cost.tokens_in + cost.tokens_out : null;
  if (tokens || limits.tokens != null) facts.push(["tokens", of(tokens ?? 0, limits.tokens, number)]);
  const sum = (name) => line[name].reduce((all, part) => all + (part || 0), 0);
  facts.push(["commands", of(cost.command_s ?? sum("command_s"), limits.seconds, seconds)]);
  if (cost.model_s ?? sum("model_s")) facts.push(["model", seconds(cost.model_s ?? sum("model_s"))]);
  if (cost.grader_s ?? sum("grader_s")) facts.push(["grading", seconds(cost.grader_s ?? sum("grader_s"))]);
  return facts;
}

// Links to the neighbours of the same task and method, to the others of the task, and to a comparison.
export function wayNode(show, rows) {
  const { doc } = show;
  const of = rows.filter((row) => row.task === doc.task);
  const same = of.filter((row) => row.method === doc.method).sort((a, b) => a.seed - b.seed);
  const at = same.findIndex((row) => row.key === doc.key);
  const others = of.filter((row) => row.key !== doc.key);
  const rival = others.find((row) => row.seed === doc.seed) || others[0];
  const seed = (row, words, key) =>
    row ? h("a", { href: href("e", row.key), rel: key }, `${words} (seed ${row.seed})`) : null;
  return [
    others.length
      ? h(
          "a",
          { href: href("run", doc.run, { task: doc.task }) },
          `${plural(others.length, "other episode")} of this task`,
        )
      : null,
    rival ? h("a", { href: href("compare", [], { e: [doc.key, rival.key] }) }, "compare") : null,
    seed(same[at - 1], "previous seed", "prev"),
    seed(at >= 0 ? same[at + 1] : null, "next seed", "next"),
  ];
}
