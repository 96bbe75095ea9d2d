// What is said to those who listen to the page, politely and not all the time, and that something is gone.
import { h } from "./dom.js";

const PAUSE_MS = 10000;
let saidAt = -PAUSE_MS;
let toSay = "";

// Say a change in the live region of the page, the newest of several within ten seconds; `now` does not wait.
export function sayChange(words, now = false) {
  const waits = Boolean(toSay);
  toSay = words;
  if (now) sayIt();
  else if (!waits) setTimeout(sayIt, Math.max(0, saidAt + PAUSE_MS - performance.now()));
}

function sayIt() {
  if (!toSay) return;
  document.getElementById("said").textContent = toSay;
  saidAt = performance.now();
  toSay = "";
}

// Say at the head of a view, once, that what it shows is no longer there: its run was removed, say.
export function sayGone(root, error) {
  if (!error.gone || root.querySelector(":scope > .banner")) return;
  root.prepend(h("p", { class: "banner", role: "alert", text: `${error.message} What you see is what was there.` }));
}
