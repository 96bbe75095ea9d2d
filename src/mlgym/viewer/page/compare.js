// Episodes of one task side by side: who won, their settings, curves, files and steps.
import { h, clear, money, number, seconds, signed } from "./dom.js";
import { get, watch } from "./source.js";
import { href, update } from "./address.js";
import { CLOCKS, climb, conditions, contenders, listed, settings, splits, verdict } from "./contest.js";
import { bestSoFar, finalScore, scored, scoreText } from "./contest.js";
import { curveChart, markOf } from "./curves.js";
import { endedWords } from "./head.js";
import { alignedSteps } from "./aligned.js";
import { contrastFiles } from "./contrast.js";
import { openRivals, rivalPicker } from "./rivals.js";

const MOST_COMPARED = 6;
const SPLIT_WORDS = { test: "on test", validation: "on validation" };

// The view of `#/compare?e=KEY&e=KEY&step=12`.
export async function compare(root, place, go) {
  document.title = "Compare · mlgym";
  const chosen = [...new Set(place.query.getAll("e"))].slice(0, MOST_COMPARED);
  const fetched = () => Promise.all(chosen.map((key) => get(`e/${key}`, {}, { fresh: true })));
  let episodes = await fetched();
  if (episodes.length < 2) return compareTooFew(root, episodes, go);
  if (new Set(episodes.map((each) => each.task)).size > 1) return compareUnlike(root, episodes);
  const names = contenders(episodes);
  const chart = { clock: place.query.get("x") ?? "step", split: place.query.get("y") };
  const [said, noise] = [h("p", { class: "verdict" }), h("p", { class: "quiet small" })];
  const [heads, curves] = [h("div"), h("div")];
  const fill = () => {
    const won = verdict(episodes, names, scoreText);
    said.textContent = won.text;
    noise.textContent = won.note ?? "";
    clear(heads).append(compareHeads(episodes, names, won.place));
    clear(curves).append(compareCurves(episodes, names, chart));
  };
  let steps = compareSteps(episodes, names, Number(place.query.get("step")));
  const apart = conditions(episodes);
  fill();
  const unlike = `Not under the same conditions: they differ in ${listed(apart)}.`;
  root.append(h("div", {},
    h("h1", { text: `Compare: ${episodes[0].title || episodes[0].task}` }), said, noise,
    apart.length ? h("p", { class: "warn", text: unlike }) : null, heads,
    rivalPicker({ task: episodes[0].task, chosen, most: MOST_COMPARED, go }),
    differingSettings(episodes, names), curves, contrastFiles(episodes, names), steps.node));
  requestAnimationFrame(() => steps.show());
  const unwatch = watch(async ({ changed }) => {
    if (changed && !chosen.some((key) => changed.includes(key))) return;
    const before = episodes.map((each) => each.steps).join();
    episodes = await fetched().catch(() => episodes); // the shell says where the server is away
    refilled(root, fill);
    if (episodes.map((each) => each.steps).join() === before) return;
    const focused = steps.node.contains(document.activeElement);
    const later = compareSteps(episodes, names, steps.at(), steps.opened());
    steps.stop();
    steps.node.replaceWith(later.node);
    steps = later;
    steps.show({ focus: focused, scroll: false });
  });
  return {
    keys: compareKeys({ root, chosen, steps: () => steps, go }),
    stop: () => (unwatch(), steps.stop()),
  };
}

// Draw heads and curves anew, and leave the reader where they were in them.
function refilled(root, fill) {
  const parts = () => [...root.querySelectorAll(".contender a, .climbs :is(button, summary, [role=slider])")];
  const at = parts().indexOf(document.activeElement);
  const open = root.querySelector(".curves details")?.open;
  fill();
  const numbers = root.querySelector(".curves details");
  if (numbers) numbers.open = open ?? false;
  if (at >= 0) parts()[at]?.focus({ preventScroll: true });
}

