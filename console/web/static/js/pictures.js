// Pictures of a case: one large, with the heat that shows why, the scores of every class, and all the others.

import { html, useRef, useState } from "/static/vendor/preact/preact.js";
import { activationLink, pictureLink } from "./api.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { move } from "./moves.js";
import { IconButton, Picture, situationName, whyUnsure } from "./parts.js";
import { Scores } from "./scores.js";
import { anyMay, ranked } from "./rows.js";
import { clock, inFull } from "./times.js";
import { t } from "./words.js";

export function Pictures({ row, incident, may, onChoose }) {
  const [why, setWhy] = useState("");
  const guess = why || incident.situation || ranked(incident)[0]?.[0] || "";
  const splitter = row.incidents.length > 1 && anyMay(may, "split");
  if (!incident.id) return null;
  return html`
    <${Why} key=${incident.id} incident=${incident} situation=${guess} />
    ${row.incidents.length > 1 && html`<ul class="strip" aria-label=${t("case.all_pictures")}>
      ${row.incidents.map((each) => html`<li key=${each.id} class=${each.id === incident.id ? "chosen" : ""}>
        <button onClick=${() => onChoose(each.id)} aria-pressed=${each.id === incident.id} title=${inFull(each.received_at)}>
          <${Picture} src=${pictureLink(each.id, 320)} alt="" lazy=${true} />
          <span>#${each.number} · ${clock(each.received_at)}</span>
        </button>
      </li>`)}
    </ul>`}
    ${splitter && html`<button class="split" onClick=${() => move(row.case, splitter, "split", { other: incident.id })}>
      ${icon("split")}${t("case.split", { number: incident.number })}
    </button>`}
    <section class="card"><h2>${t("case.scores")}</h2>
      <${Scores} incident=${incident} chosen=${guess} onChoose=${setWhy} />
      ${facts(incident)}
    </section>`;
}

/** A picture, with the heat over it switched by a button or by the key w. */
export function Why({ incident, situation }) {
  const [shown, setShown] = useState(false);
  const [opacity, setOpacity] = useState(0.65);
  const [failed, setFailed] = useState("");
  const dialog = useRef(null);
  const heat = situation && Object.keys(incident.scores).length > 0 ? activationLink(incident.id, situation) : "";
  const laid = shown && heat && failed !== heat;
  const shows = { number: incident.number, situation: situationName(incident.situation) };
  useKeys({ w: () => heat && setShown(!shown) });
  return html`<figure class="why">
    <div class="frame">
      <${Picture} src=${pictureLink(incident.id, 1280)} alt=${t("picture.alt", shows)} />
      ${laid && html`<img class="heat" src=${heat} alt="" style=${{ "--opacity": opacity }} onError=${() => setFailed(heat)} />`}
      <${IconButton} name="enlarge" className="enlarge" label=${t("picture.enlarge")}
        onClick=${() => dialog.current.showModal()} />
    </div>
    ${heat && html`<figcaption>
      <button aria-pressed=${shown} onClick=${() => setShown(!shown)}>${icon("layers")}${t("picture.why")}<kbd>w</kbd></button>
      ${laid && html`<label class="opacity">${t("picture.opacity")}
        <input type="range" min="0" max="1" step="0.05" value=${opacity}
          onInput=${(event) => setOpacity(Number(event.target.value))} /></label>`}
      ${laid && html`<span class="muted">${t("picture.why_what", { situation: situationName(situation) })}</span>`}
      ${shown && !laid && html`<span class="muted">${t("picture.no_heat")}</span>`}
    </figcaption>`}
    <dialog ref=${dialog} class="enlarged" onClick=${() => dialog.current.close()} aria-label=${t("picture.enlarge")}>
      <${Picture} src=${pictureLink(incident.id, 1280)} alt="" lazy=${true} />
    </dialog>
  </figure>`;
}

function facts(incident) {
  const again = { number: incident.seen_count, time: clock(incident.last_seen_at) };
  const lines = [
    [t("fact.received"), inFull(incident.received_at)],
    incident.label && [t("fact.label"), incident.label],
    incident.note && [t("fact.note"), incident.note],
    incident.seen_count > 1 && [t("fact.seen"), t("fact.seen_times", again)],
    incident.reason && [t("fact.reason"), whyUnsure(incident)],
    incident.decided_by && [t("fact.decided_by"), incident.decided_by === "desk" ? t("actor.desk") : incident.decided_by],
    incident.model && [t("fact.model"), incident.model],
  ].filter(Boolean);
  return html`<dl class="facts-list">${lines.map(([name, text]) => html`<div><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`;
}
