// The workspace at a step: its files, what is in them, and what changed against the starter or the step before.
import { h, clear, count, plural } from "./dom.js";
import { get } from "./source.js";
import { hunkCounts, hunksNode, spansNode } from "./shown.js";

const fileSides = [
  ["none", "Content"],
  ["starter", "Against the starter"],
  ["previous", "What this step did"],
];
const fileWords = { added: "new", modified: "changed", removed: "removed", same: "" };
const howWords = {
  recorded: "recorded at this step",
  attempt: "from the files of a graded attempt",
  edit: "worked out from the agent's edits",
  starter: "as the task gave it",
};

// {node, open({step, path, against})}; `moved({step, path, against})` is called when the reader chooses.
export function filesPanel(show, moved) {
  const panel = { show, moved, at: {}, turn: 0, later: 0 };
  panel.range = h("input", {
    type: "range",
    min: 1,
    max: Math.max(show.doc.steps, 1),
    "aria-label": "Files as of step",
  });
  panel.told = h("output", { class: "files-step" });
  panel.note = h("p", { class: "files-note", hidden: true });
  panel.list = h("nav", { class: "files-list", "aria-label": "Files of the workspace" });
  panel.text = h("section", { class: "files-text", "aria-live": "off", "aria-label": "File" });
  const step = (by) => () => goFiles(panel, { step: Math.min(Math.max(panel.at.step + by, 1), show.doc.steps) });
  panel.node = h(
    "div",
    { class: "files-panel" },
    h(
      "div",
      { class: "files-head" },
      h("button", { type: "button", class: "small", "aria-label": "one step back", onclick: step(-1) }, "‹"),
      panel.range,
      h("button", { type: "button", class: "small", "aria-label": "one step on", onclick: step(1) }, "›"),
      panel.told,
    ),
    panel.note,
    h("div", { class: "files-both" }, panel.list, panel.text),
  );
  panel.range.addEventListener("input", () => {
    tellFilesStep(panel, Number(panel.range.value));
    clearTimeout(panel.later);
    panel.later = setTimeout(() => goFiles(panel, { step: Number(panel.range.value) }), 120);
  });
  return { node: panel.node, open: (place) => openFiles(panel, place) };
}

function goFiles(panel, place) {
  const next = { ...panel.at, ...place };
  panel.moved(next);
  return openFiles(panel, next);
}

function tellFilesStep(panel, step) {
  const { doc } = panel.show;
  panel.range.max = Math.max(doc.steps, 1);
  panel.range.value = step;
  const brief = doc.line.brief[step - 1] || "";
  panel.range.setAttribute("aria-valuetext", `step ${step} of ${doc.steps}: ${brief}`);
  clear(panel.told).append(`After step ${step} of ${doc.steps} `, h("span", { class: "quiet" }, brief));
}

async function openFiles(panel, { step, path = "", against = "" }) {
  const turn = ++panel.turn;
  const at = { step: step || panel.show.doc.steps, path, against: against || "none" };
  panel.at = at;
  tellFilesStep(panel, at.step);
  try {
    const found = await get(`e/${panel.show.path}/files`, { step: at.step }, { fresh: panel.show.doc.result === null });
    if (turn !== panel.turn) return;
    panel.note.hidden = !found.note;
    panel.note.textContent = found.note || "";
    if (!at.path) at.path = firstFile(found.files);
    drawFiles(panel, found.files);
    const file = found.files.find((each) => each.path === at.path);
    if (at.path) await drawFile(panel, file, turn);
    else clear(panel.text).append(h("p", { class: "nothing" }, "No files are known of this step."));
  } catch (problem) {
    if (turn === panel.turn) clear(panel.text).append(h("p", { role: "alert" }, problem.message));
  }
}

function firstFile(files) {
  const there = files.filter((file) => file.change !== "removed");
  const newest = there.filter((file) => file.change !== "same").sort((a, b) => b.since - a.since)[0];
  return (newest || there.find((file) => file.path.endsWith(".py")) || there[0])?.path || "";
}

