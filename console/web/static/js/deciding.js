// Deciding: one key says what a picture shows. Digits keep their meaning from picture to picture.

import { html } from "/static/vendor/preact/preact.js";
import { move } from "./moves.js";
import { Badge, situationName } from "./parts.js";
import { Bar } from "./scores.js";
import { ranked } from "./rows.js";
import { store } from "./store.js";
import { listed, nameOf, percent, t } from "./words.js";

export const NORMAL = "normal";

/** Situations by digit: 1 is the first of the routing file; 0 is no emergency. */
export function digits() {
  const words = Object.keys(store.setup.situations).slice(0, 9);
  return [...words.map((word, index) => [String(index + 1), word]), ["0", NORMAL]];
}

/** Say what an incident shows; the desk's Outcome, or null. */
export function decide(row, incident, situation) {
  return move(row.case, "review", "decide", { situation, other: incident.id, revision: incident.revision });
}

/** A button for each situation and for none, with what the model gave it. `onDecide` comes after the move is sent. */
export function DecideButtons({ row, incident, onDecide = decide }) {
  const likeliest = ranked(incident)[0]?.[0];
  return html`<div class="decide" role="group" aria-label=${t("review.what")}>
    ${digits().map(([key, word]) => {
      const share = incident.scores[word];
      return html`<button key=${word} class=${word === likeliest ? "likeliest" : ""} title=${goesTo(word)}
        onClick=${() => onDecide(row, incident, word)}>
        <kbd>${key}</kbd><${Badge} word=${word} />
        <span class="decide-name">${situationName(word)}<small>${goesTo(word)}</small></span>
        ${share !== undefined && html`<${Bar} word=${word} share=${share} /><span class="score">${percent(share)}</span>`}
      </button>`;
    })}
  </div>`;
}

function goesTo(word) {
  const route = store.setup.situations[word];
  if (!route) return t("review.to_nobody");
  return listed(route.departments.map((department) => nameOf(store.setup.departments[department] || department)));
}
