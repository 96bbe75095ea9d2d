// The keys of an episode's page, and where they lead: steps, gradings, errors, tabs, the episodes before and after.
import { clear } from "./dom.js";
import { href } from "./address.js";
import { get } from "./source.js";
import { sayChange } from "./say.js";
import { wayNode } from "./head.js";
import { tabNames } from "./tabs.js";
import { stepMarks } from "./timeline.js";

// Go to the next step in a direction that is wanted, or say that there is none.
function seekStep(page, by, wanted, what) {
  const { line } = page.show.doc;
  const from = page.tab === "conversation" ? page.talk.current() : page.chosen || 0;
  for (let n = (from || (by > 0 ? 0 : 1)) + by; n >= 1 && n <= line.n.length; n += by) {
    if (wanted(line, n - 1)) return page.step(n, true);
  }
  return sayChange(`No ${what} ${by > 0 ? "after" : "before"} this step.`, true);
}

// The keys of a page, which has `step`, `open`, `unfoldEvery` and `setFollow` to act by.
export function episodeKeys(page) {
  const graded = (line, at) => line.validation[at] != null || line.attempt[at] != null;
  const wrong = (line, at) => stepMarks(line, at).some((mark) => mark === "error" || mark === "limit");
  const move = (by) => () => {
    const now = page.tab === "conversation" ? page.talk.current() : page.chosen;
    if (page.tab !== "conversation") return page.step(Math.min(Math.max((now || 0) + by, 1), page.show.doc.steps));
    const to = now && now === page.chosen ? page.talk.following(now, by) : now || 1;
    return page.step(to, true);
  };
  const toggle = () => page.talk.unfold(page.talk.current());
  return {
    j: ["next step", move(1)],
    k: ["previous step", move(-1)],
    n: ["next grading", () => seekStep(page, 1, graded, "grading")],
    p: ["previous grading", () => seekStep(page, -1, graded, "grading")],
    e: ["next error or limit", () => seekStep(page, 1, wrong, "error")],
    E: ["previous error or limit", () => seekStep(page, -1, wrong, "error")],
    o: ["unfold the step, or fold it", toggle],
    Enter: ["", toggle],
    O: ["unfold all that is loaded, or fold it", () => page.unfoldEvery()],
    s: ["conversation", () => page.open("conversation", true)],
    f: ["files at this step", () => page.open("files", true)],
    a: ["attempts", () => page.open("attempts", true)],
    c: ["model calls", () => page.open("calls", true)],
    i: ["about", () => page.open("about", true)],
    ...(tabNames(page.show.doc).includes("tree") ? { r: ["tree", () => page.open("tree", true)] } : {}),
    ...(page.show.doc.live ? { F: ["follow what goes on", () => page.setFollow(!page.follow)] } : {}),
    "[": ["previous episode", () => neighbour(page, -1)],
    "]": ["next episode", () => neighbour(page, 1)],
    y: ["copy the link to this step", () => copyLink(page)],
  };
}

async function copyLink(page) {
  const n = page.talk.current() || page.chosen;
  const address = new URL(page.show.link({ step: n || null }), location.href).href;
  try {
    await navigator.clipboard.writeText(address);
    sayChange(n ? `The link to step ${n} is copied.` : "The link is copied.", true);
  } catch {
    sayChange(`The browser does not let pages copy; the link is ${address}`, true);
  }
}

// The other episodes of the run, once the page stands.
export async function findWays(page) {
  try {
    const { columns, rows } = await get("episodes", { run: page.show.doc.run });
    const at = Object.fromEntries(
      ["key", "task", "method", "seed", "run"].map((name) => [name, columns.indexOf(name)]),
    );
    page.rows = rows
      .map((row) => Object.fromEntries(Object.entries(at).map(([name, place]) => [name, row[place]])))
      .filter((row) => row.run === page.show.doc.run)
      .sort((a, b) => a.task.localeCompare(b.task) || a.method.localeCompare(b.method) || a.seed - b.seed);
    clear(page.ways).append(...wayNode(page.show, page.rows).filter(Boolean));
  } catch {
    page.rows = []; // One episode alone has no neighbours.
  }
}

function neighbour(page, by) {
  const at = page.rows.findIndex((row) => row.key === page.show.doc.key);
  const row = at < 0 ? null : page.rows[at + by];
  if (row) page.go(href("e", row.key));
  else sayChange(by > 0 ? "This is the last episode." : "This is the first episode.", true);
}
