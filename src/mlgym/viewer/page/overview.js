// The view `overview`.
import { h } from "./dom.js";

export async function overview(root) {
  root.append(h("h1", { text: "overview" }));
  return {};
}
