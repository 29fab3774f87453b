// Parts: small pieces that rows, cases and review share.

import { html, useState } from "/static/vendor/preact/preact.js";
import { icon, situationClass, situationIcon } from "./icons.js";
import { copyText, geoLink, streetMapLink, written } from "./places.js";
import { store } from "./store.js";
import { inFull, since_s, span, useEachSecond } from "./times.js";
import { toast } from "./toasts.js";
import { has, lang, nameOf, named, percent, t } from "./words.js";

/** The name of a situation for people; of `normal` and of none, too. */
export function situationName(word) {
  if (!word) return t("situation.none");
  if (word === "normal") return t("situation.normal");
  const known = store.setup?.situations[word];
  return known ? nameOf(known.name) : named(word);
}

/** The name of a department for people. */
export function departmentName(word) {
  if (word === "review") return t("department.review");
  const known = store.setup?.departments[word];
  return known ? nameOf(known) : named(word);
}

/** Why a person must look, or an empty text: the desk knows details, this language the usual ones. */
export function whyUnsure(incident) {
  const key = `reason.${incident.reason}`;
  if (has(key) && (lang !== "en" || !incident.detail)) return t(key);
  return incident.detail || incident.reason;
}

/** A situation's drawing in its colour. */
export function Badge({ word, size = "" }) {
  return html`<span class=${`badge ${size} ${situationClass(word)}`}>${icon(situationIcon(word))}</span>`;
}

/** How far an assignment is: drawing and word. */
export function StatePill({ state }) {
  return html`<span class=${`pill state-${state}`}>${icon(state)}${t(`state.${state}`)}</span>`;
}

/** Nobody has confirmed what it shows. */
export function Unverified() {
  return html`<span class="unverified" title=${t("row.unverified_title")}>${icon("unknown")}${t("row.unverified")}</span>`;
}

/** How sure the model is, or which person decided. */
export function Confidence({ incident }) {
  const { decided_by: person, confidence: share } = incident;
  if (person && person !== "desk") {
    return html`<span class="confidence" title=${t("row.decided_title")}>${t("row.decided_by", { name: person })}</span>`;
  }
  return share > 0 && html`<span class="confidence" title=${t("row.confidence")}>${percent(share)}</span>`;
}

/** A ticking age; what it is the age of stands in `label`, for the title. */
export function Age({ at, label = "", className = "" }) {
  const text = useEachSecond(() => span(since_s(at)));
  return html`<time class=${`age ${className}`} datetime=${at} title=${`${label} ${inFull(at)}`.trim()}>${text}</time>`;
}

/** Coordinates with a button that copies them and links that open them. */
export function Place({ place, wide = false }) {
  const [copied, setCopied] = useState(false);
  const text = written(place);
  const copy = async () => {
    const done = await copyText(text);
    setCopied(done);
    if (!done) toast(t("place.not_copied"), "warning");
    setTimeout(() => setCopied(false), 2000);
  };
  return html`<span class=${wide ? "place wide" : "place"}>
    <span class="coordinates">${text}</span>
    <button class="quiet square" onClick=${copy} title=${t("place.copy")} aria-label=${`${t("place.copy")}: ${text}`}>
      ${icon(copied ? "done" : "copy")}${wide && html`<span>${copied ? t("place.copied") : t("place.copy")}</span>`}
    </button>
    <a class="button quiet square" href=${geoLink(place)} title=${t("place.application")} aria-label=${t("place.application")}>
      ${icon("pin")}${wide && html`<span>${t("place.application_short")}</span>`}
    </a>
    <a class="button quiet square" href=${streetMapLink(place)} target="_blank" rel="noopener noreferrer"
      title=${t("place.street_map")} aria-label=${t("place.street_map")}>
      ${icon("outside")}${wide && html`<span>OpenStreetMap</span>`}
    </a>
  </span>`;
}

/** A square button with a drawing, its words for screen readers and on hovering. */
export function IconButton({ name, label, hint = "", className = "quiet", onClick }) {
  return html`<button type="button" class=${`${className} square`} title=${`${label} ${hint}`.trim()} aria-label=${label}
    onClick=${onClick}>${icon(name)}</button>`;
}

/** A picture that fails to load says so, and keeps its room. */
export function Picture({ src, alt, className = "", lazy = false }) {
  const [missing, setMissing] = useState("");
  if (missing === src) {
    return html`<span class=${`picture missing ${className}`}>${icon("pictures")}<span>${t("picture.missing")}</span></span>`;
  }
  return html`<img class=${`picture ${className}`} src=${src} alt=${alt} loading=${lazy ? "lazy" : "eager"}
    decoding="async" onError=${() => setMissing(src)} />`;
}
