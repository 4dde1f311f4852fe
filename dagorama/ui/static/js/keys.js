// Keys: "/" goes to the search, j and k (or the arrows) to the next and previous row, Enter opens it.
(() => {
  "use strict";
  const isTyping = (node) => node.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  const move = (step) => {
    const rows = [...document.querySelectorAll("[data-rows] a.row")];
    if (!rows.length) return false;
    const here = rows.indexOf(document.activeElement);
    const next = rows[here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(here + step, 0), rows.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    // Browsers would clear the search, and with it what was found.
    if (event.key === "Escape" && event.target.matches?.("[data-search]")) { event.preventDefault(); event.target.blur(); return; }
    if (isTyping(event.target)) return;
    const isOnRow = event.target.matches?.("a.row");
    let isDone = false;
    if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (search) { search.focus(); search.select(); isDone = true; }
    } else if (event.key === "j" || (event.key === "ArrowDown" && isOnRow)) isDone = move(1);
    else if (event.key === "k" || (event.key === "ArrowUp" && isOnRow)) isDone = move(-1);
    if (isDone) event.preventDefault();
  });
})();
