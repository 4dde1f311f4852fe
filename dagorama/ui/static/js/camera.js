// Where one looks at a drawing: scale and shift, eased to where it is to be.

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
}
