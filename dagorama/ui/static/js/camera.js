// Where one looks at a drawing: scale and shift, moved by wheel, fingers and keys, eased to where it is to be.

const LEAST = 0.02, MOST = 2.5;
/** All is shown with so many pixels around it, and a single place at this scale at least. */
const MARGIN = 28, NEAR = 0.8;

export class Camera {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.scale = 1; this.x = 0; this.y = 0;
    this.follows = true;      // it shows all, until somebody moves it
    this.width = this.height = 1;
    this.goal = null;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** The place on the drawing under a point of the stage. */
  at(x, y) { return [(x - this.x) / this.scale, (y - this.y) / this.scale]; }

  /** Show a rectangle of the drawing, at most in its own size. @param {{x: number, y: number, width: number, height: number}} box */
  fit(box, eased) {
    const across = (this.width - 2 * MARGIN) / Math.max(box.width, 1), down = (this.height - 2 * MARGIN) / Math.max(box.height, 1);
    const scale = Math.min(Math.max(Math.min(across, down), LEAST), 1);
    this.go({ scale, x: this.width / 2 - (box.x + box.width / 2) * scale, y: this.height / 2 - (box.y + box.height / 2) * scale }, eased);
  }

  /** Bring a place to the middle. */
  center(x, y) {
    const scale = Math.max(this.scale, NEAR);
    this.follows = false;
    this.go({ scale, x: this.width / 2 - x * scale, y: this.height / 2 - y * scale }, true);
  }

  go(goal, eased) {
    if (!eased || this.calm.matches) { Object.assign(this, goal); this.goal = null; } else this.goal = { ...goal, from: { scale: this.scale, x: this.x, y: this.y }, since: performance.now() };
    this.changed();
  }

  /** Go on with what is being eased; tell whether there is more to come. */
  step(now) {
    if (!this.goal) return false;
    const part = Math.min(Math.max((now - this.goal.since) / 320, 0), 1), eased = 1 - (1 - part) ** 3;
    for (const name of ["scale", "x", "y"]) this[name] = this.goal.from[name] + (this.goal[name] - this.goal.from[name]) * eased;
    if (part >= 1) this.goal = null;
    return part < 1;
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, LEAST), MOST), real = scale / this.scale;
    this.goal = null; this.follows = false;
    this.x = x - (x - this.x) * real; this.y = y - (y - this.y) * real; this.scale = scale;
    this.changed();
  }

  pan(dx, dy) { this.goal = null; this.follows = false; this.x += dx; this.y += dy; this.changed(); }

  /**
   * Have a canvas move it: drag, wheel, two fingers.
   * @param {HTMLCanvasElement} canvas
   * @param {{over: (x: number, y: number, event: PointerEvent) => void, out: () => void, click: (x: number, y: number, event: PointerEvent) => void}} told
   */
  listen(canvas, told) {
    /** @type {Map<number, [number, number]>} */
    const fingers = new Map();
    let moved = 0;
    const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, place(event)); moved = 0; });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = place(event), before = fingers.get(event.pointerId);
      if (!before) { told.over(x, y, event); return; }
      moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const was = Math.hypot(before[0] - other[0], before[1] - other[1]), is = Math.hypot(x - other[0], y - other[1]);
        if (was > 0) this.zoom(is / was, (x + other[0]) / 2, (y + other[1]) / 2);
      } else if (moved > 4) { canvas.classList.add("is-dragged"); told.out(); this.pan(x - before[0], y - before[1]); }
      fingers.set(event.pointerId, [x, y]);
    });
    const up = (event) => {
      const was = fingers.delete(event.pointerId);
      canvas.classList.remove("is-dragged");
      if (was && event.type === "pointerup" && moved <= 4) told.click(...place(event), event);
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => told.out());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const [x, y] = place(event), unit = event.deltaMode === 1 ? 16 : 1;
      if (event.shiftKey) this.pan(-(event.deltaX || event.deltaY) * unit, 0);
      else this.zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0018)), x, y);
    }, { passive: false });
  }
}
