// Row: one case on the board.

import { Component, html } from "/static/vendor/preact/preact.js";
import { pictureLink } from "./api.js";
import { icon } from "./icons.js";
import { moveAll, pendingOf } from "./moves.js";
import { Age, Badge, Confidence, Picture, Place, StatePill, Unverified, departmentName, situationName } from "./parts.js";
import { isDone, mine, movable, newest, repeatsOf, stateIn, stateOf } from "./rows.js";
import { go } from "./router.js";
import { store } from "./store.js";
import { clock } from "./times.js";
import { counted, t } from "./words.js";

const NEXT = { dispatched: "acknowledge", acknowledged: "en_route", en_route: "on_scene", on_scene: "close" };
export const KEYS = { acknowledge: "a", en_route: "e", on_scene: "s", close: "c", false_alarm: "f", release: "r" };
const OFFERED = ["acknowledge", "en_route", "on_scene", "close", "false_alarm", "release"];

/** One case. It paints again only when what it shows changed: a board may have hundreds. */
export class Row extends Component {
  shouldComponentUpdate(next) {
    return ["row", "selected", "fresh", "asked", "looking", "place"].some((name) => next[name] !== this.props[name]);
  }

  render({ row, selected, fresh, place, count, onSelect }) {
    const parts = mine(row, store.me, store.looking);
    const state = stateOf(parts);
    const ended = parts.length > 0 && parts.every(isDone);
    const lit = fresh && (fresh === "joined" || state === "dispatched") && !ended;
    const classes = ["row", `is-${state}`, selected && "selected", lit && `fresh ${fresh}`, ended && "ended"];
    return html`<article class=${classes.filter(Boolean).join(" ")} id=${`row-${row.case}`} tabindex=${selected ? 0 : -1}
      aria-labelledby=${`title-${row.case}`} aria-posinset=${place} aria-setsize=${count}
      aria-current=${selected ? "true" : undefined} onFocus=${() => onSelect(row.case)}
      onClick=${(event) => chosen(event, row, onSelect)} onDblClick=${(event) => opened(event, row)}>
      <a class="thumbnail" href=${`/cases/${row.case}`} tabindex="-1" aria-hidden="true">
        <${Picture} src=${pictureLink(newest(row).id, 320)} alt="" lazy=${true} />
        ${row.incident_count > 1 && html`<span class="pile">${icon("pictures")}${row.incident_count}</span>`}
      </a>
      <div class="facts">${title(row, parts)}${units(row, parts)}${where(row)}</div>
      <div class="now">
        <${Age} at=${row.opened_at} label=${t("row.opened")} className=${state === "dispatched" ? "hot" : ""} />
        <${StatePill} state=${state} />
        ${!selected && primary(row, state)}
      </div>
      ${selected && actions(row, state)}
    </article>`;
  }
}

function title(row, parts) {
  const repeats = repeatsOf(parts);
  return html`<h3 class="title" id=${`title-${row.case}`}>
    <${Badge} word=${row.situation} />
    <span class="situation">${situationName(row.situation)}</span>
    ${row.unverified && html`<${Unverified} />`}
    <${Confidence} incident=${newest(row)} />
    <a class="number" href=${`/cases/${row.case}`} title=${t("row.open")}>#${newest(row).number}</a>
    ${row.incident_count > 1 && html`<span class="tag">${counted("count.pictures", row.incident_count)}</span>`}
    ${repeats > 0 && html`<span class="tag repeated">${icon("dispatched")}${counted("row.repeated", repeats)}</span>`}
  </h3>`;
}

function units(row, parts) {
  const own = new Set(parts.map((part) => part.department));
  const called = row.assignments.filter((part) => part.department !== "review");
  return html`<ul class="units" aria-label=${t("row.units")}>
    ${called.map(
      (part) => html`<li class=${`unit state-${stateIn(part)} ${own.has(part.department) ? "own" : "other"}`}
        title=${standing(part)}>
        ${icon(stateIn(part))}<span>${departmentName(part.department)}</span>
        ${part.holder && !isDone(part) && html`<b>${part.holder} ${clock(part.state_at)}</b>`}
        ${part.fallback_of && html`<i>${t("row.in_place_of", { department: departmentName(part.fallback_of) })}</i>`}
        <span class="visually-hidden">${t(`state.${stateIn(part)}`)}</span>
      </li>`,
    )}
  </ul>`;
}

/** How an assignment stands, as a sentence: who has it, and since when. */
export function standing(part) {
  const facts = { holder: part.holder, time: clock(part.state_at) };
  return t(part.holder ? `standing.${part.state}` : `standing.${stateIn(part)}_nobody`, facts);
}

function where(row) {
  const label = newest(row).label;
  return html`<div class="where">
    <${Place} place=${row} />
    ${label && html`<span class="label" title=${t("row.label")}>${label}</span>`}
  </div>`;
}

function primary(row, state) {
  const action = NEXT[state];
  if (!action || !movable(row, action, store).length) return waiting(row);
  return waiting(row) || button(row, action, action === "acknowledge" ? "primary" : "");
}

function waiting(row) {
  const asked = pendingOf(row.case)[0];
  return asked && html`<span class=${`asked ${asked.status}`} role="status">${t(`pending.${asked.status}`)}</span>`;
}

function actions(row, state) {
  const offered = OFFERED.filter((action) => movable(row, action, store).length);
  const reopen = movable(row, "reopen", store).length > 0 && offered.length === 0;
  return html`<div class="actions">
    ${offered.map((action) => button(row, action, action === NEXT[state] ? "primary" : ""))}
    ${reopen && button(row, "reopen", "")}
    ${waiting(row)}
    <a class="button opens" href=${`/cases/${row.case}`} title=${t("row.open")}>${t("action.open")}<kbd>↵</kbd></a>
  </div>`;
}

function button(row, action, kind) {
  const departments = movable(row, action, store);
  const all = mine(row, store.me, store.looking).length;
  const busy = pendingOf(row.case).length > 0;
  return html`<button class=${`move ${kind}`} aria-disabled=${busy} title=${departments.map(departmentName).join(", ")}
    onClick=${() => !busy && moveAll(row, action)}>
    ${t(`action.${action}`)}${all > 1 && html`<span class="times">${departments.length}/${all}</span>`}
    ${KEYS[action] && html`<kbd>${KEYS[action]}</kbd>`}
  </button>`;
}

function chosen(event, row, onSelect) {
  if (!event.target.closest("a, button")) onSelect(row.case);
}

function opened(event, row) {
  if (!event.target.closest("a, button")) go(`/cases/${row.case}`);
}
