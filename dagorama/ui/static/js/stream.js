// The stream of changes, for whoever has it on behalf of all tabs of a browser: the shared worker, or one of the tabs.
"use strict";
// `tell` gets each message; the returned function takes the ids of the instances whose nodes are watched.
self.openStream = (tell) => {
  const RETRY_MS = 2000, WATCHED_MAX = 20;
  let source = null, watched = [], place = "";

  const open = () => {
    source?.close();
    const query = new URLSearchParams(watched.map((id) => ["instance", id]));
    if (place) query.set("after", place);
    const mine = source = new EventSource(`/live?${query}`);
    for (const kind of ["change", "stale", "lost", "back"]) {
      mine.addEventListener(kind, (event) => {
        place = event.lastEventId || place;
        tell({ kind, detail: JSON.parse(event.data) });
      });
    }
    mine.onerror = () => {
      tell({ kind: "away" });
      // The place may be none that a page knows which has been started again: then everything is read anew.
      if (mine.readyState === EventSource.CLOSED && mine === source) { place = ""; setTimeout(open, RETRY_MS); }
    };
  };
  open();

  return (ids) => {
    if (ids.every((id) => watched.includes(id))) return;
    watched = [...new Set([...ids, ...watched])].slice(0, WATCHED_MAX);
    open();
  };
};
