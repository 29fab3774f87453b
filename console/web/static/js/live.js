// Live: the server's event stream, whether it is up, and since when not. Rows outlive it: only the store drops them.

import { setClock } from "./times.js";

const SILENT_MS = 13_000; // the server pulses each 5 s: two missed ones and some patience
const AGAIN_MS = 3_000;

/**
 * Follow /api/live. `told` has functions: opened({version, user, rows}), row(row), outcome(outcome), pulse(pulse),
 * line(up), loggedOut(). The browser itself resumes from the last event id; where it gave up, or where the
 * line is silent, we open a new one, and the server sends everything that is open.
 */
export class Live {
  #told;
  #source = null;
  #heard_ms = 0;
  #again = 0;

  constructor(told) {
    this.#told = told;
  }

  start() {
    this.#open();
    setInterval(() => this.#check(), 1000);
    // A laptop that slept, or a phone that changed networks, need not wait for its next turn.
    addEventListener("online", () => this.#reopen());
  }

  #open() {
    clearTimeout(this.#again);
    this.#heard_ms = performance.now();
    const source = new EventSource("/api/live");
    this.#source = source;
    source.addEventListener("open", (event) => {
      // The browser's own "open" says that the line is there; the server's has everything that is open.
      this.#heard();
      if (event.data !== undefined) this.#pass(event, (board) => this.#told.opened(board));
    });
    source.addEventListener("row", (event) => this.#pass(event, (row) => this.#told.row(row)));
    source.addEventListener("outcome", (event) => this.#pass(event, (outcome) => this.#told.outcome(outcome)));
    source.addEventListener("pulse", (event) =>
      this.#pass(event, (pulse) => {
        setClock(pulse.at);
        this.#told.pulse(pulse);
      }),
    );
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      this.#told.line(false);
      if (source.readyState === EventSource.CLOSED) this.#refused();
    });
  }

  #pass(event, tell) {
    this.#heard();
    tell(JSON.parse(event.data));
  }

  #heard() {
    this.#heard_ms = performance.now();
    this.#told.line(true);
  }

  // The server answered with an error: perhaps nobody is logged in any more, perhaps it is just starting.
  async #refused() {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#reopen(), AGAIN_MS);
    const answer = await fetch("/api/session", { credentials: "same-origin" }).catch(() => null);
    if (answer?.status === 401) this.#told.loggedOut();
  }

  #check() {
    if (performance.now() - this.#heard_ms < SILENT_MS) return;
    this.#told.line(false);
    this.#reopen();
  }

  #reopen() {
    this.#source?.close();
    this.#open();
  }
}
