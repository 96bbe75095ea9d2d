// The view `compare`: a placeholder until its own module is merged.
import { h } from "./dom.js";

export async function compare(root) {
  root.append(h("h1", { text: "compare" }));
  return {};
}
