// Fetches what a drawing shows, one answer at a time: at once what the reader asks for, and what has happened as often
// as the server says that it is worth it.

const AGAIN_MS = 500, RETRY_MS = 3000;

export class Fetching {
  /**
   * @param {() => string} address where that is which is to be shown now
   * @param {(told: any) => void} take
   * @param {() => void} fail
   */
  constructor(address, take, fail) {
    this.address = address; this.take = take; this.fail = fail;
    this.isBusy = false; this.isDue = false; this.isAsked = false; this.timer = 0; this.wait = AGAIN_MS;
    document.addEventListener("visibilitychange", () => { if (this.isDue) this.now(); });
  }

  /** Fetch when so much time has passed; no sooner and no later where that is due already. */
  later(wait = AGAIN_MS) {
    this.isDue = true;
    if (!this.timer && !this.isBusy) this.timer = setTimeout(() => this.now(), wait);
  }

  /** Fetch what the reader has asked for: it does not wait for what is due later. */
  soon(wait = 0) {
    if (!this.isAsked) { clearTimeout(this.timer); this.timer = 0; }
    this.isAsked = true;
    this.later(wait);
  }

  async now() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.isBusy || document.visibilityState !== "visible") { this.isDue = true; return; }
    this.isBusy = true; this.isDue = this.isAsked = false;
    try {
      const answer = await fetch(this.address());
      if (!answer.ok) throw new Error(String(answer.status));
      const told = await answer.json();
      this.wait = Math.max(told.again_s * 1000, AGAIN_MS);
      if (told.again_s) this.isDue = true;
      this.take(told);
    } catch {
      this.wait = RETRY_MS;
      this.isDue = true;
      this.fail();
    } finally {
      this.isBusy = false;
      if (this.isDue) this.later(this.isAsked ? 0 : this.wait);
    }
  }
}
