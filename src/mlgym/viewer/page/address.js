// Addresses: `#/view/part/part?name=value`. Everything a reader has set stands there.

// The address of a view. `parts` is a list, or a key or name whose parts are joined by "/"; `params` an object (a list
// gives a name several times, nothing leaves it out) or URLSearchParams.
export function href(view, parts = [], params = {}) {
  const path = [view, ...(typeof parts === "string" ? parts.split("/") : parts)].filter((part) => part !== "");
  const query = asQuery(params).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

// What an address says: {view, parts, key (the parts joined by "/"), query (URLSearchParams)}.
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [view, ...parts] = path.split("/").map(decoded);
  return { view, parts, key: parts.join("/"), query: new URLSearchParams(query) };
}

// Set parameters of the present address without a new view; `push` makes an entry that the back button returns from.
export function update(params, push = false) {
  const { view, parts, query } = parse(location.hash);
  for (const name of Object.keys(params)) query.delete(name);
  asQuery(params).forEach((value, name) => query.append(name, value));
  const address = href(view, parts, query);
  if (address === location.hash) return;
  if (push) history.pushState({ seen: true }, "", address);
  else history.replaceState({ seen: true }, "", address);
}

function asQuery(params) {
  if (params instanceof URLSearchParams) return params;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) query.append(name, one);
    }
  }
  return query;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
