// Timeline: what happened to a case, the newest first, each line a sentence.

import { html, useState } from "/static/vendor/preact/preact.js";
import { departmentName } from "./parts.js";
import { exact, inFull } from "./times.js";
import { has, mentions, t } from "./words.js";

const FIRST = 8;
const SAID_BY_DESK = new Set(["correct", "decide", "add_department", "merged", "split"]);

export function Timeline({ lines }) {
  const [all, setAll] = useState(false);
  const sorted = [...lines].sort((one, other) => (one.at < other.at ? 1 : -1));
  const shown = all ? sorted : sorted.slice(0, FIRST);
  return html`<ol class="timeline" aria-label=${t("case.timeline")}>
    ${shown.map((line) => html`<li class=${`happened did-${line.action}`}>
      <time datetime=${line.at} title=${inFull(line.at)}>${exact(line.at)}</time>
      <span><span class="deed">${deed(line)}</span>${more(line)}</span>
    </li>`)}
    ${sorted.length > shown.length && html`<li><button class="quiet" onClick=${() => setAll(true)}>
      ${t("case.timeline_all", { number: sorted.length })}
    </button></li>`}
  </ol>`;
}

function deed(line) {
  const department = line.department && line.department !== "review" ? departmentName(line.department) : "";
  const facts = { actor: actorName(line.actor), department, text: line.text };
  const key = `timeline.${line.action}`;
  const sentence = has(key) ? t(key, facts) : `${facts.actor}: ${line.action}`;
  return facts.department && !sentence.includes(facts.department) ? `${sentence} (${facts.department})` : sentence;
}

// What a person wrote is set apart; what the desk adds follows its sentence.
function more(line) {
  if (!line.text || mentions(`timeline.${line.action}`, "text")) return null;
  const written = line.actor !== "desk" && !SAID_BY_DESK.has(line.action);
  return written ? html`<q>${line.text}</q>` : html`<span class="added">${line.text}</span>`;
}

function actorName(actor) {
  if (!actor || actor === "model") return t("actor.model");
  return actor === "desk" ? t("actor.desk") : actor;
}
