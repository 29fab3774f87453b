// Toasts: short messages about what a person just did. Errors stay until they are put away.

import { html, useEffect, useState } from "/static/vendor/preact/preact.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

const SHOWN_MS = 6000;
const MOST = 4;
let messages = [];
let last = 0;
const watchers = new Set();

/** Say something; `kind` is info, good, warning or error. */
export function toast(text, kind = "info") {
  const message = { id: ++last, text, kind };
  messages = [...messages.filter((other) => other.text !== text), message].slice(-MOST);
  watchers.forEach((paint) => paint(last));
  if (kind !== "error") setTimeout(() => putAway(message.id), SHOWN_MS);
}

function putAway(id) {
  messages = messages.filter((message) => message.id !== id);
  watchers.forEach((paint) => paint(-id));
}

export function Toasts() {
  const [, paint] = useState(0);
  useEffect(() => {
    watchers.add(paint);
    return () => watchers.delete(paint);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${messages.map(
      (message) => html`<div key=${message.id} class=${`toast ${message.kind}`}>
        ${icon(message.kind === "error" || message.kind === "warning" ? "warning" : "done")}
        <span>${message.text}</span>
        <button class="quiet square" onClick=${() => putAway(message.id)} aria-label=${t("action.put_away")}>
          ${icon("close")}
        </button>
      </div>`,
    )}
  </div>`;
}
