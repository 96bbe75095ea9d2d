// What several episodes come to beside each other: their names, who won, curves of the best so far, where they part.
import { beats } from "./dom.js";

const BETWEEN_GRADINGS = 1.96 * Math.SQRT2; // deviations that lie between two gradings of the same submission

const LUCK = "Other seeds may differ by more: `mlgym compare` weighs them all.";

// By how much two gradings of one submission may differ by luck; 0 where that is not known.
export function gradingMargin(episodes) {
  return BETWEEN_GRADINGS * Math.max(...episodes.map((each) => each.noise ?? 0));
}

export const CLOCKS = {
  step: { name: "step", unit: "step", cells: (line) => line.n },
  money: { name: "money", unit: "dollars", cells: (line) => line.money },
  experiments: { name: "experiment seconds", unit: "seconds", cells: (line) => summed(line, "command_s", "grader_s") },
  all: {
    name: "seconds with the model's",
    unit: "seconds",
    cells: (line) => summed(line, "command_s", "grader_s", "model_s"),
  },
};

// The sum so far, step by step, of some columns of an episode's line.
function summed(line, ...columns) {
  let sum = 0;
  return line.n.map((_, i) => (sum += columns.reduce((more, name) => more + (line[name]?.[i] || 0), 0)));
}

// The shortest names that tell the episodes apart: the method, with its seed, with its run; of one method the seeds.
export function contenders(episodes) {
  const alike = new Set(episodes.map((e) => e.method)).size === 1;
  const forms = [
    (e) => (alike ? `seed ${e.seed}` : e.method),
    (e) => (alike ? `seed ${e.seed} (${e.run})` : `${e.method} (seed ${e.seed})`),
    (e) => `${e.method} (seed ${e.seed}, ${e.run})`,
    (e) => e.key,
  ];
  return episodes.map((episode) => {
    const form = forms.find((name) => episodes.every((e) => e === episode || name(e) !== name(episode)));
    return (form || forms[3])(episode);
  });
}

// A score in few digits.
export function scoreText(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const rounded = Number(value.toPrecision(digits));
  return Math.abs(rounded) >= 10000 ? rounded.toLocaleString("en") : String(rounded);
}

