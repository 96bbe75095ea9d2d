// The graded attempts of an episode as a table: scores on both splits, which one counts, which was best.
import { h, number, signed } from "./dom.js";
import { differenceCell } from "./step.js";

const kindWords = { validate: "validate", submit: "submit", end: "at the end" };

// The table; it is made anew when the episode has grown.
export function attemptsPanel(show) {
  const { doc } = show;
  if (!doc.attempts.length) return h("p", { class: "nothing" }, "Nothing was graded in this episode.");
  const names = ["attempt", "step", "kind", "validation", "to the baseline", "test", "progress", "which", "files"];
  const head = h(
    "tr",
    {},
    ...names.map((name) => h("th", { scope: "col", class: attemptRight.has(name) ? "num" : "" }, name)),
  );
  const rows = doc.attempts.map((attempt) => attemptRow(attempt, show));
  return h(
    "div",
    { class: "attempts-panel" },
    h("p", { class: "quiet" }, attemptsLead(doc)),
    h(
      "div",
      { class: "table", role: "region", "aria-label": "Attempts", tabindex: "0" },
      h("table", {}, h("caption", { class: "unseen" }, "Attempts"), h("thead", {}, head), h("tbody", {}, ...rows)),
    ),
  );
}

const attemptRight = new Set(["attempt", "step", "validation", "test", "progress"]);

function attemptsLead(doc) {
  const way = doc.direction === "minimize" ? "lower is better" : "higher is better";
  const base = doc.baseline || {};
  const parts = [`${doc.metric}, ${way}`];
  for (const split of ["validation", "test"])
    if (base[split] != null) parts.push(`baseline on ${split} ${number(base[split])}`);
  if (doc.best_known != null) parts.push(`best known ${number(doc.best_known)}`);
  const seen =
    doc.spec.feedback === "test" ? "The agent was shown test scores." : "The agent saw validation scores only.";
  return `${parts.join(" · ")}. ${seen}`;
}

function attemptRow(attempt, show) {
  const { doc } = show;
  const score = (split) => (attempt[split] ? number(attempt[split][doc.metric]) : "–");
  const flags = [
    attempt.counted ? "counts" : "",
    attempt.best ? "best" : "",
    attempt.fallback ? "last valid stands in" : "",
  ];
  const chips = flags.filter(Boolean).map((flag) => h("span", { class: "chip good" }, flag));
  const bar =
    attempt.progress == null
      ? null
      : h("span", {
          class: attempt.progress < 0 ? "part-bar below" : "part-bar",
          css: { "--part": Math.min(Math.abs(attempt.progress), 1) },
        });
  const step =
    attempt.step && attempt.step <= doc.steps
      ? h("a", { href: show.link({ step: attempt.step }) }, String(attempt.step))
      : "–";
  return h(
    "tr",
    { "data-attempt": attempt.n, class: attempt.best || attempt.counted ? "marked" : "" },
    h("th", { scope: "row", class: "num" }, String(attempt.n)),
    h("td", { class: "num" }, step),
    h("td", {}, kindWords[attempt.kind] || attempt.kind, attempt.valid ? null : invalidWords(attempt)),
    h("td", { class: "num" }, score("validation")),
    differenceCell(attempt.validation?.[doc.metric], doc.baseline?.validation, doc),
    h("td", { class: "num" }, score("test")),
    h("td", { class: "num" }, signed(attempt.progress), bar),
    h("td", {}, ...chips),
    h("td", {}, ...attemptFiles(attempt, show)),
  );
}

function invalidWords(attempt) {
  return h("span", { class: "why" }, h("span", { class: "chip bad" }, "invalid"), " ", attempt.why);
}

function attemptFiles(attempt, show) {
  const step = Math.min(attempt.step || show.doc.steps, show.doc.steps);
  const shown = attempt.files
    .slice(0, 4)
    .map((path) =>
      h("a", { class: "chip file", href: show.link({ step, tab: "files", path, against: "starter" }) }, path),
    );
  const rest = attempt.files.length - shown.length;
  return rest > 0 ? [...shown, h("a", { href: show.link({ step, tab: "files" }) }, `and ${rest} more`)] : shown;
}
