// Keeps what is shown true, without reloading: hears what has changed, and fetches the page's content again where it
// is about that. Says when what is shown may be old.
(() => {
  "use strict";
  const { worker, stream } = document.currentScript.dataset;
  const REFRESH_MS = 400;   // not more often
  const RETRY_MS = 2000;    // where the broker or the server is away
  const SLOW_MS = 5000;     // parts that cost more are fetched again this often at most
  const PACE_MS = 2000;     // what no event tells of, as that a node has begun, where something runs
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

  setInterval(() => {
    if (page()?.dataset.pace && document.documentElement.dataset.live === "live" && document.visibilityState === "visible") due();
  }, PACE_MS);

  // Topics: "instances", "instance:ID", "node:INSTANCE:NODE", "workers", "queues"; "broker" for a page that waits for it.
  const concerns = (topic, change) => {
    const [kind, instance, node] = topic.split(":");
    if (kind === "instances") return Object.keys(change.instances).length > 0;
    if (kind === "instance") return instance in change.instances;
    if (kind !== "node") return Boolean(change[kind]);
    const { state } = change.instances[instance] || {};
    const nodes = change.nodes[instance] || [];
    return nodes === "many" || nodes.includes(node) || Boolean(state && state !== "running");
  };
  // The instances whose nodes are to be told of.
  const watched = () => [...new Set(topics().filter((topic) => /^(node|nodes):/.test(topic)).map((topic) => topic.split(":")[1]))];

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
    if (words) banner.textContent = `${words} What is shown is from ${window.dagorama.clock(staleSince)}. It goes on by itself.`;
  };

  const hear = ({ kind, detail }) => {
    const root = document.documentElement;
    if (kind === "change") {
      if (topics().some((topic) => concerns(topic, detail))) due();
      document.dispatchEvent(new CustomEvent("dagorama:change", { detail }));
    } else if (kind === "stale") {
      if (topics().length) due();
    } else if (kind === "lost") {
      root.dataset.live = "lost";
      link("lost", "broker away");
      stale("The broker does not answer.");
    } else if (kind === "away") {
      root.dataset.live = "away";
      link("lost", "not connected");
      stale("The server of this page does not answer.");
    } else if (kind === "back") {
      const wasAway = staleSince !== null || topics().includes("broker");
      root.dataset.live = "live";
      link("live", "live");
      stale("");
      if (wasAway) due();
    }
  };

  // -- who listens ----------------------------------------------------------------------------------------------------

  const listen = () => {
    if (window.SharedWorker) {
      const { port } = new SharedWorker(`${worker}&stream=${encodeURIComponent(stream)}`, { name: "dagorama" });
      port.onmessage = (event) => hear(event.data);
      port.postMessage({ watch: watched() });
      addEventListener("pagehide", () => port.postMessage({ bye: true }), { once: true });
      return;
    }
    // No shared workers, as on Android: one tab has the stream, and tells the others. When it is closed, another one has
    // it, and asks the others which instances they watch.
    const channel = new BroadcastChannel("dagorama");
    let watch = null, last = null;
    const isKept = ({ kind }) => kind !== "change" && kind !== "stale";
    const tell = (message) => { if (isKept(message)) last = message; hear(message); channel.postMessage(message); };
    channel.onmessage = ({ data }) => {
      if (data.who) channel.postMessage({ watch: watched() });
      else if (!data.watch) hear(data);
      else if (watch) { watch(data.watch); if (last) channel.postMessage(last); }
    };
    channel.postMessage({ watch: watched() });
    const lead = () => new Promise(() => {
      watch = window.openStream(tell);
      watch(watched());
      channel.postMessage({ who: true });
    });
    if (navigator.locks) navigator.locks.request("dagorama-live", lead);
    else lead();
  };
  addEventListener("pageshow", (event) => { if (event.persisted) { listen(); due(); } });

  document.addEventListener("DOMContentLoaded", () => {
    refreshedAt = performance.now();
    listen();
  });
})();
