// Assignments: who was called, who has it since when, and the moves that are allowed now.

import { html } from "/static/vendor/preact/preact.js";
import { icon } from "./icons.js";
import { move, pendingOf } from "./moves.js";
import { StatePill, departmentName } from "./parts.js";
import { KEYS, standing } from "./row.js";
import { isDone, stateIn } from "./rows.js";
import { clock, countdown, until_s, useEachSecond } from "./times.js";
import { counted, t } from "./words.js";

const ORDER = ["acknowledge", "en_route", "on_scene", "close", "false_alarm", "release", "reopen"];
const FORWARD = { dispatched: "acknowledge", acknowledged: "en_route", en_route: "on_scene", on_scene: "close" };

/** `known`: whether the server has said what the person may do. */
export function Assignments({ row, may, known }) {
  const called = row.assignments.filter((part) => part.department !== "review");
  const review = row.assignments.find((part) => part.department === "review");
  return html`<section class="card"><h2>${t("case.departments")}</h2>
    ${called.length === 0 && html`<p class="muted">${t("case.nobody_called")}</p>`}
    ${called.map((part) => html`
      <${Assignment} key=${part.department} row=${row} part=${part} may=${may[part.department] || []} known=${known} />`)}
    ${review && html`<div class="assignment"><div class="assignment-head">
      <strong>${t("department.review")}</strong>
      <span class=${isDone(review) ? "pill state-closed" : "pill state-review"}>${icon(isDone(review) ? "closed" : "unknown")}
        ${isDone(review) ? t("review.decided") : t("review.undecided")}</span>
    </div></div>`}
  </section>`;
}

function Assignment({ row, part, may, known }) {
  const asked = pendingOf(row.case).filter((each) => each.department === part.department);
  const offered = ORDER.filter((action) => may.includes(action));
  return html`<div class=${`assignment is-${stateIn(part)}`}>
    <div class="assignment-head">
      <strong>${departmentName(part.department)}</strong>
      <${StatePill} state=${stateIn(part)} />
      <span class="standing">${standing(part)}</span>
    </div>
    <div class="assignment-more">
      ${part.fallback_of && html`<span>${t("row.in_place_of", { department: departmentName(part.fallback_of) })}</span>`}
      ${part.repeats > 0 && html`<span class="repeated">${counted("row.repeated", part.repeats)}</span>`}
      ${part.acknowledged_at && part.state !== "acknowledged" && html`
        <span>${t("case.first_acknowledged", { time: clock(part.acknowledged_at) })}</span>`}
      ${part.due_at && !isDone(part) && html`<${Due} part=${part} />`}
    </div>
    ${offered.length > 0
      ? html`<div class="moves">
          ${offered.map((action) => html`<button key=${action} class=${`move ${action === FORWARD[part.state] ? "primary" : ""}`}
            aria-disabled=${asked.length > 0}
            onClick=${() => asked.length || move(row.case, part.department, action, { seen: row.version })}>
            ${icon(action === "reopen" || action === "release" ? action : iconOf(action))}${t(`action.${action}`)}
            ${KEYS[action] && html`<kbd>${KEYS[action]}</kbd>`}
          </button>`)}
          ${asked[0] && html`<span class=${`asked ${asked[0].status}`} role="status">${t(`pending.${asked[0].status}`)}</span>`}
        </div>`
      : known && !isDone(part) && html`<p class="read-only">${t("case.read_only")}</p>`}
  </div>`;
}

function Due({ part }) {
  const text = useEachSecond(() => countdown(until_s(part.due_at)));
  const key = part.state === "dispatched" ? "case.calls_again" : "case.comes_back";
  return html`<span class="due">${t(key, { time: text })}</span>`;
}

function iconOf(action) {
  return { acknowledge: "acknowledged", close: "closed" }[action] || action;
}
