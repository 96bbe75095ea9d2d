// The files of two episodes' submissions against each other.
import { h, clear, count } from "./dom.js";
import { get } from "./source.js";
import { hunksNode } from "./shown.js";

const CONTRAST_WORDS = { same: "the same", changed: "differs", left: "only in the first", right: "only in the second" };

// The section: which two, which files, and the difference of each when it is opened.
export function contrastFiles(episodes, names) {
  const held = h("div", { "aria-live": "polite" });
  const pair = [0, 1];
  const fill = async () => {
    const [a, b] = pair.map((i) => episodes[i].key);
    if (a === b) return clear(held).append(h("p", { class: "quiet", text: "Choose two different episodes." }));
    try {
      return clear(held).append(...contrastRows(await get("compare/files", { a, b }), { a, b }));
    } catch (problem) {
      return clear(held).append(h("p", { class: "quiet", text: problem.message }));
    }
  };
  const choose = (which) => {
    const options = names.map((name, i) => h("option", { value: String(i), text: `${i + 1} ${name}` }));
    const label = which ? "and" : "Between";
    const box = h("select", { onchange: () => ((pair[which] = Number(box.value)), fill()) }, ...options);
    box.value = String(pair[which]);
    return h("label", {}, `${label} `, box);
  };
  const fold = h("details", { class: "fold contrast" },
    h("summary", { text: "What differs in the files that they handed in" }),
    h("div", { class: "switches" }, choose(0), choose(1)), held);
  fold.addEventListener("toggle", () => fold.open && !held.hasChildNodes() && fill());
  return fold;
}

function contrastRows({ files, note }, pair) {
  const same = files.filter((each) => each.change === "same");
  const rows = files.filter((each) => each.change !== "same").map((each) => contrastRow(each, pair));
  return [
    note ? h("p", { class: "quiet", text: note }) : null,
    files.length && !rows.length ? h("p", { text: "Their files are the same, byte for byte." }) : null,
    ...rows,
    same.length && rows.length ? h("p", { class: "quiet small", text: `The same in both: ${pathsOf(same)}` }) : null,
  ].filter(Boolean);
}

function pathsOf(files) {
  return files.map((each) => each.path).join(", ");
}

function contrastRow({ path, change, sizes }, pair) {
  const body = h("div");
  const sized = sizes.map((size) => (size === null ? "–" : `${count(size)} bytes`)).join(" to ");
  const words = h("span", { class: "quiet", text: ` ${CONTRAST_WORDS[change]}, ${sized}` });
  const line = h("summary", {}, h("code", { text: path }), words);
  const row = h("details", { class: "fold" }, line, body);
  row.addEventListener("toggle", async () => {
    if (!row.open || body.hasChildNodes()) return;
    const told = await get("compare/file", { ...pair, path }).catch((problem) => ({ note: problem.message }));
    body.append(told.hunks?.length ? hunksNode(told.hunks, { title: path }) : h("p", { class: "quiet", text: told.note }));
  });
  return row;
}