// The value of a metric in a table of scores, in a bare number, or null.
export function scored(scores, metric) {
  const value = scores !== null && typeof scores === "object" ? scores[metric] : scores;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

// The test score that counts: that of the final submission; null where there is none.
export function finalScore(episode) {
  return episode.result ? scored(episode.result.final, episode.metric) : null;
}

// The best score that an agent was shown so far; null before the first.
export function bestSoFar({ line, metric, direction }) {
  const shown = line.validation.map((each) => scored(each, metric)).filter((each) => each !== null);
  return shown.length ? shown.reduce((best, each) => (beats(each, best, direction) ? each : best)) : null;
}

// Who won: {text, note on the noise, place: [1 for the first and all that tie with it, else 2, null without a score]}.
export function verdict(episodes, names, show) {
  const [{ direction }] = episodes;
  const margin = gradingMargin(episodes);
  const found = episodes.map((e, i) => ({ name: names[i], score: finalScore(e), live: !e.result, i }));
  const ranked = found.filter((e) => e.score !== null).sort((a, b) => (beats(a.score, b.score, direction) ? -1 : 1));
  const place = found.map(() => null);
  const without = withoutSentences(found.filter((each) => each.score === null));
  if (!ranked.length) {
    const running = found.some((each) => each.live);
    return { text: [...(running ? leadSentences(episodes, names, show) : []), ...without].join(" "), place };
  }
  const [first, ...others] = ranked;
  for (const each of ranked) place[each.i] = Math.abs(each.score - first.score) <= margin ? 1 : 2;
  if (!others.length) {
    const alone = `${first.name} alone has a score on test: ${show(first.score)}.`;
    return { text: [alone, ...without].join(" "), place };
  }
  const why = `1.96·√2 of the task's noise, ${show(margin / BETWEEN_GRADINGS, 2)}`;
  const graded = margin ? `Two gradings of one submission may differ by ${show(margin, 2)}: ${why}. ` : "";
  const alike = new Set(episodes.map((each) => each.method)).size === 1;
  const note = graded + (alike ? "Seeds of one method differ by luck alone." : LUCK);
  return { text: [...verdictSentences(first, others, { margin, show }), ...without].join(" "), note, place };
}

function withoutSentences(found) {
  const ways = [["not ended", true], ["no valid submission", false]];
  return ways.flatMap(([what, live]) => {
    const all = found.filter((each) => each.live === live).map((each) => each.name);
    return all.length ? [`${listed(all)} ${all.length > 1 ? "have" : "has"} ${what}.`] : [];
  });
}

// Who is ahead while nobody has a score on test.
function leadSentences(episodes, names, show) {
  const [{ direction }] = episodes;
  const found = episodes.map((e, i) => ({ name: names[i], score: bestSoFar(e) })).filter((e) => e.score !== null);
  if (!found.length) return ["Nobody has a score yet."];
  const [first, ...others] = found.sort((a, b) => (beats(a.score, b.score, direction) ? -1 : 1));
  const told = others.map((each) => `${each.name} ${show(each.score)}`);
  return [`On validation ${first.name} has ${show(first.score)} so far${told.length ? `, ${listed(told)}` : ""}.`];
}

function verdictSentences(first, others, { margin, show }) {
  const gap = (each) => Math.abs(each.score - first.score);
  const [second] = others;
  const same = others.filter((each) => gap(each) === 0);
  const behind = (after) => behindSentence(others.filter((each) => gap(each) > margin && !after.includes(each)), show);
  if (same.length) {
    const all = [first, ...same].map((each) => each.name);
    return [`${listed(all)} have the same score on test, ${show(first.score)}: a tie.`, ...behind([])];
  }
  const scores = `${show(first.score)} to ${show(second.score)}`;
  const lead = `${first.name} beats ${second.name} by ${show(gap(second), 2)} on test (${scores})`;
  if (!margin) {
    return [`${lead}; the task's noise is not known, so nobody can say what that is worth.`, ...behind([second])];
  }
  const equal = others.filter((each) => gap(each) <= margin).map((each) => each.name);
  if (!equal.length) return [`${lead}, more than the noise of grading.`, ...behind([second])];
  const more = equal.length > 1 ? [`So it is with ${listed(equal.slice(1))}.`] : [];
  return [`${lead}, within the noise of grading: a tie.`, ...more, ...behind([])];
}

function behindSentence(others, show) {
  const told = others.map((each) => `${each.name} (${show(each.score)})`);
  return told.length ? [`Behind ${told.length > 1 ? "are" : "is"} ${listed(told)}.`] : [];
}

// "a, b and c".
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

// The splits in which at least one attempt of the episodes has a score.
export function splits(episodes) {
  const has = (split) => (e) => e.attempts.some((attempt) => scored(attempt[split], e.metric) !== null);
  return ["test", "validation"].filter((split) => episodes.some(has(split)));
}

// The best so far as points [{x, y, n, kind}], y being the score on `split` of the attempt that is best on validation.
export function climb(episode, clock, split) {
  const { attempts, metric, direction, line } = episode;
  const cells = CLOCKS[clock].cells(line);
  const at = new Map(line.n.map((n, i) => [n, cells[i]]));
  let best = null;
  const points = [];
  for (const attempt of attempts) {
    const shown = scored(attempt.validation, metric) ?? scored(attempt.test, metric);
    const y = scored(attempt[split], metric);
    const x = at.get(attempt.step) ?? cells.at(-1);
    if (shown === null || y === null || x === undefined || x === null) continue;
    const better = best === null || beats(shown, best.shown, direction);
    if (better) best = { shown, y };
    points.push({ x, y: best.y, n: attempt.step, better });
  }
  if (points.length) points.push({ x: cells.at(-1) ?? points.at(-1).x, y: best.y, n: line.n.at(-1), better: false });
  return points;
}

// The place of each step number in an episode's line.
function places(line) {
  return new Map(line.n.map((n, i) => [n, i]));
}

// What tells one step's action from another's: its fingerprint where the documents have one.
function deed(line, i) {
  return i === undefined ? null : (line.deed?.[i] ?? `${line.tool[i]} ${line.brief[i]}`);
}

// All step numbers of the episodes, and which of them differ in what was done.
export function aligned(episodes) {
  const where = episodes.map((e) => places(e.line));
  const numbers = [...new Set(episodes.flatMap((e) => e.line.n))].sort((a, b) => a - b);
  const differs = numbers.map((n) => {
    const deeds = episodes.map((e, i) => deed(e.line, where[i].get(n)));
    return deeds.some((each) => each !== deeds[0]);
  });
  return { numbers, differs, where };
}

// The settings in which the episodes differ: [[name, [value of each]]].
export function settings(episodes) {
  const flat = episodes.map((e) => new Map(settingLeaves(e.spec || {}, "")));
  const names = [...new Set(flat.flatMap((each) => [...each.keys()]))];
  return names
    .map((name) => [name, flat.map((each) => each.get(name) ?? "")])
    .filter(([, values]) => values.some((value) => value !== values[0]));
}

const CONDITIONS = new Set(
  ["version", "feedback", "tools", "sandbox", "python", "processors", "network", "max_validations", "packages"],
);

// What of that makes the scores of unlike protocols: not who they are and which seed they had.
export function conditions(episodes) {
  const matters = (name) => CONDITIONS.has(name) || name.startsWith("limits.");
  return settings(episodes).map(([name]) => name).filter(matters);
}

function settingLeaves(value, name) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    return Object.entries(value).flatMap(([key, inner]) => settingLeaves(inner, name ? `${name}.${key}` : key));
  }
  return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
}
