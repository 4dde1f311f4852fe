// Keeps what is shown true, without reloading: hears what has changed, and fetches the page's content again where it
// is about that. Says when what is shown may be old.
(() => {
  "use strict";
  const workerUrl = document.currentScript.dataset.worker;
  const REFRESH_MS = 400;   // not more often
  const RETRY_MS = 2000;    // where the broker or the server is away
  const SLOW_MS = 5000;     // parts that cost more are fetched again this often at most
  const page = () => document.getElementById("page");
  const topics = () => (page()?.dataset.topics || "").split(/\s+/).filter(Boolean);

  // -- what is shown --------------------------------------------------------------------------------------------------

  let isDue = false, isBusy = false, timer = 0, refreshedAt = 0, slowAt = 0, staleSince = null;

  const isKept = (node) => node instanceof Element && (node.matches("[data-keep], input[type=checkbox]") || isOpenSheet(node));
  const isOpenSheet = (node) => { try { return node.matches(":popover-open"); } catch { return false; } };
  const callbacks = {
    beforeNodeMorphed: (before, after) => !(isKept(before) && (before.id || "") === (after?.id || "")),
    beforeNodeRemoved: (node) => !(node instanceof Element && (node.matches("[data-keep]:not([id])") || isOpenSheet(node))),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS") && !(name === "hidden" && node.matches("[data-select-all]")),
  };

  const show = (html, url) => {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    const fresh = parsed.getElementById("page");
    if (!fresh || url !== location.href) return;
    window.Idiomorph.morph(page(), fresh, { ignoreActiveValue: true, callbacks });
    window.htmx?.process(page());
    const title = parsed.querySelector("title")?.textContent;
    if (title) document.title = title;
    if (performance.now() - slowAt > SLOW_MS) {
      slowAt = performance.now();
      page().querySelectorAll("[hx-trigger*='dagorama:refresh']").forEach((each) => window.htmx?.trigger(each, "dagorama:refresh"));
    }
    document.dispatchEvent(new CustomEvent("dagorama:shown"));
  };

  const refresh = async () => {
    timer = 0;
    if (isBusy || document.visibilityState !== "visible") { isDue = true; return; }
    isBusy = true; isDue = false; refreshedAt = performance.now();
    const url = location.href;
    try {
      const answer = await fetch(url, { headers: { "HX-Request": "true" } });
      if (answer.status >= 502) throw new Error("away");
      show(await answer.text(), url);
    } catch {
      setTimeout(due, RETRY_MS);
    } finally {
      isBusy = false;
      if (isDue) due();
    }
  };
  const due = () => {
    isDue = true;
    if (!timer && !isBusy) timer = setTimeout(refresh, Math.max(0, refreshedAt + REFRESH_MS - performance.now()));
  };
  document.addEventListener("visibilitychange", () => { if (isDue && document.visibilityState === "visible") due(); });

  const concerns = (topic, change) => {
    const [kind, instance, node] = topic.split(":");
    if (kind === "instances") return Object.keys(change.instances || {}).length > 0 || Object.keys(change.nodes || {}).length > 0;
    if (kind === "instance") return instance in (change.instances || {}) || instance in (change.nodes || {});
    if (kind === "node") {
      const nodes = (change.nodes || {})[instance];
      return instance in (change.instances || {}) || nodes === "many" || (nodes || []).includes(node);
    }
    return Boolean(change[kind]);
  };

  // -- whether it is true ---------------------------------------------------------------------------------------------

  const link = (state, word) => {
    const shown = document.querySelector(".link-state");
    if (!shown) return;
    shown.dataset.link = state;
    shown.querySelector(".link-word").textContent = word;
  };
  const stale = (words) => {
    const banner = document.querySelector(".stale");
    if (!banner) return;
    staleSince = words ? staleSince || new Date() : null;
    banner.hidden = !words || topics().includes("broker");
    if (words) banner.textContent = `${words} What is shown is from ${staleSince.toLocaleTimeString()}. It goes on by itself.`;
  };

  const hear = ({ kind, detail }) => {
    if (kind === "change") {
      if (topics().some((topic) => concerns(topic, detail))) due();
      document.dispatchEvent(new CustomEvent("dagorama:change", { detail }));
    } else if (kind === "lost") {
      link("lost", "broker away");
      stale("The broker does not answer.");
    } else if (kind === "away") {
      link("lost", "not connected");
      stale("The server of this page does not answer.");
    } else if (kind === "back" || kind === "open") {
      link("live", "live");
      if (staleSince || kind === "back" || topics().includes("broker")) due();
      stale("");
    }
    document.documentElement.dataset.live = kind;
  };

  // -- who listens ----------------------------------------------------------------------------------------------------

  const listen = () => {
    if (window.SharedWorker) {
      const { port } = new SharedWorker(workerUrl, { name: "dagorama" });
      port.onmessage = (event) => hear(event.data);
      port.start();
      addEventListener("pagehide", () => port.postMessage("bye"));
      addEventListener("pageshow", (event) => { if (event.persisted) { listen(); due(); } });
      return;
    }
    // No shared workers, as on Android: one tab has the stream, and tells the others.
    const channel = new BroadcastChannel("dagorama");
    channel.onmessage = (event) => hear(event.data);
    const tell = (message) => { hear(message); channel.postMessage(message); };
    const stream = () => new Promise(() => {
      const source = new EventSource("/live");
      source.onopen = () => tell({ kind: "open" });
      source.onmessage = (event) => tell({ kind: "change", detail: JSON.parse(event.data) });
      source.addEventListener("lost", () => tell({ kind: "lost" }));
      source.addEventListener("back", () => tell({ kind: "back" }));
      source.onerror = () => tell({ kind: "away" });
    });
    if (navigator.locks) navigator.locks.request("dagorama-live", stream);
    else stream();
  };

  document.addEventListener("DOMContentLoaded", () => {
    refreshedAt = performance.now();
    listen();
  });
  window.dagorama = Object.assign(window.dagorama || {}, { refresh: due });
})();
