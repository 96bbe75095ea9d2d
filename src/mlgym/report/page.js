document.querySelectorAll("th[data-sort]").forEach(head => {
  const sort = () => {
    const at = head.cellIndex, table = head.closest("table"), down = head.ariaSort !== "descending";
    table.querySelectorAll("th[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
    head.ariaSort = down ? "descending" : "ascending";
    const key = row => { const cell = row.cells[at]; return "v" in cell.dataset ? +cell.dataset.v : cell.textContent; };
    const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
      : (typeof a === "number") - (typeof b === "number") || String(a).localeCompare(String(b));
    for (const body of table.tBodies)
      [...body.rows].filter(row => !row.className).sort((a, b) => (down ? -1 : 1) * order(key(a), key(b)))
        .forEach(row => body.append(row));
  };
  head.tabIndex = 0;
  head.title = "sort";
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
});
