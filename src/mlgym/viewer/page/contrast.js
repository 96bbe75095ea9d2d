// The files of two episodes' submissions against each other.
import { h, clear, count } from "./dom.js";
import { get } from "./source.js";
import { hunksNode } from "./shown.js";

// The section: which two, which files, and the difference of each when it is opened.
export function contrastFiles(episodes, names) {
  const held = h("div", { "aria-live": "polite" });
  const pair = [0, 1];
  const fill = () => contrastNodes(episodes, names, pair).then((nodes) => clear(held).append(...nodes));
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

// What is to be said of two episodes; a bundle knows a pair in the order of their keys only.
async function contrastNodes(episodes, names, pair) {
  if (pair[0] === pair[1]) return [h("p", { class: "quiet", text: "Choose two different episodes." })];
  const [a, b] = [...pair].sort((i, j) => (episodes[i].key < episodes[j].key ? -1 : 1));
  const asked = { a: episodes[a].key, b: episodes[b].key };
  try {
    return contrastRows(await get("compare/files", asked), asked, [`${a + 1} ${names[a]}`, `${b + 1} ${names[b]}`]);
  } catch (problem) {
    return [h("p", { class: "quiet", text: problem.message })];
  }
}

function contrastRows({ files, note }, asked, [left, right]) {
  if (note) return [h("p", { class: "quiet", text: note })];
  const [same, unlike] = [true, false].map((alike) => files.filter((each) => (each.change === "same") === alike));
  if (!unlike.length) return [h("p", { text: "Their files are the same, byte for byte." })];
  const words = { changed: "differs", left: `only of ${left}`, right: `only of ${right}` };
  return [
    h("p", { class: "small", text: `− is of ${left}, + of ${right}` }),
    ...unlike.map((each) => contrastRow(each, words[each.change], asked)),
    ...(same.length ? [h("p", { class: "quiet small", text: `The same in both: ${pathsOf(same)}` })] : []),
  ];
}

function pathsOf(files) {
  return files.map((each) => each.path).join(", ");
}

function contrastRow({ path, sizes }, words, asked) {
  const body = h("div");
  const sized = sizes.filter((size) => size !== null).map((size) => `${count(size)} bytes`).join(" and ");
  const line = h("summary", {}, h("code", { text: path }), h("span", { class: "quiet", text: ` ${words}, ${sized}` }));
  const row = h("details", { class: "fold" }, line, body);
  row.addEventListener("toggle", async () => {
    if (!row.open || body.hasChildNodes()) return;
    const told = await get("compare/file", { ...asked, path }).catch((problem) => ({ note: problem.message }));
    const note = h("p", { class: "quiet", text: told.note });
    body.append(told.hunks?.length ? hunksNode(told.hunks, { title: path }) : note);
  });
  return row;
}
