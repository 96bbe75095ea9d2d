// What the episodes of a run came to: its figures, the best of each task, and what went wrong.
import { h, clear, number, money, count, seconds, moment, plural, signed } from "./dom.js";
import { href } from "./address.js";
import { stateCounts, hasEnded, sumOf, bestOf, valuesOf } from "./episodes.js";
import { STATES, stateChip, stateSign, progressBar } from "./signs.js";

const MOST_WHYS = 8;
const MOST_LINKS = 3;
const BEST_HEADS = ["Task", "Metric", "Baseline", "Best here", "Best known", "Progress", "By"];

// The state of a run and what holds for its episodes, as chips.
function runChips(table) {
  const counts = stateCounts(table);
  const ended = endedCount(table);
  const rest = counts.cancelled ? "cancelled" : "stopped";
  const state = counts.running ? "running" : ended === table.size ? "complete" : rest;
  const marks = new Map();
  for (const all of table.marks) {
    for (const mark of String(all ?? "")
      .split(/,\s*/)
      .filter(Boolean))
      marks.set(mark, (marks.get(mark) ?? 0) + 1);
  }
  const words = [...marks].map(([mark, n]) => (n === table.size ? mark : `${mark} (${n})`));
  return [stateChip(state), ...words.map((text) => h("span", { class: "chip", text }))];
}

// How many episodes have ended.
export function endedCount(table) {
  return table.key.filter((_, at) => hasEnded(table, at)).length;
}

// The figures of a run, for a list of facts.
function runFacts(table) {
  const counts = stateCounts(table);
  const odd = STATES.slice(1).filter((name) => counts[name]);
  const rest = odd.map((name) => `${counts[name].toLocaleString("en")} ${name}`);
  const times = table.changed.filter((time) => time !== null);
  const part = `${endedCount(table).toLocaleString("en")} of ${table.size.toLocaleString("en")} `;
  const facts = [
    ["Episodes ended", [part, h("span", { class: "quiet", text: rest.join(", ") })]],
    ["Money", money(sumOf(table, "money"))],
    ["Tokens", count(sumOf(table, "tokens"))],
    ["Time of all episodes", seconds(sumOf(table, "seconds"))],
    ["Last change", times.length ? moment(times.reduce((a, b) => Math.max(a, b))) : "–"],
  ];
  return facts.map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value)));
}

// The best episode of each task against the baseline and the best that is known.
function bestTable(table) {
  const tasks = new Map();
  table.task.forEach((task, at) => (tasks.has(task) ? tasks.get(task).push(at) : tasks.set(task, [at])));
  const rows = valuesOf(table, "task")
    .sort()
    .map((task) => bestRow(table, task, tasks.get(task)));
  const head = BEST_HEADS.map((text, at) => h("th", { scope: "col", class: at > 1 && at < 5 ? "num" : "", text }));
  const box = { class: "table", role: "region", tabindex: 0, "aria-labelledby": "best-title" };
  return h(
    "section",
    {},
    h("h2", { id: "best-title", text: "Best of each task" }),
    h("div", box, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))),
  );
}

function bestRow(table, task, places) {
  const at = bestOf(table, places);
  const head = h("th", { scope: "row", text: task });
  if (at < 0) {
    const text = places.some((place) => !hasEnded(table, place)) ? "no score yet" : "no valid score";
    return h("tr", {}, head, h("td", { colspan: 6, class: "quiet", text }));
  }
  const least = table.direction[at] === "minimize";
  const arrow = h("span", {
    class: "quiet",
    title: `the ${least ? "lower" : "higher"} the better`,
    text: least ? " ↓" : " ↑",
  });
  return h(
    "tr",
    {},
    head,
    h("td", {}, table.metric[at], arrow),
    h("td", { class: "num", text: number(table.baseline[at]) }),
    h("td", { class: "num" }, h("b", { text: number(table.score[at]) })),
    h("td", { class: "num", text: number(table.best_known[at]) }),
    h("td", { "aria-label": `progress ${signed(table.best_progress[at])}` }, progressBar(table.best_progress[at])),
    h("td", {}, h("a", { href: href("e", table.key[at]), text: `${table.method[at]}, seed ${table.seed[at]}` })),
  );
}

// What went wrong, by the reason; `filter(state)` is called to list the episodes of a state. Null where nothing did.
function troubles(table, filter) {
  const groups = new Map();
  table.key.forEach((_, at) => {
    const state = table.state[at];
    if (!["failed", "stopped", "cancelled", "missing"].includes(state)) return;
    const name = `${state}\n${table.why[at] || table.ended[at] || ""}`;
    groups.set(name, [...(groups.get(name) ?? []), at]);
  });
  if (!groups.size) return null;
  const sorted = [...groups].sort((a, b) => b[1].length - a[1].length);
  const items = sorted.slice(0, MOST_WHYS).map(([name, places]) => troubleItem(table, name, places, filter));
  const more = sorted.length - MOST_WHYS;
  const rest =
    more > 0 ? h("p", { class: "small quiet", text: `And ${plural(more, "other reason")}; the list has them.` }) : null;
  return h(
    "section",
    { "aria-labelledby": "trouble-title" },
    h("h2", { id: "trouble-title", text: "What went wrong" }),
    h("ul", { class: "troubles" }, items),
    rest,
  );
}

function troubleItem(table, name, places, filter) {
  const [state, why] = name.split("\n");
  const links = places
    .slice(0, MOST_LINKS)
    .map((at) =>
      h("a", {
        href: href("e", table.key[at]),
        text: `${table.task[at]}, ${table.method[at]}, seed ${table.seed[at]}`,
      }),
    );
  const more = places.length - links.length;
  const all = {
    type: "button",
    class: "link",
    text: `and ${more.toLocaleString("en")} more`,
    onclick: () => filter(state),
  };
  return h(
    "li",
    { "data-state": state },
    h("span", { class: `ended ${state}` }, stateSign(state), `${places.length.toLocaleString("en")} ${state}`),
    h(
      "span",
      {},
      why || "no reason was recorded",
      h("span", { class: "links small" }, links, more > 0 ? h("button", all) : null),
    ),
  );
}

// Put the facts, chips, best and troubles of a table into their nodes.
export function showSummary(table, nodes, filter) {
  clear(nodes.state).append(...runChips(table));
  clear(nodes.facts).append(...runFacts(table));
  clear(nodes.rest).append(...[bestTable(table), troubles(table, filter)].filter(Boolean));
}
