// The page of one episode: its head, a time line, and tabs over the conversation, files, attempts, calls and the rest.
import { h, clear } from "./dom.js";
import { href, update } from "./address.js";
import { bundled, get, watch } from "./source.js";
import { aboutPanel } from "./about.js";
import { attemptsPanel } from "./attempts.js";
import { callsPanel } from "./calls.js";
import { announce, conversation } from "./conversation.js";
import { filesPanel } from "./files.js";
import { headNode, wayNode } from "./head.js";
import { stepMarks, timeLine } from "./timeline.js";
import { pathRanges, treePanel } from "./tree.js";

const liveEvery = 1000;

// Mount the page of the episode that the address names.
export async function episode(root, place, go) {
  const doc = await get(`e/${place.key}`, {}, { fresh: true });
  const page = { root, go, show: showOf(doc, place.key), tab: "", follow: false, rows: [], ended: false, pending: 0 };
  buildPage(page);
  const stopWatch = watch((told) => (!told.changed || told.changed.includes(doc.key)) && refreshSoon(page));
  requestAnimationFrame(() => !page.ended && followPlace(page, place, true));
  findWays(page);
  const seenSoon = () => {
    page.frame ||= requestAnimationFrame(() => tellRange(page));
  };
  addEventListener("scroll", seenSoon, { passive: true });
  return {
    keys: episodeKeys(page),
    moved: (next) => (followPlace(page, next, false), true),
    stop: () => {
      page.ended = true;
      removeEventListener("scroll", seenSoon);
      stopWatch();
      page.talk.stop();
    },
  };
}

// What all parts of the page ask for: the document and what follows from it.
export function showOf(doc, path) {
  const show = {
    doc,
    path,
    link: (params) => href("e", path, params),
    attempt: (n) => (n == null ? null : show.doc.attempts.find((attempt) => attempt.n === n) || null),
    paid: (n) => (show.doc.line.money[n - 1] ?? 0) - (show.doc.line.money[n - 2] ?? 0),
    bestBefore: (attempt, split) => bestScore(show.doc, split, (other) => other.n < attempt.n),
  };
  return show;
}

function bestScore(doc, split, which) {
  const scores = doc.attempts.filter((other) => which(other) && other.valid).map((other) => other[split]?.[doc.metric]);
  const known = scores.filter((score) => score != null);
  if (!known.length) return null;
  return doc.direction === "minimize" ? Math.min(...known) : Math.max(...known);
}

function buildPage(page) {
  const { show, root } = page;
  document.title = `${show.doc.task} · ${show.doc.method} · ${show.doc.seed}`;
  page.ways = h("nav", { class: "ways", "aria-label": "Other episodes" });
  page.head = h("div", {}, headNode(show, page.ways));
  page.line = timeLine(show.doc, (n) => goStep(page, n));
  page.talk = conversation(show, { told: (n) => tellStep(page, n), everything: () => update({ node: null }) });
  page.files = filesPanel(show, ({ step, path, against }) => {
    tellStep(page, step);
    update({ path, against: against === "none" ? null : against });
  });
  page.calls = callsPanel(show, (n) => update({ call: n || null }));
  page.tabs = h("div", {
    class: "tabs",
    role: "tablist",
    "aria-label": "Parts of the episode",
    onkeydown: (event) => turnTabs(page, event),
  });
  page.panels = Object.fromEntries(
    allTabs.map((name) => [
      name,
      h("section", {
        id: `panel-${name}`,
        class: "panel",
        role: "tabpanel",
        "aria-labelledby": `tab-${name}`,
        hidden: true,
      }),
    ]),
  );
  page.follower = h(
    "button",
    { type: "button", class: "small", "aria-pressed": "false", onclick: () => setFollow(page, !page.follow) },
    "follow",
  );
  page.opener = h("button", { type: "button", class: "small", onclick: () => page.talk.unfoldEvery() }, "unfold all");
  const heading = (words) => h("h2", { class: "unseen", text: words });
  page.panels.conversation.append(
    heading("Conversation"),
    h("div", { class: "talk-head" }, page.opener, page.follower),
    page.talk.node,
  );
  page.panels.files.append(heading("Files"), page.files.node);
  page.panels.calls.append(heading("Calls"), page.calls.node);
  drawTabs(page);
  root.append(
    h(
      "div",
      { class: "episode" },
      page.head,
      h("div", { class: "stuck" }, page.tabs, page.line.node),
      ...Object.values(page.panels),
    ),
  );
  const stuck = root.querySelector(".stuck");
  new ResizeObserver(() => {
    const top = Number.parseFloat(getComputedStyle(stuck).top) || 0;
    root.style.setProperty("--stuck", `${top + stuck.offsetHeight}px`);
  }).observe(stuck);
}

