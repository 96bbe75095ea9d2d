// The scores over a time line: a point for each grading, the best so far, the baseline.
import { s, beats, number } from "./dom.js";

export const lineEdge = 6; // pixels that are left free at both ends

// Scores by step: a point for each grading on its stem, the best so far as a line, the baseline dashed.
export function chartParts({ doc, edges, wide, chart }) {
  const { line } = doc;
  const base = doc.baseline?.validation ?? null;
  const graded = line.n.map((_, i) => i).filter((i) => line.validation[i] != null);
  const high = chartScale(
    graded.map((i) => line.validation[i]),
    base,
    doc.direction,
    chart,
  );
  const stems = [];
  const points = [];
  let best = null;
  let path = "";
  let drawn = -9;
  for (const i of graded) {
    const x = ((edges[i] + edges[i + 1]) / 2).toFixed(1);
    const y = high(line.validation[i]);
    const ahead = best == null || beats(line.validation[i], best, doc.direction);
    if (ahead) {
      best = line.validation[i];
      path += path ? `H${x}V${y}` : `M${x},${y}`;
    }
    if (!ahead && x - drawn < 2) continue;
    drawn = x;
    stems.push(s("path", { class: "stem", d: `M${x},${y}V${chart}` }));
    points.push(
      s("circle", { class: ahead ? "point ahead" : "point", cx: x, cy: y, r: graded.length > 200 ? 1.5 : 3 }),
    );
  }
  const bestLine = s("path", { class: "line-best", d: `${path}H${wide - lineEdge}` });
  const top = s(
    "text",
    { class: "line-note", x: wide - lineEdge, y: high(best) + 14, "text-anchor": "end" },
    `best ${number(best)}`,
  );
  return [...baseParts(base, high, wide), ...stems, bestLine, ...points, top];
}

function baseParts(base, high, wide) {
  if (base == null) return [];
  const y = high(base);
  return [
    s("path", { class: "line-base", d: `M0,${y}H${wide}` }),
    s("text", { class: "line-note", x: lineEdge, y: y < 16 ? y + 12 : y - 4 }, `baseline ${number(base)}`),
  ];
}

// Score to height, better is higher. What is far worse than the baseline is drawn at the foot. Scores are made smaller
// first, or the distance of the largest numbers would be none.
function chartScale(scores, base, direction, chart) {
  const turn = (direction === "minimize" ? -1 : 1) / 8;
  const all = scores.map((score) => turn * score).filter(Number.isFinite);
  if (base != null) all.push(turn * base);
  const best = Math.max(...all);
  let worst = Math.min(...all);
  if (base != null && best > turn * base) worst = Math.max(worst, turn * base - 1.5 * (best - turn * base));
  const span = best - worst || 1;
  return (score) => Number((5 + (1 - Math.max((turn * score - worst) / span, 0)) * (chart - 10)).toFixed(1));
}
