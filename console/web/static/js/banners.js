// Banners: what does not work now, and for how long. They stand at the foot of the page: coming and going, they
// cover nothing, and move no button from under a finger.

import { html, useEffect, useState } from "/static/vendor/preact/preact.js";
import { icon } from "./icons.js";
import { allowSound, soundState, watchSound } from "./sound.js";
import { useStore } from "./store.js";
import { span, useEachSecond } from "./times.js";
import { t } from "./words.js";

export function Banners() {
  const [sound, setSound] = useState(soundState());
  useEffect(() => watchSound(() => setSound(soundState())), []);
  const { line, pulse, pending } = useStore();
  const asked = [...pending.values()].filter((each) => each.status !== "asking").length;
  const shown = [
    !line.up && line.everUp && html`<${LineDown} since_ms=${line.downSince_ms} />`,
    line.up && !pulse.broker && banner("error", t("banner.broker")),
    line.up && pulse.broker && !pulse.desk && banner("error", t("banner.desk")),
    line.up && pulse.broker && pulse.workers === 0 && banner("warning", t("banner.workers")),
    line.up && pulse.broker && pulse.ingesters === 0 && banner("warning", t("banner.ingesters")),
    // Where the header has no room for words.
    sound === "blocked" && html`<div class="banner warning sound-off">
      <button onClick=${allowSound}>${icon("sound")}${t("sound.blocked")}</button></div>`,
    asked > 0 && banner("warning", t("banner.pending", { number: asked })),
  ].filter(Boolean);
  return html`<div class="banners" role="alert">${shown}</div>`;
}

function LineDown({ since_ms }) {
  const text = useEachSecond(() => span((Date.now() - since_ms) / 1000));
  // The seconds are hidden from screen readers: an alert that changes each second would never be quiet.
  return html`<div class="banner error">${icon("warning")}<span>${t("banner.line")}</span>
    <b aria-hidden="true">${text}</b></div>`;
}

function banner(kind, text) {
  return html`<div class=${`banner ${kind}`}>${icon("warning")}<span>${text}</span></div>`;
}