const allTabs = ["conversation", "tree", "files", "attempts", "calls", "about"];

// The tabs of this episode: a tree where there is one.
function tabNames(doc) {
  return allTabs.filter((name) => name !== "tree" || doc.tree?.nodes.length > 2);
}

function drawTabs(page) {
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
          onclick: () => openTab(page, name, true),
        },
        name[0].toUpperCase() + name.slice(1),
        counts[name] == null ? null : h("span", { class: "count" }, ` ${counts[name]}`),
      ),
    ),
  );
  const chosen = page.tabs.querySelector("[aria-selected=true]");
  if (focused) chosen?.focus();
  if (chosen) page.tabs.scrollLeft = chosen.offsetLeft + chosen.offsetWidth / 2 - page.tabs.clientWidth / 2;
}

function turnTabs(page, event) {
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
  openTab(page, names[to], true);
}

// Show a tab; `push` where the back button should lead away from it again.
function openTab(page, name, push, more = {}) {
  const known = tabNames(page.show.doc).includes(name) ? name : "conversation";
  const changed = known !== page.tab;
  page.tab = known;
  if (push && changed) update({ tab: known === "conversation" ? null : known, ...more }, true);
  for (const [other, panel] of Object.entries(page.panels)) panel.hidden = other !== known;
  drawTabs(page);
  const fill = { tree: drawTree, attempts: drawAttempts, about: drawAbout }[known];
  if (fill && (changed || !page.panels[known].firstChild)) fill(page);
  const query = new URLSearchParams(location.hash.split("?")[1] || "");
  if (known === "files") {
    page.files.open({
      step: page.chosen || page.show.doc.steps,
      path: query.get("path") || "",
      against: query.get("against") || "",
    });
  }
  if (known === "calls") page.calls.open(Number(query.get("call") || 0));
  if (known === "conversation" && push && page.chosen) page.talk.choose(page.chosen);
}

function drawTree(page) {
  clear(page.panels.tree).append(
    treePanel(page.show, (node, path) => {
      page.talk.only(pathRanges(path), `The path to ${node.name || "the start"}`);
      openTab(page, "conversation", true, { node: node.id });
      goStep(page, node.first || 1);
    }),
  );
}

function drawAttempts(page) {
  clear(page.panels.attempts).append(attemptsPanel(page.show));
}

function drawAbout(page) {
  clear(page.panels.about).append(aboutPanel(page.show));
}

// Do what the address says: the tab, the step, the call, the path of a tree.
function followPlace(page, place, first) {
  const { query } = place;
  const step = Math.min(Number(query.get("step") || 0), page.show.doc.steps);
  const tab = query.get("tab") || "conversation";
  if (step) {
    page.chosen = step;
    page.line.choose(step);
  }
  openTab(page, tab, false);
  onlyPath(page, query.get("node"));
  if (tab === "conversation" && step) page.talk.choose(step, { focus: !first });
}

function onlyPath(page, id) {
  const { tree } = page.show.doc;
  if (!tree || (id || "") === (page.only || "")) return;
  page.only = id || "";
  const path = [];
  for (
    let node = tree.nodes.find((each) => String(each.id) === id);
    node;
    node = tree.nodes.find((each) => each.id === node.parent)
  ) {
    path.unshift(node);
    if (path.length > tree.nodes.length) break;
  }
  if (path.length) page.talk.only(pathRanges(path), `The path to ${path.at(-1).name || "the start"}`);
  else page.talk.only(null);
}

// A step was chosen by hand: it stands in the address and on the time line.
function tellStep(page, n) {
  if (!n) return;
  if (page.follow && n !== page.show.doc.steps) setFollow(page, false);
  page.chosen = n;
  page.line.choose(n);
  update({ step: n });
}

