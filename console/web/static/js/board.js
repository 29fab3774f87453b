// Board: the live list of what is open, and keys to work through it.

import { html, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { Filters } from "./filters.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { moveAll, pendingOf } from "./moves.js";
import { writeNote } from "./notes.js";
import { KEYS, Row } from "./row.js";
import { go } from "./router.js";
import { mine, stateOf } from "./rows.js";
import { useStore } from "./store.js";
import { counted, t } from "./words.js";

const PAGE = 150;
const HELD_MS = 4000;

/** The list of what is open. `active`: whether its keys work, and not those of a part beside it. */
export function Board({ active }) {
  const store = useStore();
  const [shown, setShown] = useState(PAGE);
  const { rows: sorted, hidden, waiting, ended } = store.board();
  const { rows, held, hold, letGo } = useSteady(sorted);
  const visible = rows.slice(0, shown);
  const select = (id) => id !== store.selected && store.change({ selected: id });
  useBoardKeys(store, [...visible, ...ended], active);
  const count = visible.length;
  const row = (each, place) => html`<${Row} key=${each.case} row=${each} place=${place} count=${count}
    selected=${store.selected === each.case} fresh=${store.fresh.get(each.case)?.why} looking=${store.looking}
    asked=${pendingOf(each.case).map((asked) => asked.status).join()} onSelect=${select} />`;
  return html`<section class="board" aria-label=${t("tab.board")}>
    <${Filters} hidden=${hidden} />
    ${held > 0 && html`<button class="held" onClick=${letGo}>${icon("dispatched")}${counted("board.held", held)}</button>`}
    <div class="rows" role="group" aria-label=${t("board.open")} onPointerMove=${hold} onPointerLeave=${letGo}>
      ${sections(visible, { waiting, handled: sorted.length - waiting }, store, row)}
      ${rows.length > shown && html`<button class="more" onClick=${() => setShown(shown + PAGE)}>
        ${t("board.more", { number: rows.length - shown })}
      </button>`}
      ${rows.length === 0 && empty(store, hidden)}
      ${feed("ended", "", t("board.ended"), ended.map((each, index) => row(each, count + index + 1)))}
    </div>
  </section>`;
}

function sections(rows, numbers, store, row) {
  const waits = (each) => stateOf(mine(each, store.me, store.looking)) === "dispatched";
  const waiting = rows.filter(waits);
  const handled = rows.filter((each) => !waits(each));
  const shown = (each, index) => row(each, index + 1);
  const after = (each, index) => row(each, waiting.length + index + 1);
  return html`
    ${feed("waiting", "hot", counted("board.waiting", numbers.waiting), waiting.map(shown))}
    ${feed("handled", "", counted("board.handled", numbers.handled), handled.map(after))}`;
}

// A feed to screen readers: articles that come and go, with headings to jump between.
function feed(name, kind, heading, articles) {
  if (!articles.length) return null;
  return html`<section key=${name}><h2 class=${`section ${kind}`} id=${`feed-${name}`}>${heading}</h2>
    <div role="feed" aria-labelledby=${`feed-${name}`} aria-busy="false">${articles}</div></section>`;
}

function empty(store, hidden) {
  if (!store.loaded) return html`<p class="empty">${t("page.starting")}</p>`;
  if (hidden > 0) return html`<p class="empty">${t("board.all_hidden")}</p>`;
  return html`<div class="empty">${icon("normal", "large")}<p>${t("board.empty")}</p>
    <p class="muted">${t("board.empty_hint")}</p></div>`;
}

/**
 * Rows that do not move under a pointer that is over a button: what is clicked is what was aimed at. New rows
 * wait, counted in `held`, until the pointer leaves or rests.
 */
function useSteady(sorted) {
  const kept = useRef(null);
  const timer = useRef(0);
  const [, paint] = useState(0);
  const letGo = () => {
    clearTimeout(timer.current);
    if (!kept.current) return;
    kept.current = null;
    paint((count) => count + 1);
  };
  const hold = (event) => {
    if (!event.target.closest("button, a")) return letGo();
    kept.current ||= sorted.map((row) => row.case);
    clearTimeout(timer.current);
    timer.current = setTimeout(letGo, HELD_MS);
    return undefined;
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  if (!kept.current) return { rows: sorted, held: 0, hold, letGo };
  const found = new Map(sorted.map((row) => [row.case, row]));
  const rows = kept.current.map((id) => found.get(id)).filter(Boolean);
  return { rows, held: sorted.length - rows.length, hold, letGo };
}

function useBoardKeys(store, rows, active) {
  // What is selected now, not what was when this was painted: keys may come faster.
  const at = () => rows.findIndex((row) => row.case === store.selected);
  const to = (index) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, index))];
    if (!row) return;
    store.change({ selected: row.case });
    // Once it is painted as selected, so that its buttons are there too.
    setTimeout(() => document.getElementById(`row-${row.case}`)?.focus(), 60);
  };
  const withRow = (does) => () => (rows[at()] ? does(rows[at()]) : to(0));
  const next = { does: () => to(at() + 1), repeats: true };
  const before = { does: () => to(at() - 1), repeats: true };
  const moves = Object.entries(KEYS).map(([action, key]) => [key, withRow((row) => moveAll(row, action))]);
  useKeys(
    {
      ...Object.fromEntries(moves),
      j: next, ArrowDown: next, k: before, ArrowUp: before,
      g: () => to(0), Home: () => to(0), End: () => to(rows.length - 1),
      Enter: withRow((row) => go(`/cases/${row.case}`)),
      n: withRow(writeNote),
    },
    active,
  );
}
