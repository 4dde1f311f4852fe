// Times in the zone of the reader, all in one form, and how long ago they were, as time goes on.
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
  const digits = (number, count = 2) => String(number).padStart(count, "0");
  const clock = (at) => { const time = new Date(at); return [time.getHours(), time.getMinutes(), time.getSeconds()].map((each) => digits(each)).join(":"); };
  const exact = (at) => { const time = new Date(at); return `${time.getFullYear()}-${digits(time.getMonth() + 1)}-${digits(time.getDate())} ${clock(at)}`; };
  const milliseconds = (at) => `.${digits(new Date(at).getMilliseconds(), 3)}`;
  window.dagorama.clock = clock;
  const update = () => {
    for (const node of document.querySelectorAll("time[datetime]")) {
      const at = Date.parse(node.dateTime);
      if (Number.isNaN(at)) continue;
      if (node.dataset.seen !== node.dateTime) {
        node.dataset.seen = node.dateTime;
        if ("exact" in node.dataset) put(node, exact(at) + (node.dataset.exact === "ms" ? milliseconds(at) : ""));
        else node.title = exact(at) + milliseconds(at);
        if ("clock" in node.dataset) put(node, clock(at) + milliseconds(at).slice(0, 2));
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
