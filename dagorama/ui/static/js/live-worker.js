// The one stream of changes of a browser, shared by all tabs that show the page.
"use strict";
const ports = new Set();
let last = { kind: "none" };

const tell = (message) => {
  if (message.kind !== "change") last = message;
  for (const port of ports) port.postMessage(message);
};

const open = () => {
  const source = new EventSource("/live");
  source.onopen = () => tell({ kind: "open" });
  source.onmessage = (event) => tell({ kind: "change", detail: JSON.parse(event.data) });
  source.addEventListener("lost", () => tell({ kind: "lost" }));
  source.addEventListener("back", () => tell({ kind: "back" }));
  source.onerror = () => {
    tell({ kind: "away" });
    if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
  };
};

self.onconnect = (event) => {
  const [port] = event.ports;
  port.onmessage = (said) => { if (said.data === "bye") ports.delete(port); };
  port.start();
  if (!ports.size && last.kind === "none") open();
  ports.add(port);
  port.postMessage(last);
};
