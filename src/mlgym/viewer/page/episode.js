// The view `episode`: a placeholder until its own module is merged.
import { h } from "./dom.js";

export async function episode(root) {
  root.append(h("h1", { text: "episode" }));
  return {};
}