function compareKeys({ root, chosen, steps, go }) {
  const head = (i) => root.querySelectorAll(".contender a.name")[i];
  const heads = () => [...root.querySelectorAll(".contender")];
  const mine = () => heads().findIndex((each) => each.contains(document.activeElement));
  const told = (i) => (i ? "" : `1 to ${chosen.length}: to the head of an episode`);
  const numbers = chosen.map((_, i) => [String(i + 1), [told(i), () => head(i).focus()]]);
  return {
    j: ["next step", () => steps().move(1)],
    k: ["step before", () => steps().move(-1)],
    Enter: ["unfold the step", () => steps().unfold()],
    d: ["next step in which they differ", () => steps().next()],
    ...Object.fromEntries(numbers),
    x: ["take the episode whose head has the focus out", () => mine() >= 0 && go(without(chosen, mine()))],
    a: ["add an episode", () => openRivals(root)],
  };
}

function without(chosen, i) {
  return href("compare", [], { e: chosen.filter((_, which) => which !== i) });
}

function compareHeads(episodes, names, places) {
  const keys = episodes.map((each) => each.key);
  const tied = places.filter((place) => place === 1).length > 1;
  const cards = episodes.map((episode, i) => {
    const told = [episode.method, episode.run, `seed ${episode.seed}`, episode.model];
    const unsaid = (word, at) => ![names[i], ...told.slice(0, at)].some((said) => said.includes(word));
    const where = told.filter((word, at) => word && unsaid(word, at));
    return h("article", { class: `contender line${i + 1}`, "aria-label": names[i] },
      h("h2", {}, markOf(i + 1), " ", h("a", { class: "name", href: href("e", episode.key), text: names[i] })),
      h("p", { class: "quiet small", text: where.join(" · ") }),
      h("p", { class: "score" }, ...contenderScore(episode)),
      h("p", { class: "chips" }, ...contenderChips(episode, places[i], tied)),
      contenderFacts(episode),
      h("a", { class: "out", href: without(keys, i), "aria-label": `Without ${names[i]}`, text: "×" }));
  });
  return h("div", { class: "contenders" }, ...cards);
}

function contenderScore(episode) {
  if (episode.result) return [h("b", { text: number(finalScore(episode)) }), ` ${episode.metric} on test`];
  return [h("b", { text: number(bestSoFar(episode)) }), ` best ${episode.metric} on validation so far`];
}

function contenderChips(episode, place, tied) {
  const won = { 1: tied ? ["on", "tie for first"] : ["good", "won"] }[place];
  const [look, words] = endOf(episode);
  const chips = won ? [h("span", { class: `chip ${won[0]}`, text: won[1] })] : [];
  return [...chips, h("span", { class: `chip ${look}`, text: words })];
}

// How an episode ended: the look of its chip, and the words.
function endOf({ result, state }) {
  if (!result) return [state === "running" ? "on" : "warn", state === "done" ? "not ended" : state];
  if (result.boundary && result.boundary !== "budget") return ["bad", `${result.ended}: ${result.boundary}`];
  return ["", endedWords[result.ended] ?? result.ended];
}

function contenderFacts({ result, attempts, steps, line }) {
  const valid = attempts.filter((each) => each.valid).length;
  const facts = [
    ["progress", signed(result?.progress)],
    ["steps", number(steps)],
    ["attempts", attempts.length === valid ? String(valid) : `${valid} of ${attempts.length} valid`],
    ["money", money(result?.cost?.money ?? line.money?.at(-1))],
    ["experiments", seconds(CLOCKS.experiments.cells(line).at(-1) ?? 0)],
  ];
  return h("dl", {}, ...facts.map(([word, value]) => h("div", {}, h("dt", { text: word }), h("dd", { text: value }))));
}

function differingSettings(episodes, names) {
  const rows = settings(episodes);
  if (!rows.length) return null;
  const head = ["setting", ...names].map((name) => h("th", { scope: "col", text: name }));
  const body = rows.map(([name, values]) =>
    h("tr", {}, h("th", { scope: "row", text: name }), ...values.map((value) => h("td", { text: value || "–" }))));
  const table = h("table", {}, h("caption", { class: "unseen", text: "Settings that differ" }),
    h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body));
  return h("details", { class: "fold differing" },
    h("summary", { text: `Settings that differ: ${rows.map(([name]) => name).join(", ")}` }),
    h("div", { class: "table" }, table));
}

