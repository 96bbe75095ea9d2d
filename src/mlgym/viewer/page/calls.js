// Each call of the model: what it cost, and on demand the exact messages and the reply.
import { h, clear, count, money, plural, seconds } from "./dom.js";
import { get } from "./source.js";
import { callInside } from "./messages.js";

const callsAtOnce = 200;
// Columns, of which those stand there that any call has something in: name, value, how it is told, whether a figure.
const callColumns = [
  ["sent", (call) => call.tokens_in, count, true],
  ["of it cached", (call) => call.tokens_cached, count, true],
  ["received", (call) => call.tokens_out, count, true],
  ["cost", (call) => call.money, money, true],
  ["time", (call) => call.seconds, seconds, true],
  ["stopped by", (call) => call.stop, String, false],
  ["model", (call) => [call.model, call.upstream].filter(Boolean).join(", by "), String, false],
];

// {node, open(n)}; `moved(n)` is called with the call that the reader opens, 0 when it is closed.
export function callsPanel(show, moved) {
  const panel = { show, moved, calls: null, from: 0, chosen: 0, node: h("div", { class: "calls-panel" }) };
  return { node: panel.node, open: (n) => openCalls(panel, n), grow: () => openCalls(panel, panel.chosen, true) };
}

async function openCalls(panel, n, fresh = false) {
  try {
    if (!panel.calls || fresh)
      panel.calls = (
        await get(`e/${panel.show.path}/calls`, {}, { fresh: fresh || panel.show.doc.result === null })
      ).calls;
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
  const { calls } = panel;
  clear(panel.node);
  if (!calls.length) {
    panel.node.append(h("p", { class: "nothing" }, "No model was called in this episode."));
    return;
  }
  panel.columns = callColumns.filter(([, value]) => calls.some(value));
  const names = [["call", true], ["step", true], ...panel.columns.map(([name, , , figure]) => [name, figure])];
  const head = h(
    "tr",
    {},
    ...names.map(([name, figure]) => h("th", { scope: "col", class: figure ? "num" : "" }, name)),
  );
  const body = h("tbody");
  for (const call of calls.slice(panel.from, panel.from + callsAtOnce)) {
    const row = callRow(call, panel);
    body.append(row);
    if (call.n === panel.chosen) showCall(row, call, panel);
  }
  panel.node.append(
    h("p", { class: "quiet" }, callsLead(calls)),
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
  const parts = [
    plural(calls.length, "call"),
    sent ? `${count(sent)} tokens sent${cached}` : "",
    sum("tokens_out") ? `${count(sum("tokens_out"))} received` : "",
    sum("money") ? money(sum("money")) : "",
    sum("seconds") ? seconds(sum("seconds")) : "",
  ];
  return parts.filter(Boolean).join(" · ");
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
  const cells = panel.columns.map(([, value, told, figure]) =>
    h("td", { class: figure ? "num" : "" }, value(call) ? told(value(call)) : "–"),
  );
  const first = [h("th", { scope: "row", class: "num" }, button), h("td", { class: "num" }, step)];
  const row = h("tr", { "data-call": call.n, class: "call-row" }, ...first, ...cells);
  row.addEventListener("click", (event) => {
    if (event.target.closest("a")) return;
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
  const cell = h("td", { colspan: panel.columns.length + 2 }, h("p", { class: "quiet" }, "Loading…"));
  row.after(h("tr", { class: "call-inside" }, cell));
  try {
    const found = await get(`e/${panel.show.path}/call/${call.n}`);
    clear(cell).append(callInside(found, `e/${panel.show.path}`));
  } catch (problem) {
    clear(cell).append(h("p", { role: "alert" }, problem.message));
  }
}
