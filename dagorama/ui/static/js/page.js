// What makes pages handier. Everything here also works without scripts, by forms and links.
(() => {
  "use strict";
  const RETRY_MS = 2000;

  // A page that an action has given, or that tells what was done, has the address of what it shows from here on.
  const settle = () => {
    const here = document.getElementById("page")?.dataset.address;
    const url = new URL(location.href);
    if (here) history.replaceState(null, "", here);
    else if (url.searchParams.has("done")) { url.searchParams.delete("done"); history.replaceState(null, "", url); }
    if (location.pathname === "/instances") try { sessionStorage.setItem("dagorama-list", location.href); } catch { /* not kept */ }
  };

  // Where the navigation or the tabs have no room, the place where one is can be seen.
  const reveal = () => document.querySelectorAll(".nav [aria-current], .tabs [aria-current], .segments [aria-current]").forEach((each) => {
    const row = each.parentElement, left = each.offsetLeft - row.offsetLeft;
    if (left < row.scrollLeft || left + each.offsetWidth > row.scrollLeft + row.clientWidth) row.scrollLeft = left - (row.clientWidth - each.offsetWidth) / 2;
  });

  // Chosen rows.
  const count = () => {
    const boxes = [...document.querySelectorAll(".list tbody input[name=instance]")];
    const chosen = boxes.filter((box) => box.checked).length;
    const all = document.querySelector("[data-select-all]");
    if (all) { all.hidden = false; all.checked = chosen > 0 && chosen === boxes.length; all.indeterminate = chosen > 0 && chosen < boxes.length; }
    const told = document.querySelector("[data-selected]");
    if (told) { told.textContent = chosen; document.querySelector("[data-selected-word]").textContent = "selected"; }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-select-all]")) document.querySelectorAll(".list tbody input[name=instance]").forEach((box) => { box.checked = event.target.checked; });
    if (event.target.closest?.(".list")) count();
  });

  // Logs that follow stay at their end while the reader is there, and rest while nobody sees them.
  const END_PX = 40;
  const isAtEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < END_PX;
  const atEnd = new WeakMap();
  const toEnd = () => document.querySelectorAll("[data-scrolls]").forEach((log) => {
    if (!atEnd.has(log)) { atEnd.set(log, true); log.scrollTop = log.scrollHeight; log.addEventListener("scroll", () => atEnd.set(log, isAtEnd(log)), { passive: true }); }
    else if (atEnd.get(log)) log.scrollTop = log.scrollHeight;
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const node = event.target;
    if (!node.matches?.("[data-follow]") || document.visibilityState === "visible") return;
    event.preventDefault();
    document.addEventListener("visibilitychange", () => window.htmx.trigger(node, "again"), { once: true });
  });
  const again = (event) => { if (event.target.matches?.("[data-follow]")) setTimeout(() => window.htmx.trigger(event.target, "again"), RETRY_MS); };
  document.addEventListener("htmx:responseError", again);
  document.addEventListener("htmx:sendError", again);

  const ready = () => { settle(); reveal(); count(); toEnd(); };
  document.addEventListener("DOMContentLoaded", ready);
  document.addEventListener("htmx:afterSettle", () => { count(); toEnd(); document.dispatchEvent(new CustomEvent("dagorama:shown")); });
  document.addEventListener("dagorama:shown", () => { count(); toEnd(); });
})();
