// The tabs of an episode's page: which there are, and the row of them.
import { h, clear } from "./dom.js";

export const allTabs = ["conversation", "tree", "files", "attempts", "calls", "about"];

// The tabs of this episode: a tree where there is one.
export function tabNames(doc) {
  return allTabs.filter((name) => name !== "tree" || doc.tree?.nodes.length > 1);
}

export function drawTabs(page) {
  const { doc } = page.show;
  const counts = {
    conversation: doc.steps,
    attempts: doc.attempts.length,
    calls: doc.calls,
    tree: doc.tree?.nodes.length,
  };
  page.follower.hidden = !doc.live;
  const focused = page.tabs.contains(document.activeElement);
  clear(page.tabs).append(
    ...tabNames(doc).map((name) =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${name}`,
          "aria-selected": String(name === page.tab),
          "aria-controls": `panel-${name}`,
          tabindex: name === page.tab ? "0" : "-1",
          onclick: () => page.open(name, true),
        },
        name[0].toUpperCase() + name.slice(1),
        counts[name] == null ? null : h("span", { class: "count" }, ` ${counts[name]}`),
      ),
    ),
  );
  if (focused) page.tabs.querySelector("[aria-selected=true]")?.focus();
}

// On a narrow screen the tabs scroll: the chosen one is brought into sight.
export function centreTab(tabs) {
  const chosen = tabs.querySelector("[aria-selected=true]");
  tabs.scrollLeft = chosen.offsetLeft + chosen.offsetWidth / 2 - tabs.clientWidth / 2;
}

export function turnTabs(page, event) {
  const names = tabNames(page.show.doc);
  const now = names.indexOf(page.tab);
  const to = {
    ArrowRight: (now + 1) % names.length,
    ArrowLeft: (now + names.length - 1) % names.length,
    Home: 0,
    End: names.length - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  page.open(names[to], true);
}
