// The view `search`.
import { h } from "./dom.js";

export async function search(root) {
  root.append(h("h1", { text: "search" }));
  return {};
}
