// The view of all runs: which there are, how far each is, and where to read on.
import { h, clear, money, moment, when, plural, visible } from "./dom.js";
import { href } from "./address.js";
import { get, watch } from "./source.js";
import { stateChip } from "./signs.js";
import { sayChange } from "./say.js";

const KINDS = { training: "stored training", imported: "imported", generated: "generated" };

// The runs at `#/`; where there is only one, its overview or its only episode.
export async function runs(root, place, go) {
  let told = await get("runs");
  if (told.runs.length === 1) {
    location.replace(await onlyAddress(told.runs[0]));
    return {};
  }
  const body = h("tbody");
  const rows = new Map(); // by the run's name
  const shown = new Map(); // what each row shows
  let cursor = -1;

  function show() {
    const ordered = rows.size
      ? told.runs
      : [...told.runs].sort((a, b) => (b.state === "running") - (a.state === "running") || b.changed - a.changed);
    for (const run of ordered) {
      const row = rows.get(run.run) ?? body.appendChild(h("tr", { "data-run": visible(run.run) }));
      const said = JSON.stringify(run);
      if (shown.get(row) !== said) fillRun(row, run);
      shown.set(row, said);
      rows.set(run.run, row);
    }
    const names = new Set(told.runs.map((run) => run.run));
    rows.forEach((row, name) => names.has(name) || (row.remove(), rows.delete(name)));
    const going = told.runs.filter((run) => run.state === "running").length;
    document.title = `${going ? `${going} running · ` : ""}Runs · mlgym`;
  }

  function move(by) {
    const links = [...body.querySelectorAll("th a")];
    const at = links.indexOf(document.activeElement);
    cursor = Math.max(0, Math.min(links.length - 1, (at < 0 ? cursor : at) + by));
    links[cursor]?.focus();
  }

  const head = ["Run", "State", "Episodes", "Tasks", "Methods", "Money", "Began", "Last change"].map((text, at) =>
    h("th", { scope: "col", class: at > 2 && at < 6 ? "num" : "", text }),
  );
  root.append(h("h1", { tabindex: -1, text: "Runs" }));
  if (!told.runs.length) root.append(nothingYet());
  else
    root.append(
      h(
        "div",
        { class: "table runs" },
        h("table", {}, h("caption", { class: "unseen", text: "Runs" }), h("thead", {}, h("tr", {}, head)), body),
      ),
    );
  show();
  const stop = watch(async () => {
    const ended = told.runs.reduce((sum, run) => sum + run.ended, 0);
    const now = await get("runs", {}, { fresh: true }).catch(() => told);
    if (now.version === told.version) return;
    const first = !told.runs.length && now.runs.length;
    told = now;
    if (first) return void go("#/");
    show();
    const after = told.runs.reduce((sum, run) => sum + run.ended, 0);
    if (after !== ended) sayChange(`${plural(after, "episode")} ended in ${plural(told.runs.length, "run")}.`);
  });
  return {
    stop,
    keys: {
      j: ["next run", () => move(1)],
      k: ["the one before", () => move(-1)],
      Enter: ["open it", () => cursor >= 0 && body.querySelectorAll("th a")[cursor]?.click()],
    },
  };
}

async function onlyAddress(run) {
  if (run.episodes !== 1) return href("run", [run.run]);
  const { columns, rows } = await get("episodes", { run: run.run });
  return href("e", rows[0][columns.indexOf("key")]);
}

function fillRun(row, run) {
  const kind = KINDS[run.kind] ? h("span", { class: "chip", text: KINDS[run.kind] }) : null;
  const name = h(
    "th",
    { scope: "row" },
    h("a", { href: href("run", [run.run]), text: run.run }),
    " ",
    kind,
    h("span", { class: "path quiet small", text: run.path }),
  );
  const share = run.episodes ? (100 * run.ended) / run.episodes : 0;
  const bar = h("span", { class: "share", "aria-hidden": "true" }, h("i", { css: { width: `${share}%` } }));
  const of = ["running", "failed", "missing"].filter((state) => run[state]);
  const going = of.map((state) => `, ${run[state]} ${state}`).join("");
  const words = `${run.ended.toLocaleString("en")} of ${run.episodes.toLocaleString("en")}${going}`;
  clear(row).append(
    name,
    h("td", {}, stateChip(run.state)),
    h("td", {}, bar, h("span", { text: words })),
    h("td", { class: "num", text: run.tasks }),
    h("td", { class: "num", text: run.methods }),
    h("td", { class: "num", text: money(run.money) }),
    h("td", {}, moment(run.began)),
    h("td", {}, when(run.changed)),
  );
}

function nothingYet() {
  return h(
    "div",
    { class: "empty" },
    h("p", { text: "There is no run here yet. When one begins, it shows here by itself." }),
    h(
      "p",
      {},
      "Begin one with ",
      h("code", { text: "mlgym demo" }),
      " or ",
      h("code", { text: "mlgym run TASK --agent AGENT" }),
      ".",
    ),
  );
}
