// Header: where one is, whether the line is up, sound, theme, language, who is logged in.

import { html, useEffect, useState } from "/static/vendor/preact/preact.js";
import { logOut } from "./api.js";
import { icon } from "./icons.js";
import { IconButton } from "./parts.js";
import { mayReview, reviewOf } from "./rows.js";
import { soundState, toggleMute, watchSound } from "./sound.js";
import { useStore } from "./store.js";
import { chosenTheme, nextTheme } from "./theme.js";
import { exact, now_ms, useEachSecond } from "./times.js";
import { lang, speak, t } from "./words.js";

export function Header({ page, onHelp }) {
  const store = useStore();
  const { rows } = store.board();
  const review = store.review();
  const tab = (name, address, count, urgent) => html`<a href=${address} class=${`tab ${urgent ? "urgent" : ""}`}
    aria-current=${page === name || (name === "board" && page === "case") ? "page" : undefined}>
    ${t(`tab.${name}`)}${count > 0 && html`<span class="count">${count}</span>`}
  </a>`;
  return html`<header class="header">
    <a class="brand" href="/" aria-label=${t("tab.board")}>
      <img src="/static/icons/almenara.svg" alt="" width="28" height="28" /><span>Almenara</span>
    </a>
    <nav class="tabs" aria-label=${t("header.parts")}>
      ${tab("board", "/", rows.length, store.waiting() > 0)}
      ${mayReview(store.me) && tab("review", "/?view=review", review.length, review.some((row) => reviewOf(row).due_at))}
      ${tab("history", "/history", 0, false)}
    </nav>
    <${LineState} />
    <${TimeOfDay} />
    <div class="tools">
      <${SoundButton} />
      <${ThemeButton} />
      <button class="quiet" lang=${other()} onClick=${() => speak(other())} title=${t("header.language")}>
        ${other().toUpperCase()}
      </button>
      <${IconButton} name="help" label=${t("help.title")} hint="(?)" onClick=${onHelp} />
      <span class="who" title=${store.me.roles.map((role) => t(`role.${role}`)).join(", ")}>${store.me.name}</span>
      <${IconButton} name="leave" label=${t("header.leave")} onClick=${logOut} />
    </div>
  </header>`;
}

function LineState() {
  const { line } = useStore();
  const word = line.up ? "up" : line.everUp ? "down" : "starting";
  return html`<span class=${`line-state ${word}`} role="status"><i></i>${t(`line.${word}`)}</span>`;
}

function TimeOfDay() {
  const text = useEachSecond(() => exact(new Date(now_ms()).toISOString()));
  return html`<time class="time-of-day" aria-hidden="true">${text}</time>`;
}

function SoundButton() {
  const [state, setState] = useState(soundState());
  useEffect(() => watchSound(() => setState(soundState())), []);
  return html`<button class=${`sound ${state}`} onClick=${toggleMute} aria-pressed=${state === "on"}
    title=${`${t(`sound.${state}_title`)} (m)`}>
    ${icon(state === "on" ? "sound" : "muted")}<span>${t(`sound.${state}`)}</span>
  </button>`;
}

function ThemeButton() {
  const [choice, setChoice] = useState(chosenTheme());
  return html`<${IconButton} name=${choice} label=${t(`theme.${choice}`)} onClick=${() => setChoice(nextTheme())} />`;
}

function other() {
  return lang === "es" ? "en" : "es";
}