// Files in folders; a folder that holds the chosen or a changed file stands open.
function drawFiles(panel, files) {
  const root = { folders: new Map(), files: [] };
  for (const file of files) {
    const parts = file.path.split("/");
    let at = root;
    for (const part of parts.slice(0, -1)) {
      if (!at.folders.has(part)) at.folders.set(part, { folders: new Map(), files: [] });
      at = at.folders.get(part);
    }
    at.files.push([parts.at(-1), file]);
  }
  clear(panel.list).append(
    h("p", { class: "quiet" }, plural(files.filter((file) => file.change !== "removed").length, "file")),
    folderNode(panel, root),
  );
}

function folderNode(panel, folder) {
  const folders = [...folder.folders].map(([name, inside]) =>
    h(
      "li",
      {},
      h("details", { open: folderMatters(panel, inside) }, h("summary", {}, `${name}/`), folderNode(panel, inside)),
    ),
  );
  const files = folder.files.map(([name, file]) => {
    const chosen = file.path === panel.at.path;
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: `file-name ${file.change}`,
          "aria-current": chosen ? "true" : null,
          "data-path": file.path,
          onclick: () => goFiles(panel, { path: file.path }),
        },
        h("span", { class: "path" }, name),
        fileWords[file.change] ? h("span", { class: "word" }, fileWords[file.change]) : null,
      ),
    );
  });
  return h("ul", {}, ...folders, ...files);
}

function folderMatters(panel, folder) {
  const here = folder.files.some(([, file]) => file.change !== "same" || file.path === panel.at.path);
  return here || [...folder.folders.values()].some((inside) => folderMatters(panel, inside));
}

async function drawFile(panel, file, turn) {
  const { step, path, against } = panel.at;
  const found = await get(
    `e/${panel.show.path}/file`,
    { step, path, against },
    { fresh: panel.show.doc.result === null },
  );
  if (turn !== panel.turn) return;
  const sides = fileSides.map(([side, words]) =>
    h(
      "button",
      {
        type: "button",
        class: "small",
        "aria-pressed": String(side === against),
        "data-against": side,
        onclick: () => goFiles(panel, { against: side }),
      },
      words,
    ),
  );
  const facts = [`${count(found.size)} bytes`, file ? fileWords[file.change] : "", file ? howWords[file.how] : ""];
  const since = file?.since
    ? h("a", { href: panel.show.link({ step: file.since }) }, `last changed at step ${file.since}`)
    : null;
  clear(panel.text).append(
    h(
      "div",
      { class: "file-head" },
      h("h3", {}, path),
      h("div", { role: "group", "aria-label": "Show", class: "sides" }, ...sides),
    ),
    h("p", { class: "quiet facts" }, facts.filter(Boolean).join(" · "), since ? " · " : null, since),
    fileBody(found, against),
  );
}

function fileBody(found, against) {
  if (found.binary) return h("p", { class: "nothing" }, "This file is not text.");
  if (found.note) return h("p", { class: "nothing" }, found.note);
  if (against !== "none") {
    const same = !found.hunks || !found.hunks.length;
    if (same)
      return h(
        "p",
        { class: "nothing" },
        against === "previous" ? "This step left the file as it was." : "The file is as the task gave it.",
      );
    const { plus, minus } = hunkCounts(found.hunks);
    return h(
      "div",
      {},
      h("p", { class: "quiet" }, `${plural(plus, "line")} added, ${minus} removed`),
      hunksNode(found.hunks, { title: found.path }),
    );
  }
  if (!found.spans) return h("p", { class: "nothing" }, "Its content at this step is not known.");
  return h(
    "div",
    {},
    spansNode(found.spans, { first: 1, label: found.path }),
    found.cut ? h("p", { class: "quiet" }, "The file is longer; this is its beginning.") : null,
  );
}