// Go to a step, in whatever tab shows steps.
function goStep(page, n, focus = false) {
  if (!n) return;
  tellStep(page, n);
  if (page.tab === "files") page.files.open({ ...filePlace(), step: n });
  else {
    if (page.tab !== "conversation") openTab(page, "conversation", true);
    page.talk.choose(n, { focus });
  }
}

function filePlace() {
  const query = new URLSearchParams(location.hash.split("?")[1] || "");
  return { path: query.get("path") || "", against: query.get("against") || "" };
}

function tellRange(page) {
  page.frame = 0;
  if (page.tab === "conversation") page.line.range(...page.talk.inView());
}

// Go to the next step in a direction that is wanted, or say that there is none.
function seekStep(page, by, wanted, what) {
  const { line } = page.show.doc;
  const from = page.tab === "conversation" ? page.talk.current() : page.chosen || 0;
  for (let n = (from || (by > 0 ? 0 : 1)) + by; n >= 1 && n <= line.n.length; n += by) {
    if (wanted(line, n - 1)) return goStep(page, n, true);
  }
  return announce(`No ${what} ${by > 0 ? "after" : "before"} this step.`);
}

function episodeKeys(page) {
  const graded = (line, at) => line.validation[at] != null || line.attempt[at] != null;
  const wrong = (line, at) => stepMarks(line, at).some((mark) => mark === "error" || mark === "limit");
  const move = (by) => () => {
    const now = page.tab === "conversation" ? page.talk.current() : page.chosen;
    if (page.tab !== "conversation") return goStep(page, Math.min(Math.max((now || 0) + by, 1), page.show.doc.steps));
    const to = now && now === page.chosen ? page.talk.following(now, by) : now || 1;
    return goStep(page, to, true);
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
    O: ["unfold all that is loaded, or fold it", () => page.talk.unfoldEvery()],
    s: ["conversation", () => openTab(page, "conversation", true)],
    f: ["files at this step", () => openTab(page, "files", true)],
    a: ["attempts", () => openTab(page, "attempts", true)],
    c: ["model calls", () => openTab(page, "calls", true)],
    i: ["about", () => openTab(page, "about", true)],
    ...(tabNames(page.show.doc).includes("tree") ? { r: ["tree", () => openTab(page, "tree", true)] } : {}),
    ...(page.show.doc.live ? { F: ["follow what goes on", () => setFollow(page, !page.follow)] } : {}),
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
    announce(n ? `The link to step ${n} is copied.` : "The link is copied.");
  } catch {
    announce(`The browser does not let pages copy; the link is ${address}`);
  }
}

// The other episodes of the run, once the page stands.
async function findWays(page) {
  try {
    const { columns, rows } = await get("episodes", bundled ? {} : { run: page.show.doc.run });
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
  else announce(by > 0 ? "This is the last episode." : "This is the first episode.");
}

function setFollow(page, on) {
  page.follow = on;
  page.follower.setAttribute("aria-pressed", String(on));
  if (on) followEnd(page);
}

function followEnd(page) {
  page.chosen = page.show.doc.steps;
  page.line.choose(page.chosen);
  page.talk.choose(page.chosen);
}

function refreshSoon(page) {
  page.pending ||= setTimeout(() => refresh(page), liveEvery);
}

// The episode has grown: what is shown grows at its end.
async function refresh(page) {
  page.pending = 0;
  if (page.ended) return;
  let doc;
  try {
    doc = await get(`e/${page.show.path}`, {}, { fresh: true });
  } catch {
    return; // The shell says that the server is away; the next change asks again.
  }
  if (page.ended || doc.version === page.show.doc.version) return;
  page.show.doc = doc;
  clear(page.head).append(headNode(page.show, page.ways));
  drawTabs(page);
  page.line.update(doc);
  page.talk.grow();
  if (page.tab === "attempts") drawAttempts(page);
  if (page.tab === "about") drawAbout(page);
  if (page.tab === "tree") drawTree(page);
  if (page.tab === "calls") page.calls.grow();
  if (page.follow) followEnd(page);
}
