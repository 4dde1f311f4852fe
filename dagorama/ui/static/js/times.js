// Times in the zone of the reader, and how long ago they were, as time goes on.
(() => {
  "use strict";
  const roughly = (seconds) => {
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
    return `${Math.floor(seconds)} s`;
  };
  const ago = (at) => {
    const passed = (Date.now() - at) / 1000;
    if (Math.abs(passed) < 5) return "just now";
    return passed > 0 ? `${roughly(passed)} ago` : `in ${roughly(-passed)}`;
  };
  const lasting = (seconds) => {
    if (seconds < 100) return `${Math.floor(seconds)} s`;
    const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
    return hours ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(seconds) % 60} s`;
  };
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 1, hour12: false });
  const update = () => {
    for (const node of document.querySelectorAll("time[datetime]")) {
      const at = Date.parse(node.dateTime);
      if (Number.isNaN(at)) continue;
      if (node.dataset.seen !== node.dateTime) {
        node.dataset.seen = node.dateTime;
        if (!("exact" in node.dataset)) node.title = day.format(at);
        if ("exact" in node.dataset) put(node, day.format(at));
        if ("clock" in node.dataset) put(node, clock.format(at));
      }
      if ("ago" in node.dataset) put(node, ago(at));
      if ("since" in node.dataset) put(node, lasting(Math.max(0, (Date.now() - at) / 1000)));
    }
  };
  document.addEventListener("DOMContentLoaded", update);
  document.addEventListener("dagorama:shown", () => { document.querySelectorAll("time[data-seen]").forEach((each) => delete each.dataset.seen); update(); });
  document.addEventListener("htmx:afterSettle", update);
  setInterval(() => { if (document.visibilityState === "visible") update(); }, 1000);
})();
