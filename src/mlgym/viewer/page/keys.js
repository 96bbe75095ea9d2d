// Keys: the view's own before those of every view, two in a row as "g r", and the dialog that lists them.
import { h } from "./dom.js";

const WRITING = "input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select, [contenteditable]";
const PRESSING = "a, button, summary, input, [role=button], [role=gridcell]";
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", " ": "Space" };
const WAIT_MS = 1200;

// Listen for keys: `view()` and `everywhere` give {key: [description, function]}.
export function listen(view, everywhere) {
  let first = "";
  let since = 0;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (leftAlone(event)) return;
    const keys = { ...everywhere, ...view() };
    const pair = first && event.timeStamp - since < WAIT_MS ? `${first} ${event.key}` : "";
    const name = keys[pair] ? pair : event.key;
    const starts = Object.keys(keys).some((key) => key.startsWith(`${event.key} `));
    first = !keys[pair] && starts ? event.key : "";
    since = event.timeStamp;
    if (!keys[name]) return;
    event.preventDefault();
    keys[name][1](event);
  });
}

function leftAlone(event) {
  const at = event.target instanceof Element ? event.target : document.body;
  if (at.closest(WRITING)) {
    if (event.key === "Escape") at.blur();
    return true;
  }
  if (document.querySelector("dialog[open]")) return true;
  return (event.key === "Enter" || event.key === " ") && at.closest(PRESSING) !== null;
}

// Show the keys that work now.
export function help(view, everywhere) {
  const rows = (keys) =>
    Object.entries(keys).map(([key, [what]]) => h("div", {}, h("dt", {}, keyCaps(key)), h("dd", { text: what })));
  const own = Object.fromEntries(Object.entries(view).filter(([, [what]]) => what));
  const rest = Object.fromEntries(Object.entries(everywhere).filter(([key]) => !own[key]));
  const box = h(
    "dialog",
    { class: "help", "aria-labelledby": "help-title", onclose: () => box.remove() },
    h("h2", { id: "help-title", tabindex: -1, autofocus: true, text: "Keys" }),
    Object.keys(own).length ? [h("h3", { text: "On this page" }), h("dl", {}, rows(own))] : null,
    h("h3", { text: "Everywhere" }),
    h("dl", {}, rows(rest)),
    h("form", { method: "dialog" }, h("button", { text: "Close" })),
  );
  box.addEventListener("click", (event) => event.target === box && box.close());
  box.addEventListener("submit", (event) => (event.preventDefault(), box.close()));
  document.body.append(box);
  box.showModal();
}

function keyCaps(key) {
  return key.split(key === " " ? "" : " ").map((one) => h("kbd", { text: NAMES[one] ?? one }));
}
