// The conversation: steps in blocks that are fetched as they come near, so that 10,000 of them scroll like ten.
import { h, clear, plural } from "./dom.js";
import { bundled, get } from "./source.js";
import { sayChange } from "./say.js";
import { foldAll, unfoldAll } from "./shown.js";
import { stepNode } from "./step.js";

const pageSteps = 50;
const blockSteps = 25;
const blocksKept = 12;
const stepHigh = 240;

// The list of steps and what can be done with it: see what is returned.
// `told(n)` is called when a step is chosen by hand, `everything()` when all steps are wanted again.
export function conversation(show, { told, everything }) {
  const talk = { show, told, everything, blocks: [], chosen: 0, ranges: null, wide: false };
  talk.list = h("div", { class: "steps", role: "feed", "aria-label": "Steps", "aria-busy": "false" });
  talk.note = h("p", { class: "only", role: "status", hidden: true });
  talk.none = h("p", { class: "nothing" }, "No step has been taken yet.");
  talk.node = h("div", { class: "conversation" }, talk.note, talk.none, talk.list);
  talk.watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const block = talk.blocks.find((each) => each.node === entry.target);
        if (!block) continue;
        block.near = entry.isIntersecting;
        if (block.near) loadBlock(talk, block);
      }
      dropBlocks(talk);
    },
    { rootMargin: "1200px 0px" },
  );
  talk.list.addEventListener("focusin", (event) => pickStep(talk, event.target));
  talk.list.addEventListener("click", (event) => event.isTrusted && pickStep(talk, event.target));
  layBlocks(talk);
  return {
    node: talk.node,
    choose: (n, gently) => chooseStep(talk, n, gently),
    current: () => currentStep(talk),
    following: (n, by) => followingStep(talk, n, by),
    inView: () => viewRange(talk),
    grow: () => growBlocks(talk),
    only: (ranges, words) => showOnly(talk, ranges, words),
    unfold: (n) => toggleStep(n),
    unfoldEvery: () => toggleEvery(talk),
    stop: () => talk.watcher.disconnect(),
  };
}

function layBlocks(talk) {
  talk.watcher.disconnect();
  clear(talk.list);
  talk.blocks = [];
  for (const [first, last] of talk.ranges || [[1, talk.show.doc.steps]]) {
    for (let from = first; from <= last; from += blockSteps)
      addBlock(talk, from, Math.min(blockSteps, last - from + 1));
  }
  tellNone(talk);
}

// A feed without articles is none.
function tellNone(talk) {
  talk.none.hidden = talk.blocks.length > 0;
  talk.list.hidden = !talk.none.hidden;
}

function addBlock(talk, from, count) {
  const node = h("div", { class: "block", "data-from": from });
  const block = { from, count, node, loaded: 0, near: false, busy: null };
  emptyBlock(block, count * stepHigh);
  talk.blocks.push(block);
  talk.list.append(node);
  talk.watcher.observe(node);
}

// A block whose steps are not here is as high as they are, or may be.
function emptyBlock(block, high) {
  block.node.style.setProperty("min-block-size", `${high}px`);
  const words = block.count > 1 ? `Steps ${block.from} to ${block.from + block.count - 1} …` : `Step ${block.from} …`;
  clear(block.node).append(h("p", { class: "block-wait" }, words));
  block.loaded = 0;
}

// The page of cards that holds a step.
export function askSteps(key, step, fresh = false) {
  return get(`e/${key}/steps`, { from: step - ((step - 1) % pageSteps), count: pageSteps }, { fresh });
}

// The cards of steps from..from+count-1, by whole pages, which are kept; one that was kept short is asked for again.
async function stepCards(show, from, count) {
  const cards = [];
  const end = from + count - 1;
  for (let page = from - ((from - 1) % pageSteps); page <= end; page += pageSteps) {
    let found = await askSteps(show.path, page);
    const short = page + found.steps.length <= Math.min(end, page + pageSteps - 1);
    if (short && !bundled) found = await askSteps(show.path, page, true);
    cards.push(...found.steps.filter((card) => card.n >= from && card.n <= end));
  }
  return cards;
}

function loadBlock(talk, block) {
  if (block.loaded >= block.count) return Promise.resolve();
  block.busy ??= fillBlock(talk, block).finally(() => {
    block.busy = null;
  });
  return block.busy;
}

async function fillBlock(talk, block) {
  try {
    let got = 1;
    while (block.loaded < block.count && got > 0) got = await appendSteps(talk, block);
    if (block.loaded >= block.count) block.node.style.removeProperty("min-block-size");
    markChosen(talk);
  } catch (problem) {
    const again = h("button", { type: "button", onclick: () => loadBlock(talk, block) }, "Try again");
    clear(block.node).append(h("p", { class: "load-problem" }, problem.message, " ", again));
    sayChange(problem.message, true);
    block.loaded = 0;
  }
}

