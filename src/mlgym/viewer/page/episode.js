// The page of one episode: its head, a time line, and tabs over the conversation, files, attempts, calls and the rest.
import { h, clear } from "./dom.js";
import { href, parse, update } from "./address.js";
import { get, watch } from "./source.js";
import { aboutPanel } from "./about.js";
import { attemptsPanel } from "./attempts.js";
import { callsPanel } from "./calls.js";
import { askSteps, conversation } from "./conversation.js";
import { filesPanel } from "./files.js";
import { headNode } from "./head.js";
import { episodeKeys, findWays } from "./moves.js";
import { allTabs, centreTab, drawTabs, tabNames, turnTabs } from "./tabs.js";
import { timeLine } from "./timeline.js";
import { pathRanges, treePanel } from "./tree.js";
import { sayGone } from "./say.js";

const liveEvery = 1000; // ms
const heldFor = 600;

// Mount the page of the episode that the address names.
export async function episode(root, place, go) {
  if (!place.query.get("tab")) askSteps(place.key, askedStep(place) || 1).catch(() => null); // meanwhile
  const doc = await get(`e/${place.key}`, {}, { fresh: true });
  const page = { root, go, show: showOf(doc, place.key), tab: "", follow: false, rows: [], ended: false, pending: 0 };
  page.step = (n, focus) => goStep(page, n, focus);
  page.open = (name, push) => openTab(page, name, push);
  page.unfoldEvery = () => unfoldEvery(page);
  page.setFollow = (on) => setFollow(page, on);
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

// The step that an address asks for, 0 for none.
function askedStep(place) {
  return Math.max(Math.trunc(Number(place.query.get("step"))) || 0, 0);
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
  page.head = h("div");
  page.line = timeLine(show.doc, (n) => goStep(page, n));
  page.talk = conversation(show, { told: (n) => tellStep(page, n), everything: () => leavePath(page) });
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
  page.opener = h("button", { type: "button", class: "small", onclick: () => unfoldEvery(page) }, "unfold all");
  drawHead(page);
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

// Show a tab; `push` where the back button should lead away from it again.
function openTab(page, name, push, more = {}) {
  const known = tabNames(page.show.doc).includes(name) ? name : "conversation";
  const changed = known !== page.tab;
  const inside = changed && page.panels[page.tab]?.contains(document.activeElement);
  page.tab = known;
  if (push && changed) update({ tab: known === "conversation" ? null : known, ...more }, true);
  for (const [other, panel] of Object.entries(page.panels)) panel.hidden = other !== known;
  drawTabs(page);
  if (changed) centreTab(page.tabs);
  if (inside) page.tabs.querySelector("[aria-selected=true]").focus({ preventScroll: true }); // else it would be lost
  const fill = { tree: drawTree, attempts: drawAttempts, about: drawAbout }[known];
  if (fill && (changed || !page.panels[known].firstChild)) fill(page);
  if (known === "files") page.files.open({ ...filePlace(), step: page.chosen || page.show.doc.steps });
  if (known === "calls") page.calls.open(Number(parse(location.hash).query.get("call") || 0));
  if (known === "conversation" && push && page.chosen) page.talk.choose(page.chosen);
}

function drawTree(page) {
  clear(page.panels.tree).append(
    treePanel(page.show, (node, path) => {
      page.only = String(node.id);
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
  const step = Math.min(askedStep(place), page.show.doc.steps);
  const tab = query.get("tab") || "conversation";
  if (step) {
    page.chosen = step;
    page.line.choose(step);
  }
  openTab(page, tab, false);
  onlyPath(page, query.get("node"));
  if (tab === "conversation" && step) page.talk.choose(step, { focus: !first });
}

function leavePath(page) {
  page.only = "";
  update({ node: null });
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
  if (!n || n > page.show.doc.steps) return;
  tellStep(page, n);
  if (page.tab === "files") page.files.open({ ...filePlace(), step: n });
  else {
    if (page.tab !== "conversation") openTab(page, "conversation", true);
    page.talk.choose(n, { focus });
  }
}

function filePlace() {
  const { query } = parse(location.hash);
  return { path: query.get("path") || "", against: query.get("against") || "" };
}

function tellRange(page) {
  page.frame = 0;
  if (page.tab === "conversation") page.line.range(...page.talk.inView());
}

function unfoldEvery(page) {
  holdStill(document.getElementById(`step-${page.talk.current()}`));
  page.opener.textContent = page.talk.unfoldEvery() ? "fold all" : "unfold all";
}

// Keep a node where it is while what stands above it grows or shrinks.
function holdStill(node) {
  const top = node?.getBoundingClientRect().top;
  const end = performance.now() + heldFor;
  const hold = () => {
    if (!node?.isConnected) return;
    scrollBy({ top: node.getBoundingClientRect().top - top, behavior: "instant" });
    if (performance.now() < end) requestAnimationFrame(hold);
  };
  requestAnimationFrame(hold);
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

function drawHead(page) {
  page.line.node.hidden = page.opener.hidden = page.show.doc.steps === 0;
  const open = page.head.querySelector(".instruction")?.open;
  clear(page.head).append(headNode(page.show, page.ways));
  if (open) page.head.querySelector(".instruction").open = true;
}

// The episode has grown: what is shown grows at its end.
async function refresh(page) {
  page.pending = 0;
  if (page.ended) return;
  let doc;
  try {
    doc = await get(`e/${page.show.path}`, {}, { fresh: true });
  } catch (error) {
    return sayGone(page.root, error); // The shell says that the server is away; the next change asks again.
  }
  if (page.ended || doc.version === page.show.doc.version) return;
  page.show.doc = doc;
  if (!page.head.contains(document.activeElement)) drawHead(page);
  drawTabs(page);
  page.line.update(doc);
  page.talk.grow();
  const fill = { tree: drawTree, attempts: drawAttempts, about: drawAbout }[page.tab];
  if (fill && !page.panels[page.tab].contains(document.activeElement)) fill(page);
  if (page.tab === "calls") page.calls.grow();
  if (page.follow) followEnd(page);
}
