// What a mouse, fingers and a wheel do to a drawing, and what is shown beside the pointer: for the graph and the timeline.

/** Who moves less than so many pixels has clicked. */
const STILL = 4;
/** By how much a pixel of a wheel zooms: of a wheel, and of two fingers on a trackpad, which comes as one with Ctrl. */
const WHEEL = 0.002, PINCH = 0.01;

/**
 * Hear what is done to a canvas. Places and ways are in its pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {{over: (x: number, y: number) => void, out: () => void, click: (x: number, y: number, event: PointerEvent) => void, pan: (dx: number, dy: number) => void, zoom: (factor: number, x: number, y: number) => void}} told
 */
export const hearPointers = (canvas, told) => {
  /** @type {Map<number, [number, number]>} */
  const fingers = new Map();
  let moved = 0;
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, place(event)); moved = 0; });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event), before = fingers.get(event.pointerId);
    if (!before) { told.over(x, y); return; }
    moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]), is = Math.hypot(x - other[0], y - other[1]);
      if (was > 0 && is > 0) told.zoom(is / was, (x + other[0]) / 2, (y + other[1]) / 2);
    } else if (moved > STILL) { canvas.classList.add("is-dragged"); told.out(); told.pan(x - before[0], y - before[1]); }
    fingers.set(event.pointerId, [x, y]);
  });
  const up = (event) => {
    const was = fingers.delete(event.pointerId);
    canvas.classList.remove("is-dragged");
    if (was && event.type === "pointerup" && moved <= STILL) told.click(...place(event), event);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => told.out());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) told.pan(-(event.deltaX || event.deltaY) * unit, 0);
    else told.zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? PINCH : WHEEL)), ...place(event));
  }, { passive: false });
};

/** Put a tip beside the pointer, so that it is seen whole on a stage of this size. @param {HTMLElement} tip */
export const placeTip = (tip, x, y, width, height) => {
  const left = Math.min(x + 14, width - tip.offsetWidth - 8), below = y + 18;
  const top = below + tip.offsetHeight > height ? y - tip.offsetHeight - 12 : below;
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
};

/** Go to what was clicked; beside this page where the reader asks for that. @param {MouseEvent} event */
export const go = (url, event) => { if (event.ctrlKey || event.metaKey) window.open(url); else location.assign(url); };