// Append the steps that a block lacks; how many came.
async function appendSteps(talk, block) {
  const from = block.from + block.loaded;
  const cards = await stepCards(talk.show, from, block.from + block.count - from);
  block.node.querySelector(":scope > p")?.remove();
  let before = block.node.lastElementChild?.dataset.call || "";
  for (const card of cards) {
    const article = stepNode(card, talk.show, card.call !== "" && card.call === before);
    article.dataset.call = card.call;
    article.setAttribute("aria-posinset", card.n);
    article.setAttribute("aria-setsize", talk.show.doc.result ? talk.show.doc.steps : -1);
    before = card.call;
    block.node.append(article);
  }
  block.loaded += cards.length;
  return cards.length;
}

// Blocks far away give their nodes back; where they were stays as high as it was.
function dropBlocks(talk) {
  const full = talk.blocks.filter((block) => block.loaded);
  const far = full.filter((block) => !block.near && !block.busy && !block.node.contains(document.activeElement));
  for (const block of far.slice(0, Math.max(full.length - blocksKept, 0))) {
    emptyBlock(block, block.node.offsetHeight);
  }
}

function growBlocks(talk) {
  if (talk.ranges) return;
  const total = talk.show.doc.steps;
  const last = talk.blocks.at(-1);
  if (last && last.count < blockSteps) {
    last.count = Math.min(blockSteps, total - last.from + 1);
    if (last.near) loadBlock(talk, last);
  }
  for (let from = last ? last.from + blockSteps : 1; from <= total; from += blockSteps) {
    addBlock(talk, from, Math.min(blockSteps, total - from + 1));
  }
  tellNone(talk);
}

function blockOf(talk, n) {
  return talk.blocks.find((block) => n >= block.from && n < block.from + block.count);
}

async function chooseStep(talk, n, { scroll = true, focus = false } = {}) {
  if (talk.ranges && !blockOf(talk, n)) showEverything(talk);
  talk.chosen = n;
  const block = blockOf(talk, n);
  if (!block) return;
  if (scroll && block.loaded < n - block.from + 1) block.node.scrollIntoView({ block: "start" });
  while (block.loaded < n - block.from + 1) {
    const before = block.loaded;
    await loadBlock(talk, block);
    if (block.loaded === before || talk.chosen !== n) return;
  }
  markChosen(talk);
  const article = stepArticle(n);
  if (scroll) article?.scrollIntoView({ block: "start" });
  if (focus) article?.focus({ preventScroll: true });
}

function stepArticle(n) {
  return document.getElementById(`step-${n}`);
}

function markChosen(talk) {
  for (const old of talk.list.querySelectorAll("[aria-current]")) {
    if (old.dataset.step !== String(talk.chosen)) old.removeAttribute("aria-current");
  }
  stepArticle(talk.chosen)?.setAttribute("aria-current", "step");
}

function pickStep(talk, target) {
  const article = target instanceof Element ? target.closest("[data-step]") : null;
  const n = Number(article?.dataset.step || 0);
  if (!n || n === talk.chosen) return;
  talk.chosen = n;
  markChosen(talk);
  talk.told(n);
}

// The steps in view, [0, 0] where there are none.
function viewRange(talk) {
  const top = document.querySelector(".stuck")?.getBoundingClientRect().bottom ?? 0;
  let from = 0;
  let to = 0;
  for (const block of talk.blocks) {
    if (!block.loaded || !crossesView(block.node, top)) continue;
    for (const article of block.node.children) {
      if (!crossesView(article, top)) continue;
      const n = Number(article.dataset.step);
      from ||= n;
      to = n;
    }
  }
  return [from, to];
}

function crossesView(node, top) {
  const box = node.getBoundingClientRect();
  return box.bottom > top + 8 && box.top < innerHeight;
}

// The chosen step where it is in view, else the first that is.
function currentStep(talk) {
  const [from, to] = viewRange(talk);
  if (!from || (talk.chosen >= from && talk.chosen <= to)) return talk.chosen;
  return from;
}

// The step before or after, among those that are shown.
function followingStep(talk, n, by) {
  const to = n + by;
  if (blockOf(talk, to)) return to;
  const others = talk.blocks.filter((block) => (by > 0 ? block.from > n : block.from < n));
  const next = by > 0 ? others[0] : others.at(-1);
  if (!next) return n;
  return by > 0 ? next.from : next.from + next.count - 1;
}

function showOnly(talk, ranges, words = "") {
  talk.ranges = ranges;
  clear(talk.note);
  talk.note.hidden = !ranges;
  if (ranges) {
    const count = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
    const all = h("button", { type: "button", class: "small", onclick: () => showEverything(talk) }, "show all steps");
    talk.note.append(`${words}: ${plural(count, "step")} of ${talk.show.doc.steps}. `, all);
  }
  layBlocks(talk);
}

function showEverything(talk) {
  showOnly(talk, null);
  talk.everything();
}

function toggleStep(n) {
  const article = stepArticle(n);
  if (!article) return;
  const open = article.querySelector(".refold, details.quietly[open]");
  if (open) foldAll(article);
  else unfoldAll(article);
}

function toggleEvery(talk) {
  talk.wide = !talk.wide;
  for (const block of talk.blocks) {
    if (!block.loaded) continue;
    if (talk.wide) unfoldAll(block.node);
    else foldAll(block.node);
  }
  return talk.wide;
}
