// All that is known of how an episode was made: its spec, what it cost, its clocks, isolation, notes and provenance.
import { h, count, money, seconds } from "./dom.js";

// Sections of words and values; what is empty is left out.
export function aboutPanel(show) {
  const { doc } = show;
  const result = doc.result || {};
  const cost = result.cost || {};
  const told = (value, words) => (value ? words(value) : "");
  const spent = {
    money: told(cost.money, money),
    calls: told(cost.calls, count),
    "tokens sent": told(cost.tokens_in, count),
    "of it cached": told(cost.tokens_cached, count),
    "tokens received": told(cost.tokens_out, count),
    commands: told(cost.command_s, seconds),
    model: told(cost.model_s, seconds),
    grading: told(cost.grader_s, seconds),
    processors: told(cost.cpu_s, (value) => `${seconds(value)} of work`),
  };
  const { cost: _, baseline, notes, ...ending } = result;
  const end = doc.result
    ? { ...ending, scored: result.scored ? "yes" : "no", network: networkWords(ending.network) }
    : {};
  return h(
    "div",
    { class: "about-panel" },
    aboutSection("Limits", { all: doc.limits.told }),
    aboutSection("Cost", spent),
    aboutSection("The end", end),
    aboutSection("Baseline", baseline || doc.baseline),
    notes?.length
      ? h("section", {}, h("h2", {}, "Notes"), h("ul", {}, ...notes.map((note) => h("li", {}, note))))
      : null,
    aboutSection("What the last attempt was graded by", doc.provenance),
    aboutSection("Spec", { ...doc.spec, network: networkWords(doc.spec.network) }),
    aboutSection("This page", { key: doc.key, files: filesKnown(doc) }),
  );
}

// No hosts at all, some, or (an empty list) all of them.
function networkWords(hosts) {
  if (!hosts) return "none";
  return hosts.length ? hosts.join(", ") : "all hosts";
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
  return (
    value == null ||
    value === "" ||
    value === false ||
    (typeof value === "object" && Object.values(value).every(isEmpty))
  );
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
