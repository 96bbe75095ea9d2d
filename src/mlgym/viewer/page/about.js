// All that is known of how an episode was made: its spec, what it cost, its clocks, isolation, notes and provenance.
import { h, count, money, seconds } from "./dom.js";

// Sections of words and values; what is empty is left out.
export function aboutPanel(show) {
  const { doc } = show;
  const result = doc.result || {};
  const cost = result.cost || {};
  const spent =
    cost.calls == null
      ? {}
      : {
          money: money(cost.money),
          calls: cost.calls,
          "tokens sent": count(cost.tokens_in),
          "of it cached": count(cost.tokens_cached),
          "tokens received": count(cost.tokens_out),
          commands: seconds(cost.command_s),
          model: seconds(cost.model_s),
          grading: seconds(cost.grader_s),
          processors: cost.cpu_s ? `${seconds(cost.cpu_s)} of work` : "",
        };
  const { cost: _, attempts: __, baseline, notes, ...ending } = result;
  return h(
    "div",
    { class: "about-panel" },
    aboutSection("Limits", { all: doc.limits.told }),
    aboutSection("Cost", spent),
    aboutSection("The end", ending),
    aboutSection("Baseline", baseline || doc.baseline),
    notes?.length
      ? h("section", {}, h("h2", {}, "Notes"), h("ul", {}, ...notes.map((note) => h("li", {}, note))))
      : null,
    aboutSection("Spec", doc.spec),
    aboutSection("This page", { key: doc.key, files: filesKnown(doc) }),
  );
}

function filesKnown(doc) {
  return doc.exact_files ? "recorded at each step" : "worked out from edits and graded attempts";
}

function aboutSection(title, facts) {
  const rows = Object.entries(facts || {}).filter(([, value]) => !isEmpty(value));
  if (!rows.length) return null;
  return h(
    "section",
    {},
    h("h2", {}, title),
    h(
      "dl",
      { class: "about" },
      ...rows.map(([name, value]) =>
        h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, aboutValue(value))),
      ),
    ),
  );
}

function isEmpty(value) {
  return value == null || value === "" || (typeof value === "object" && Object.values(value).every(isEmpty));
}

function aboutValue(value) {
  if (Array.isArray(value))
    return value.map((each) => (typeof each === "object" ? JSON.stringify(each) : String(each))).join(", ");
  if (typeof value !== "object") return String(value);
  const inner = Object.entries(value).filter(([, each]) => !isEmpty(each));
  return inner.map(([name, each]) =>
    h("div", {}, h("span", { class: "quiet" }, `${name.replaceAll("_", " ")} `), aboutValue(each)),
  );
}
