// The view `runs`.
import { h } from "./dom.js";

export async function runs(root) {
  root.append(h("h1", { text: "runs" }));
  return {};
}
