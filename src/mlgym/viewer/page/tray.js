// The tray of episodes that a reader has selected, to compare them.
import { h, clear } from "./dom.js";
import { href } from "./address.js";
import { sayChange } from "./say.js";

// Keys of the selected episodes, as long as the page is open.
export const picked = new Set();

// The tray: `drop()` is called when all are let go. Gives {node, show(table), compare()}.
export function pickedTray(drop, go) {
  const node = h("div", { class: "tray", role: "region", "aria-label": "Selected episodes", hidden: true });
  let [chosen, hint] = [[], "Select episodes first."];

  function compare() {
    if (hint) sayChange(hint, true);
    else go(href("compare", [], { e: chosen }));
  }

  return {
    node,
    compare,
    show(table) {
      chosen = [...picked].filter((key) => table.place.has(key));
      const tasks = new Set(chosen.map((key) => table.task[table.place.get(key)]));
      node.hidden = chosen.length === 0;
      hint = chosen.length === 0 ? "Select episodes first." : "";
      if (chosen.length === 1) hint = "Choose another one of this task to compare.";
      if (tasks.size > 1) hint = "To compare them, choose episodes of one task.";
      const both = {
        type: "button",
        class: "primary",
        disabled: hint !== "",
        "aria-keyshortcuts": "c",
        onclick: compare,
      };
      clear(node).append(
        h("span", { text: `${chosen.length} selected` }),
        h("span", { class: "quiet small", text: hint }),
        h("button", { ...both, text: "Compare" }),
        h("button", { type: "button", text: "Clear", onclick: () => (picked.clear(), drop()) }),
      );
    },
  };
}
