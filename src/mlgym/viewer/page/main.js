// The shell: finds the view of an address, mounts it, and holds what all views share.
import { h, clear, ago } from "./dom.js";
import { parse, href } from "./address.js";
import { listen, help } from "./keys.js";
import { whenServer } from "./source.js";
import { runs } from "./runs.js";
import { overview } from "./overview.js";
import { search } from "./search.js";
import { episode } from "./episode.js";
import { compare } from "./compare.js";

// A view is `async (root, place, go) => {keys, stop, moved}`, all three optional: `place` is what `parse` gives;
// `moved` gets the place when only its query has changed, and says with true that it has followed.
const VIEWS = { "": runs, run: overview, all: overview, search, e: episode, compare };
const THEMES = { "": ["◐", "Theme: as the system"], light: ["○", "Theme: light"], dark: ["●", "Theme: dark"] };
const SKELETON_MS = 150;
const TICK_MS = 15000; // between two looks at how long ago things were
const EVERYWHERE = {
  "?": ["these keys", () => help(mounted.keys ?? {}, EVERYWHERE)],
  "/": ["search", () => go("#/search")],
  "g r": ["go to the runs", () => go("#/")],
  "g s": ["go to the search", () => go("#/search")],
  "g h": ["go to all episodes", () => go("#/all")],
  t: ["theme: as the system, light, dark", () => nextTheme()],
};

let mounted = {};
let mountedPlace = null;
let mounting = 0;
const scrolled = new Map();

function go(address) {
  if (address === location.hash) show();
  else location.hash = address;
}

async function show() {
  const place = parse(location.hash);
  const back = history.state?.seen === true;
  const same = mountedPlace && href(place.view, place.parts) === href(mountedPlace.view, mountedPlace.parts);
  if (same && mounted.moved?.(place)) {
    mountedPlace = place;
    return;
  }
  history.replaceState({ seen: true }, "");
  const turn = ++mounting;
  mounted.stop?.();
  mounted = {};
  mountedPlace = place;
  const root = h("div", { class: `view view-${place.view || "runs"}` });
  const wait = setTimeout(() => turn === mounting && !root.hasChildNodes() && waiting(root), SKELETON_MS);
  const view = document.getElementById("view");
  clear(view).append(root);
  document.title = "mlgym";
  markPage(place.view);
  let made;
  try {
    const mount = VIEWS[place.view];
    if (!mount) throw new Error("There is no such page.");
    made = (await mount(root, place, go)) ?? {};
  } catch (error) {
    made = failed(root, error);
  }
  clearTimeout(wait);
  if (turn !== mounting) return void made.stop?.();
  mounted = made;
  window.scrollTo(0, back ? (scrolled.get(location.hash) ?? 0) : 0);
  if (document.activeElement === document.body) view.focus({ preventScroll: true });
}

function waiting(root) {
  root.setAttribute("aria-busy", "true");
  const bars = [60, 90, 80, 95, 70].map((width) => h("span", { class: "bar", css: { width: `${width}%` } }));
  const bone = h("div", { class: "skeleton", role: "status" }, h("p", { class: "unseen", text: "Loading" }), bars);
  root.append(bone);
  const seen = new MutationObserver(() => {
    if (root.children.length < 2) return;
    bone.remove();
    root.removeAttribute("aria-busy");
    seen.disconnect();
  });
  seen.observe(root, { childList: true });
}

function failed(root, error) {
  root.removeAttribute("aria-busy");
  if (!(error instanceof Error) || error.name !== "Error") console.error(error);
  const again = h("button", { type: "button", text: "Try again", onclick: () => show() });
  const home = h("a", { href: "#/", text: "All runs" });
  const head = h("h1", { text: "This cannot be shown" });
  document.title = "Cannot be shown · mlgym";
  clear(root).append(h("div", { class: "empty" }, head, h("p", { text: error.message }), h("p", {}, again, " ", home)));
  return {};
}

function markPage(view) {
  for (const link of document.querySelectorAll("header [data-view]")) {
    if (link.dataset.view === (view === "run" ? "" : view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function theme() {
  try {
    return localStorage.getItem("mlgym-theme") ?? "";
  } catch {
    return document.documentElement.dataset.theme ?? "";
  }
}

function setTheme(name) {
  const known = THEMES[name] ? name : "";
  document.documentElement.dataset.theme = known;
  const button = document.getElementById("theme");
  const [sign, words] = THEMES[known];
  button.textContent = sign;
  button.title = `${words} (t)`;
  button.setAttribute("aria-label", words);
  try {
    localStorage.setItem("mlgym-theme", known);
  } catch {
    // From a file some browsers keep nothing: the theme lasts as long as the page.
  }
}

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(theme()) + 1) % names.length]);
}

function start() {
  setTheme(theme());
  history.scrollRestoration = "manual";
  document.getElementById("theme").addEventListener("click", nextTheme);
  document.getElementById("keys").addEventListener("click", EVERYWHERE["?"][1]);
  document.getElementById("skip").addEventListener("click", () => document.getElementById("view").focus());
  listen(() => mounted.keys ?? {}, EVERYWHERE);
  whenServer((there) => {
    const banner = document.getElementById("gone");
    banner.hidden = there;
    banner.textContent = there
      ? ""
      : "The server does not answer: what you see may be old. Is `mlgym view` still running?";
  });
  addEventListener("scroll", () => scrolled.set(location.hash, window.scrollY), { passive: true });
  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-since]")) {
      if (time.dataset.since) time.textContent = ago(Number(time.dataset.since));
    }
  }, TICK_MS);
  addEventListener("hashchange", show);
  show();
}

start();