// The curves with their two switches; a switch draws anew and stands in the address.
function compareCurves(episodes, names, chart) {
  const there = splits(episodes);
  const held = h("div");
  const draw = () => {
    const clock = CLOCKS[chart.clock] ? chart.clock : "step";
    const split = there.includes(chart.split) ? chart.split : there[0] ?? "validation";
    const [{ metric, direction, baseline, best_known: best }] = episodes;
    const arrow = direction === "minimize" ? "lower is better" : "higher is better";
    const lines = [["baseline", scored(baseline?.[split], metric)], ["best known", split === "test" ? best : null]];
    const curves = episodes.map((each, i) => ({ name: names[i], mark: i + 1, points: climb(each, clock, split) }));
    const runs = ({ cells }) => episodes.some(({ line }) => cells(line).at(-1) > 0);
    const told = Object.entries(CLOCKS).filter(([, each]) => runs(each));
    const clocks = told.map(([key, { name }]) => [key, `by ${name}`]);
    const scores = there.map((key) => [key, SPLIT_WORDS[key]]);
    clear(held).append(
      h("div", { class: "switches" },
        switchOf("across", clocks, clock, (key) => turn({ clock: key })),
        there.length > 1 ? switchOf("score", scores, split, (key) => turn({ split: key })) : null),
      curveChart({
        title: `Best ${metric} so far ${SPLIT_WORDS[split]}, ${arrow}`, curves, xName: CLOCKS[clock].name,
        levels: lines.filter(([, y]) => typeof y === "number").map(([name, y]) => ({ name, y })),
        whole: clock === "step", show: scoreText,
        showX: { step: String, money, experiments: seconds, all: seconds }[clock],
      }));
  };
  const turn = (change) => {
    Object.assign(chart, change);
    update({ x: chart.clock === "step" ? null : chart.clock, y: chart.split });
    draw();
    held.querySelector(`.switch:${change.clock ? "first" : "last"}-child [aria-pressed=true]`)?.focus();
  };
  draw();
  return h("section", { class: "climbs" }, h("h2", { text: "The best so far" }), held);
}

function switchOf(label, choices, chosen, choose) {
  const buttons = choices.map(([key, name]) =>
    h("button", { type: "button", "aria-pressed": String(key === chosen), onclick: () => choose(key), text: name }));
  return h("div", { class: "switch", role: "group", "aria-label": label }, ...buttons);
}

function compareSteps(episodes, names, at, opened = []) {
  return alignedSteps({ episodes, names, at, opened, moved: (n) => update({ step: n }) });
}

async function compareTooFew(root, episodes, go) {
  const [one] = episodes;
  const words = one ? `So far only ${one.method}, seed ${one.seed}, of ${one.title || one.task}.` : "";
  root.append(
    h("h1", { text: "Compare" }),
    h("p", { text: `${words} Choose episodes of one task to see them side by side: up to ${MOST_COMPARED}.` }),
    rivalPicker({ task: one?.task ?? "", chosen: one ? [one.key] : [], most: MOST_COMPARED, go, open: true }),
  );
  return {};
}

// Episodes of several tasks: what of them can be compared.
function compareUnlike(root, episodes) {
  const tasks = [...new Set(episodes.map((each) => each.task))];
  const rows = tasks.map((task) => {
    const own = episodes.filter((each) => each.task === task);
    const link = h("a", { href: href("compare", [], { e: own.map((each) => each.key) }), text: task });
    const more = own.length > 1 ? `: ${own.length} episodes` : ": one episode; others of this task can be added";
    return h("li", {}, link, more);
  });
  const why = "A score of one task says nothing about one of another, so episodes are compared within a task only:";
  root.append(h("h1", { text: "These are of different tasks" }), h("p", { text: why }), h("ul", {}, ...rows));
  return {};
}
