// Scores: what the model gave each class, as bars, the likeliest first.

import { html } from "/static/vendor/preact/preact.js";
import { situationClass } from "./icons.js";
import { Badge, situationName } from "./parts.js";
import { ranked } from "./rows.js";
import { percent, t } from "./words.js";

/** Bars of every class. With `onChoose`, pressing one shows why it might be that. */
export function Scores({ incident, chosen = "", onChoose }) {
  const scores = ranked(incident);
  if (!scores.length) return html`<p class="muted">${incident.detail || t("case.no_scores")}</p>`;
  return html`<ul class="scores">
    ${scores.map(([word, share]) => html`<li key=${word} class=${word === chosen ? "chosen" : ""}>
      ${onChoose
        ? html`<button class="quiet" aria-pressed=${word === chosen} onClick=${() => onChoose(word)}
            title=${t("picture.why_this", { situation: situationName(word) })}>${bar(word, share)}</button>`
        : bar(word, share)}
    </li>`)}
  </ul>`;
}

function bar(word, share) {
  return html`<${Badge} word=${word} size="small" /><span class="score-name">${situationName(word)}</span>
    <${Bar} word=${word} share=${share} /><span class="score">${percent(share)}</span>`;
}

/** One share in [0, 1] as a bar. */
export function Bar({ word, share }) {
  const width = { "--share": `${(share * 100).toFixed(1)}%` };
  return html`<span class=${`bar ${situationClass(word)}`} aria-hidden="true"><i style=${width}></i></span>`;
}
