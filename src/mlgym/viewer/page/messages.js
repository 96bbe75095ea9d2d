// One call of a model: the exact messages that it was sent, new ones marked, and its reply with the reasoning.
import { h, plural } from "./dom.js";
import { get } from "./source.js";
import { asShown, headLetters, pageLetters, shownNode } from "./shown.js";

const oldLetters = 600;
const roleWords = { system: "System", user: "User", assistant: "Model", tool: "Tool", missing: "Not recorded" };

// The messages: those sent before folded, new ones and the reply open. `home` is the address of the episode.
export function callInside(found, home) {
  const call = { n: found.n, home };
  const old = found.messages.filter((message) => !message.new);
  const fresh = found.messages.filter((message) => message.new);
  const nodes = [
    old.length ? oldMessages(found, old, call) : null,
    ...fresh.map((message) => messageNode(message, call)),
  ];
  return h("div", { class: "call-messages" }, ...nodes, replyNode(found.reply, call));
}

function oldMessages(found, old, call) {
  const known = (found.total ?? found.messages.length) - found.messages.length + old.length;
  const inside = h(
    "details",
    { class: "old-messages" },
    h("summary", {}, `${plural(known, "message")} sent before too`),
  );
  inside.addEventListener("toggle", () => {
    if (inside.children.length < 2) inside.append(...withGaps(old, call, 0));
  });
  return inside;
}

// Messages in order; where some were left out, a button that fetches them.
function withGaps(messages, call, from) {
  let next = from;
  return messages.flatMap((message) => {
    const place = message.place ?? next;
    const gap = place > next ? [gapButton(next, place, call)] : [];
    next = place + 1;
    return [...gap, messageNode(message, call)];
  });
}

function gapButton(from, to, call) {
  const button = h("button", { type: "button", class: "further" }, `show ${plural(to - from, "message")} in between`);
  button.addEventListener("click", async () => {
    button.setAttribute("aria-busy", "true");
    const found = await get(`${call.home}/call/${call.n}`, { from }).catch((problem) => problem);
    if (found instanceof Error) return void (button.textContent = `${found.message} Try again`);
    const here = found.messages.filter((message) => message.place < to);
    const last = here.at(-1)?.place ?? to;
    const rest = last + 1 < to ? [gapButton(last + 1, to, call)] : [];
    button.replaceWith(...here.map((message) => messageNode(message, call)), ...rest);
  });
  return button;
}

function messageNode(message, call) {
  const word = roleWords[message.role] || message.role;
  const label = `${word}${message.new ? ", new" : ""}`;
  const title = h("h3", {}, word, message.new ? h("span", { class: "chip" }, "new") : null);
  return h(
    "article",
    { class: `message ${message.role}`, "aria-label": label },
    title,
    callText(message.text, call, message.place, message.new),
    ...(message.calls || []).map((made) => toolCallNode(made, message.new)),
  );
}

function replyNode(reply, call) {
  if (!reply) return null;
  const reasoning = reply.reasoning?.text
    ? h("div", { class: "reasoning" }, h("h4", {}, "Reasoning"), callText(reply.reasoning, call, "reasoning"))
    : null;
  const calls = (reply.calls || []).map((made) => toolCallNode(made, true));
  return h(
    "article",
    { class: "message reply", "aria-label": "Reply" },
    h("h3", {}, "Reply"),
    reasoning,
    callText(reply.text, call, "reply"),
    ...calls,
  );
}

function toolCallNode(made, fresh) {
  return h(
    "div",
    { class: "tool-call" },
    h("p", { class: "tool" }, made.name),
    callText(made.arguments, null, "", fresh),
  );
}

// A text; `call` and `field` say where the rest of a long one is found. What was sent before is given more briefly.
function callText(text, call, field, fresh = true) {
  if (!text || !text.text) return null;
  const shown = asShown(text, fresh ? headLetters : oldLetters);
  if (!shown.folded) return shownNode(shown, { name: "observation" });
  if (!call)
    return h(
      "div",
      {},
      shownNode({ ...shown, folded: false }, { name: "observation" }),
      h("p", { class: "quiet" }, "It goes on."),
    );
  const page = (from) => get(`${call.home}/calltext`, { call: call.n, field, from, count: pageLetters });
  const more = async () => {
    const first = await page(0);
    return { ...shown, text: { text: first.text, size: first.size, lines: text.lines }, folded: false };
  };
  return shownNode(shown, { name: "observation", more, page, whole: pageLetters });
}
