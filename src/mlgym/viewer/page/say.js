// What is said to those who listen to the page: politely, and not all the time.

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
