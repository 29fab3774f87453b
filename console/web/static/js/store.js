// Store: what the page knows. Rows by case, who looks, filters, the line; components paint again when it changes.

import { useEffect, useState } from "/static/vendor/preact/preact.js";
import { byDue, inOrder, inReview, mayReview, mine, onBoard, passes, stateOf } from "./rows.js";

const LINGER_MS = 120_000; // what was just closed stays in sight, so that a slip of the hand can be undone
const PAINT_MS = 40; // a burst of rows is painted once
export const NO_FILTERS = Object.freeze({ situation: "", state: "", text: "" });

class Store {
  me = null;
  setup = null;
  looking = "all";
  filters = NO_FILTERS;
  selected = "";
  rows = new Map();
  closed_ms = new Map();
  fresh = new Map();
  pending = new Map();
  line = { up: false, downSince_ms: Date.now(), everUp: false };
  loaded = false;
  pulse = { desk: true, broker: true, workers: null, ingesters: null };
  #watchers = new Set();
  #known = new Map();
  #painting = 0;

  /** Change some fields, and paint soon. */
  change(fields = {}) {
    Object.assign(this, fields);
    this.#known.clear();
    this.#painting ||= setTimeout(() => {
      this.#painting = 0;
      for (const paint of [...this.#watchers]) paint();
    }, PAINT_MS);
  }

  watch(paint) {
    this.#watchers.add(paint);
    return () => this.#watchers.delete(paint);
  }

  /**
   * Everything that is open now, whatever was known: the desk's record may have begun anew, at lower versions. Of
   * what was shown and is not in it, the line missed the end. Returns rows with what was known of each before, as `take` does.
   */
  opened(rows) {
    const open = new Set(rows.map((row) => row.case));
    for (const known of this.rows.keys()) if (!open.has(known)) this.rows.delete(known);
    return rows.map((row) => ({ row, before: this.#put(row) }));
  }

  /** Take a row in, unless a newer one is here. Returns the one before, `null` where it is new, or undefined. */
  take(row) {
    return this.rows.get(row.case)?.version > row.version ? undefined : this.#put(row);
  }

  #put(row) {
    const before = this.rows.get(row.case) || null;
    this.rows.set(row.case, row);
    if (this.#concerns(row)) this.closed_ms.delete(row.case);
    else if (!this.closed_ms.has(row.case)) this.closed_ms.set(row.case, Date.now());
    for (const [id, asked] of this.pending) {
      if (asked.case === row.case && asked.version && asked.version <= row.version) this.pending.delete(id);
    }
    this.change();
    return before;
  }

  /** Mark a row as new, called again or so, for the eye. */
  mark(id, why) {
    this.fresh.set(id, { why, at_ms: Date.now() });
    setTimeout(() => {
      this.fresh.delete(id);
      this.change();
    }, 12_000);
    this.change();
  }

  /** Forget rows that ended a while ago. */
  sweep() {
    const before_ms = Date.now() - LINGER_MS;
    for (const [id, at_ms] of this.closed_ms) {
      if (at_ms > before_ms) continue;
      this.closed_ms.delete(id);
      this.rows.delete(id);
    }
    this.change();
  }

  /** {rows, waiting, hidden, ended}: the board in its order, how many wait, and how many the filters keep back. */
  board() {
    return this.#once("board", () => this.#board());
  }

  #board() {
    const standing = [...this.rows.values()].filter((row) => onBoard(row, this.me, this.looking));
    const rows = standing.filter((row) => passes(row, this.filters, this.me, this.looking));
    const ended = [...this.closed_ms.keys()].map((id) => this.rows.get(id)).filter((row) => row && this.#ended(row));
    const waiting = rows.filter((row) => this.#waits(row)).length;
    return { rows: inOrder(rows, this.me, this.looking), waiting, hidden: standing.length - rows.length, ended };
  }

  /** How many rows of the board nobody has acknowledged, filters or not. */
  waiting() {
    const there = (row) => onBoard(row, this.me, this.looking) && this.#waits(row);
    return this.#once("waiting", () => [...this.rows.values()].filter(there).length);
  }

  #waits(row) {
    return stateOf(mine(row, this.me, this.looking)) === "dispatched";
  }

  /** What waits for a reviewer, the most pressing first. */
  review() {
    return this.#once("review", () => (mayReview(this.me) ? [...this.rows.values()].filter(inReview).sort(byDue) : []));
  }

  // Several parts of the page ask for the same; it is made once for each change.
  #once(name, make) {
    if (!this.#known.has(name)) this.#known.set(name, make());
    return this.#known.get(name);
  }

  #concerns(row) {
    return onBoard(row, this.me, "all") || inReview(row);
  }

  #ended(row) {
    return !row.merged_into && row.assignments.some((part) => part.department !== "review");
  }
}

export const store = new Store();

/** The store, for a component that paints again whenever it changes. */
export function useStore() {
  const [, paint] = useState(0);
  useEffect(() => store.watch(() => paint((count) => count + 1)), []);
  return store;
}
