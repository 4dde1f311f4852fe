// The theme: the reader's system decides, unless the reader does. Loaded before the page is drawn, so that it never flashes.
(() => {
  "use strict";
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("dagorama-theme"); } catch { return null; } };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    document.dispatchEvent(new CustomEvent("dagorama:theme"));
  };
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  apply(kept());
  addEventListener("storage", (event) => { if (event.key === "dagorama-theme") apply(event.newValue); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("dagorama:theme")));
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-switch]")) return;
    const theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("dagorama-theme", theme); } catch { /* then it lasts as long as the page */ }
    apply(theme);
  });
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-theme-switch]").forEach((each) => { each.hidden = false; }));

  // For what is drawn on a canvas: a token as a plain colour of the theme of the moment.
  const color = (token) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${token})`;
    root.append(probe);
    const resolved = getComputedStyle(probe).color;
    probe.remove();
    return resolved;
  };
  window.dagorama = { color };
})();
