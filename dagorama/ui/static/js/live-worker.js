// The one stream of changes of a browser, shared by all tabs that show the page.
"use strict";
importScripts(new URLSearchParams(location.search).get("stream"));

const ports = new Set();
let last = { kind: "none" };
let watch = null;

self.onconnect = (event) => {
  const [port] = event.ports;
  ports.add(port);
  port.postMessage(last);
  port.onmessage = ({ data }) => {
    if (data.watch) watch(data.watch);
    if (data.bye) ports.delete(port);
  };
  watch ??= self.openStream((message) => {
    if (message.kind !== "change" && message.kind !== "stale") last = message;
    for (const each of ports) each.postMessage(message);
  });
};
