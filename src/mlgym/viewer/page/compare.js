// Episodes of one task side by side: who won, their curves, their steps, their files.
import { h, clear, money, seconds } from "./dom.js";
import { get, watch } from "./source.js";
import { href, update } from "./address.js";
import { CLOCKS, climb, contenders, finalScore, scored, scoreText, settings, splits, verdict } from "./contest.js";
import { curveChart, markOf } from "./curves.js";
import { alignedSteps } from "./aligned.js";
import { contrastFiles } from "./contrast.js";
import { rivalPicker } from "./rivals.js";

const MOST_COMPARED = 6;

/** The view `#/compare?e=KEY&e=KEY`. */
export async function compare(root, params, go) {
  const keys = [...new Set([params.e ?? []].flat())];
  const chosen = keys.slice(0, MOST_COMPARED);
  const to = (next) => href("compare", [], { e: next });
  if (chosen.length < 2) return compareNothing(root, chosen, to);
  let episodes = await Promise.all(chosen.map((key) => get(episodePath(key))));
  if (new Set(episodes.map((e) => e.task)).size > 1) return compareUnlike(root, episodes, to);
  const names = contenders(episodes);
  const parts = { heads: h("div"), curves: h("div"), settings: h("div") };
  const steps = alignedSteps({
    episodes, names, at: Number(params.step) || 0, cards: plainCard,
    moved: (n) => update({ step: n }),
  });
  const chart = { clock: params.x in CLOCKS ? params.x : "step", split: params.y };
  const fill = () => {
    const won = verdict(episodes, names, scoreText);
    clear(parts.heads).append(compareHeads({ episodes, names, place: won.place, keys: chosen, to }));
    clear(parts.curves).append(compareCurves(episodes, names, chart, fill));
    root.querySelector(".verdict").textContent = won.text;
  };
  root.append(
    h("h1", {}, "Compare: ", episodes[0].title || episodes[0].task),
    h("p", { class: "verdict", role: "status" }),
    keys.length > MOST_COMPARED ? h("p", { class: "quiet" }, `The first ${MOST_COMPARED} of ${keys.length} are shown.`) : null,
    parts.heads, rivalPicker({ task: episodes[0].task, chosen, to, most: MOST_COMPARED }),
    differingSettings(episodes, names), parts.curves, contrastFiles({ episodes, names }), steps.node,
  );
  fill();
  const stop = watch(async (changed) => {
    if (!episodes.some((e) => changed.changed?.includes(e.key))) return;
    episodes = await Promise.all(chosen.map((key) => get(episodePath(key), {}, { fresh: true })));
    fill();
  });
  return { keys: compareKeys({ root, steps, chosen, to, go }), stop: () => (stop(), steps.stop()) };
}
