// Each call of the model: what it cost, and on demand the exact messages and the reply.
import { h, clear, count, money, number, plural, seconds } from "./dom.js";
import { get } from "./source.js";
import { shownNode } from "./shown.js";

const callsAtOnce = 200;
const roleWords = { system: "System", user: "User", assistant: "Model", tool: "Tool" };

// {node, open(n)}; `moved(n)` is called with the call that the reader opens, 0 when it is closed.
export function callsPanel(show, moved) {
  const panel = { show, moved, calls: null, from: 0, chosen: 0, node: h("div", { class: "calls-panel" }) };
  return { node: panel.node, open: (n) => openCalls(panel, n), grow: () => openCalls(panel, panel.chosen, true) };
}

async function openCalls(panel, n, fresh = false) {
  try {
    if (!panel.calls || fresh)
      panel.calls = (await get(`e/${panel.show.path}/calls`, {}, { fresh: fresh || panel.show.doc.live })).calls;
  } catch (problem) {
    clear(panel.node).append(h("p", { role: "alert" }, problem.message));
    return;
  }
  panel.chosen = n || 0;
  const at = panel.calls.findIndex((call) => call.n === panel.chosen);
  if (at >= 0 && (at < panel.from || at >= panel.from + callsAtOnce)) panel.from = at - (at % callsAtOnce);
  drawCalls(panel);
}

function drawCalls(panel) {
  const { calls, show } = panel;
  clear(panel.node);
  if (!calls.length) {
    panel.node.append(h("p", { class: "nothing" }, "No model was called in this episode."));
    return;
  }
  const names = ["call", "step", "sent", "of it cached", "received", "cost", "time", "stopped by", "model"];
  const head = h("tr", {}, ...names.map((name, at) => h("th", { scope: "col", class: at < 7 ? "num" : "" }, name)));
  const body = h("tbody");
  for (const call of calls.slice(panel.from, panel.from + callsAtOnce)) {
    const row = callRow(call, panel);
    body.append(row);
    if (call.n === panel.chosen) showCall(row, call, panel);
  }
  panel.node.append(
    h("p", { class: "quiet" }, callsLead(calls, show)),
    h(
      "div",
      { class: "table", role: "region", "aria-label": "Calls of the model", tabindex: "0" },
      h("table", {}, h("caption", { class: "unseen" }, "Calls of the model"), h("thead", {}, head), body),
    ),
    turnPages(panel),
  );
  panel.node.querySelector("tr.open")?.scrollIntoView({ block: "nearest" });
}

function callsLead(calls) {
  const sum = (name) => calls.reduce((all, call) => all + (call[name] || 0), 0);
  const sent = sum("tokens_in");
  const cached = sent ? `, ${Math.round((100 * sum("tokens_cached")) / sent)} % of it from the cache` : "";
  return (
    `${plural(calls.length, "call")} · ${count(sent)} tokens sent${cached} · ${count(sum("tokens_out"))} received · ` +
    `${money(sum("money"))} · ${seconds(sum("seconds"))}`
  );
}

function turnPages(panel) {
  if (panel.calls.length <= callsAtOnce) return null;
  const turn = (by) => () => {
    panel.from += by;
    panel.chosen = 0;
    drawCalls(panel);
  };
  const last = Math.min(panel.from + callsAtOnce, panel.calls.length);
  return h(
    "p",
    { class: "pages" },
    h("button", { type: "button", class: "small", disabled: panel.from === 0, onclick: turn(-callsAtOnce) }, "earlier"),
    ` ${panel.from + 1}–${last} of ${panel.calls.length} `,
    h(
      "button",
      { type: "button", class: "small", disabled: last >= panel.calls.length, onclick: turn(callsAtOnce) },
      "later",
    ),
  );
}

function callRow(call, panel) {
  const button = h("button", { type: "button", class: "call-open", "aria-expanded": "false" }, String(call.n));
  const step = call.step ? h("a", { href: panel.show.link({ step: call.step }) }, String(call.step)) : "–";
  const cells = [
    count(call.tokens_in),
    call.tokens_cached ? count(call.tokens_cached) : "–",
    count(call.tokens_out),
    money(call.money),
    seconds(call.seconds),
  ].map((text) => h("td", { class: "num" }, text));
  const row = h(
    "tr",
    { "data-call": call.n },
    h("th", { scope: "row", class: "num" }, button),
    h("td", { class: "num" }, step),
    ...cells,
    h("td", {}, call.stop || "–"),
    h("td", {}, [call.model, call.upstream].filter(Boolean).join(", by ")),
  );
  button.addEventListener("click", () => {
    const open = row.classList.contains("open");
    for (const other of row.parentElement.querySelectorAll("tr.open")) hideCall(other);
    panel.chosen = open ? 0 : call.n;
    panel.moved(panel.chosen);
    if (!open) showCall(row, call, panel);
  });
  return row;
}

function hideCall(row) {
  row.classList.remove("open");
  row.querySelector(".call-open").setAttribute("aria-expanded", "false");
  row.nextElementSibling?.remove();
}

async function showCall(row, call, panel) {
  row.classList.add("open");
  row.querySelector(".call-open").setAttribute("aria-expanded", "true");
  const cell = h("td", { colspan: 9 }, h("p", { class: "quiet" }, "Loading…"));
  row.after(h("tr", { class: "call-inside" }, cell));
  try {
    const found = await get(`e/${panel.show.path}/call/${call.n}`);
    clear(cell).append(callInside(found));
  } catch (problem) {
    clear(cell).append(h("p", { role: "alert" }, problem.message));
  }
}

// The messages: those sent before folded, new ones and the reply open.
function callInside(found) {
  const old = found.messages.filter((message) => !message.new);
  const fresh = found.messages.filter((message) => message.new);
  const parts = [];
  if (old.length) {
    const inside = h(
      "details",
      { class: "old-messages" },
      h("summary", {}, `${plural(old.length, "message")} sent before too`),
    );
    inside.addEventListener("toggle", () => inside.children.length < 2 && inside.append(...old.map(messageNode)));
    parts.push(inside);
  }
  return h("div", { class: "call-messages" }, ...parts, ...fresh.map(messageNode), replyNode(found.reply));
}

function messageNode(message) {
  const word = roleWords[message.role] || message.role;
  return h(
    "article",
    { class: `message ${message.role}`, "aria-label": `${word}${message.new ? ", new" : ""}` },
    h("h3", {}, word, message.new ? h("span", { class: "chip" }, "new") : null),
    callText(message.text),
    ...(message.calls || []).map(toolCallNode),
  );
}

function replyNode(reply) {
  if (!reply) return null;
  const reasoning = reply.reasoning?.text
    ? h("div", { class: "reasoning" }, h("h4", {}, "Reasoning"), callText(reply.reasoning))
    : null;
  return h(
    "article",
    { class: "message reply", "aria-label": "Reply" },
    h("h3", {}, "Reply"),
    reasoning,
    callText(reply.text),
    ...(reply.calls || []).map(toolCallNode),
  );
}

function toolCallNode(call) {
  return h("div", { class: "tool-call" }, h("p", { class: "tool" }, call.name), callText(call.arguments));
}

function callText(text) {
  if (!text || !text.text) return null;
  const shown = { kind: "text", text, spans: null, hunks: null, size: text.size, lines: text.lines, folded: false };
  const rest = text.size - [...text.text].length;
  return h(
    "div",
    {},
    shownNode(shown, { name: "observation" }),
    rest > 0 ? h("p", { class: "quiet" }, `${number(rest)} more characters are not shown here.`) : null,
  );
}
