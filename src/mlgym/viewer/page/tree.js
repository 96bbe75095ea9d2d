// The tree of a search agent: a line for each node, deeper ones further in, the path that counts marked.
import { h, number, plural } from "./dom.js";

// The outline; `pick(node, path)` is called with a node and the nodes from the root to it.
export function treePanel(show, pick) {
  const { nodes, main } = show.doc.tree;
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const below = new Map();
  for (const node of nodes) below.set(node.parent, [...(below.get(node.parent) || []), node]);
  const kept = new Set(main);
  const scores = nodes.map((node) => node.score).filter((score) => score != null);
  const scale = [Math.min(...scores), Math.max(...scores)];
  const roots = nodes.filter((node) => !byId.has(node.parent));
  const branch = (node, path) => treeNode(node, path, { show, pick, below, kept, scale, branch });
  const words = `${plural(nodes.length, "state")}, ${plural(main.length, "state")} on the path that counts (marked ●).`;
  return h(
    "div",
    { class: "tree-panel" },
    h("p", { class: "quiet" }, `${words} Choose one to read only the steps that led to it.`),
    h(
      "ul",
      { class: "tree", role: "tree", "aria-label": "States that the agent tried", onkeydown: moveInTree },
      ...roots.map((node, at) => firstFocus(branch(node, []), at)),
    ),
  );
}

function firstFocus(item, at) {
  if (!at) item.tabIndex = 0;
  return item;
}

function treeNode(node, before, tree) {
  const path = [...before, node];
  const children = tree.below.get(node.id) || [];
  const main = tree.kept.has(node.id);
  const steps = node.first === node.last ? `step ${node.first}` : `steps ${node.first}–${node.last}`;
  const score =
    node.score == null
      ? null
      : [
          h("span", { class: "tree-bar", css: { "--part": treePart(node, tree) } }),
          h("span", { class: "tree-score" }, number(node.score)),
        ];
  const told = [
    nodeWords(node),
    node.first ? steps : "",
    node.score == null ? "" : `score ${number(node.score)}`,
    main ? "on the path that counts" : "",
  ]
    .filter(Boolean)
    .join(", ");
  const label = h(
    "span",
    { class: main ? "tree-node main" : "tree-node", "data-node": node.id, "aria-hidden": "true" },
    h("span", { class: "tree-dot" }, main ? "●" : "○"),
    h(
      "span",
      { class: "tree-label", css: { "--depth": before.length } },
      h("span", { class: "tree-name" }, nodeWords(node)),
      h("span", { class: "quiet" }, node.first ? steps : ""),
    ),
    score,
  );
  const item = h(
    "li",
    {
      role: "treeitem",
      "aria-label": told,
      "aria-expanded": children.length ? "true" : null,
      tabindex: "-1",
      class: main ? "main" : "",
    },
    label,
    children.length ? h("ul", { role: "group" }, ...children.map((child) => tree.branch(child, path))) : null,
  );
  item.addEventListener("click", (event) => {
    event.stopPropagation();
    tree.pick(node, path);
  });
  return item;
}

function nodeWords(node) {
  return node.name || (node.parent == null ? "start" : "went on");
}

function treePart(node, { show, scale }) {
  const [low, high] = scale;
  const part = high > low ? (node.score - low) / (high - low) : 1;
  return show.doc.direction === "minimize" ? 1 - part : part;
}

function moveInTree(event) {
  const items = [...event.currentTarget.querySelectorAll("[role=treeitem]")];
  const now = items.indexOf(event.target.closest("[role=treeitem]"));
  const up = items[now]?.parentElement.closest("[role=treeitem]");
  const to = {
    ArrowDown: items[now + 1],
    ArrowUp: items[now - 1],
    Home: items[0],
    End: items.at(-1),
    ArrowLeft: up,
    ArrowRight: items[now]?.querySelector("[role=treeitem]"),
  };
  if (event.key === "Enter" || event.key === " ") items[now]?.click();
  else if (!(event.key in to)) return;
  event.preventDefault();
  event.stopPropagation();
  to[event.key]?.focus();
}

// The ranges of steps along a path, in order, overlapping ones joined.
export function pathRanges(path) {
  const ranges = [];
  for (const { first, last } of path.filter((node) => node.first).sort((a, b) => a.first - b.first)) {
    const before = ranges.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else ranges.push([first, last]);
  }
  return ranges;
}
