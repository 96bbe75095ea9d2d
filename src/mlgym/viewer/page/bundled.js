// Documents that are inside this page, or beside it as scripts: the answers of a server without one.

const holder = document.getElementById("data");
const opened = new Map(); // the name of a part, and the promise of what it holds

// The document at `path`, as the server would give it. Throws an Error with a sentence where it was left out.
export async function fromBundle(path, params) {
  const main = await part("");
  if (path === "search") return searchBundle(main, params);
  if (path === "episodes" && params.run) return ofOneRun(main.episodes, params.run);
  const [, key, rest = ""] = /^e\/((?:[^/]+\/){3}[^/]+)\/?(.*)$/.exec(path) ?? [];
  const held = key === undefined ? main : await part(main.parts[key]);
  const told = ofEpisode(held, key === undefined ? path : rest, params);
  if (told === undefined) throw new Error("This page was made without that part; `mlgym view` of the run shows it.");
  return told;
}

function ofEpisode(held, what, params) {
  if (what === "steps") {
    const from = Math.max(1, params.from ?? 1);
    return { ...held.steps, steps: held.steps.steps.slice(from - 1, from - 1 + (params.count ?? 50)) };
  }
  if (what === "text") return textPage(held[`text?field=${params.field}&step=${params.step}`], params);
  if (what === "calltext") return textPage(held[`calltext?call=${params.call}&field=${params.field}`], params);
  if (what === "file") return fileAt(held, params);
  const names = Object.keys(params).filter((name) => params[name] !== "");
  const query = names.sort().map((name) => `${name}=${params[name]}`);
  return held[what + (query.length ? `?${query.join("&")}` : "")];
}

function textPage(whole, { from = 0, count = 100000 }) {
  const leftOut = "(The rest was left out of this page: `mlgym view` of the run shows it.)";
  if (whole === undefined) return { text: leftOut, from, size: 0 };
  const letters = [...whole];
  return { text: letters.slice(from, from + count).join(""), from, size: letters.length };
}

// A file is held as it was when it changed last; a step that did not change it did nothing to it.
function fileAt(held, { step, path, against = "none" }) {
  const row = held[`files?step=${step}`]?.files.find((file) => file.path === path);
  if (row === undefined) return undefined;
  const untouched = against === "previous" && row.since !== Number(step);
  const told = held[`file?against=${untouched ? "none" : against}&path=${path}&step=${row.since}`];
  return untouched && told ? { ...told, hunks: [] } : told;
}

function ofOneRun(told, run) {
  const at = told.columns.indexOf("run");
  return { ...told, rows: told.rows.filter((row) => row[at] === run) };
}

// What a part holds, unpacked when it is first asked for.
function part(name) {
  if (name === undefined) return Promise.reject(new Error("This page does not hold that episode."));
  if (!opened.has(name)) opened.set(name, packedText(name).then(unpacked));
  return opened.get(name);
}

async function packedText(name) {
  if (name === "") return holder.textContent;
  if (!name.endsWith(".js")) return document.getElementById(name).textContent;
  const script = document.createElement("script");
  const loaded = new Promise((resolve, reject) => {
    script.onload = resolve;
    script.onerror = () => reject(new Error(`The file ${name} is missing: it belongs beside this page.`));
  });
  script.src = name;
  document.head.append(script);
  await loaded;
  script.remove();
  const text = globalThis.mlgymPart;
  delete globalThis.mlgymPart;
  return text;
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { documents, shared } = await new Response(plain).json();
  shared.forEach((value) => putShared(value, shared));
  return putShared(documents, shared);
}

// Put in place what stands once in a part and is named where it belongs as {"=": number}.
function putShared(value, shared) {
  if (value === null || typeof value !== "object") return value;
  for (const name of Object.keys(value)) {
    const inner = value[name];
    const names = inner !== null && typeof inner === "object" && !Array.isArray(inner) ? Object.keys(inner) : [];
    if (names.length === 1 && names[0] === "=") value[name] = shared[inner["="]];
    else putShared(inner, shared);
  }
  return value;
}

// The search of a page: all words in one text of a step, “a phrase” as it stands. Texts are searched as far as shown.
async function searchBundle(main, { q = "", run = "", in: where = "all", after = "", limit = 50 }) {
  const words = [...q.toLowerCase().matchAll(/["“]([^"”]+)["”]|([^\s"“”]+)/g)].map((found) => found[1] ?? found[2]);
  const fields = where === "all" ? ["action", "observation", "thought"] : [where];
  const hits = [];
  if (!words.some((word) => word.length > 2)) return { hits, more: false, after: "" };
  for (const key of Object.keys(main.parts).filter((each) => !run || each.startsWith(`${run}/`))) {
    const held = await part(main.parts[key]);
    for (const { n, ...card } of held.steps.steps) {
      for (const field of fields) {
        const snippet = snippetOf(fieldText((held[`step/${n}`] ?? card)[field]), words);
        if (snippet) hits.push({ key, n, field, snippet });
      }
    }
  }
  const from = Number(after);
  return { hits: hits.slice(from, from + limit), more: hits.length > from + limit, after: String(from + limit) };
}

function fieldText(shown) {
  if (typeof shown.text === "string") return shown.text;
  const lines = shown.spans ?? (shown.hunks ?? []).flatMap((hunk) => hunk.lines.map((line) => line[3]));
  return shown.text?.text ?? lines.map((line) => line.map((span) => span[1]).join("")).join("\n");
}

function snippetOf(text, words) {
  const small = text.toLowerCase();
  const places = words.map((word) => small.indexOf(word));
  if (small.length !== text.length || places.includes(-1)) return null;
  const first = Math.min(...places);
  const start = Math.max(0, first - 60);
  const shown = text.slice(start, first + 160);
  const pattern = new RegExp(words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "giu");
  const snippet = start ? [["", "…"]] : [];
  let at = 0;
  for (const found of shown.matchAll(pattern)) {
    snippet.push(["", shown.slice(at, found.index)], ["hit", found[0]]);
    at = found.index + found[0].length;
  }
  return [...snippet, ["", shown.slice(at)]];
}
