// The list from which another episode of the task is put into the comparison.
import { h, clear, signed, number } from "./dom.js";
import { get } from "./source.js";
import { href } from "./address.js";

const RIVALS_SHOWN = 40;

// A fold with a field and the episodes of `task` (of all tasks where it is empty) that are not yet chosen.
export function rivalPicker({ task, chosen, most, go, open = false }) {
  const full = `More than ${most} do not fit side by side.`;
  if (chosen.length >= most) return h("p", { class: "quiet small", text: full });
  const list = h("ul", { class: "rival-list" });
  const hint = { placeholder: "method, run, seed", "aria-label": "Find an episode to add" };
  const field = h("input", { type: "search", ...hint });
  let rows = null;
  const fill = async () => {
    rows ??= await rivalRows(task, chosen).catch((problem) => problem);
    clear(list).append(...rivalItems(rows, field.value, chosen));
  };
  field.addEventListener("input", fill);
  field.addEventListener("keydown", async (event) => {
    if (event.key !== "Enter") return;
    await fill();
    const first = list.querySelector("a");
    if (first) go(first.hash);
  });
  const fold = h("details", { class: "fold rivals", open }, h("summary", { text: "Add an episode" }), field, list);
  fold.addEventListener("toggle", () => fold.open && (field.focus(), fill()));
  return fold;
}

// Open the fold under `root`, ready to write.
export function openRivals(root) {
  const fold = root.querySelector("details.rivals");
  if (!fold) return;
  fold.open = true;
  fold.querySelector("input").focus();
}

async function rivalRows(task, chosen) {
  const { columns, rows } = await get("episodes");
  const named = rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
  return named.filter((each) => (!task || each.task === task) && !chosen.includes(each.key));
}

function rivalItems(rows, words, chosen) {
  if (rows instanceof Error) return [h("li", { class: "quiet", text: rows.message })];
  const asked = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((each) => asked.every((word) => rivalText(each).toLowerCase().includes(word)));
  if (!found.length) return [h("li", { class: "quiet", text: "There is no other episode like this." })];
  const more = found.length - RIVALS_SHOWN;
  const items = found.slice(0, RIVALS_SHOWN).map((each) => rivalItem(each, chosen));
  return more > 0 ? [...items, h("li", { class: "quiet", text: `and ${more} more: write what tells yours` })] : items;
}

function rivalText(each) {
  return `${each.task} ${each.method} seed ${each.seed} ${each.run}`;
}

function rivalItem(each, chosen) {
  const words = `${each.method}, seed ${each.seed}`;
  const link = h("a", { href: href("compare", [], { e: [...chosen, each.key] }), text: words });
  const score = each.final ?? each.score;
  const told = score == null ? each.state : `${number(score)}, progress ${signed(each.progress)}`;
  return h("li", {}, link, h("span", { class: "quiet", text: ` ${each.task} · ${each.run} · ${told}` }));
}
