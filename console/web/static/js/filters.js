// Filters of the board. They start empty with each visit: a forgotten one would hide an emergency.

import { html, useRef } from "/static/vendor/preact/preact.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { departmentName, situationName } from "./parts.js";
import { NO_FILTERS, useStore } from "./store.js";
import { counted, t } from "./words.js";

const STATES = ["dispatched", "acknowledged", "en_route", "on_scene"];

/** The departments that this person may look at one by one. */
export function ownDepartments(store) {
  const all = Object.keys(store.setup.departments);
  const everything = store.me.departments === "all" || store.me.departments.includes("all");
  return everything || store.me.roles.includes("supervisor") ? all : all.filter((word) => store.me.departments.includes(word));
}

export function Filters({ hidden }) {
  const store = useStore();
  const field = useRef(null);
  useKeys({ "/": () => field.current?.focus() });
  const set = (changes) => store.change({ filters: { ...store.filters, ...changes } });
  const departments = ownDepartments(store);
  const active = hidden > 0 || store.filters.situation || store.filters.state || store.filters.text;
  return html`<form class="filters" role="search" aria-label=${t("filter.title")} onSubmit=${(event) => event.preventDefault()}>
    <label class="search">
      ${icon("search")}<span class="visually-hidden">${t("filter.text")}</span>
      <input ref=${field} type="search" value=${store.filters.text} placeholder=${t("filter.text")} maxlength="80"
        onInput=${(event) => set({ text: event.target.value })}
        onKeyDown=${(event) => event.key === "Escape" && leave(event, set)} />
      <kbd>/</kbd>
    </label>
    ${choice(t("filter.situation"), store.filters.situation, (word) => set({ situation: word }), [
      ["", t("filter.all_situations")],
      ...Object.keys(store.setup.situations).map((word) => [word, situationName(word)]),
      ["none", t("situation.none")],
    ])}
    ${departments.length > 1 && choice(t("filter.department"), store.looking, (word) => store.change({ looking: word }), [
      ["all", t("filter.all_departments")],
      ...departments.map((word) => [word, departmentName(word)]),
    ])}
    ${choice(t("filter.state"), store.filters.state, (word) => set({ state: word }), [
      ["", t("filter.all_states")],
      ...STATES.map((word) => [word, t(`state.${word}`)]),
    ])}
    ${active && html`<button type="button" class="clear" onClick=${() => store.change({ filters: NO_FILTERS })}>
      ${icon("close")}${hidden > 0 ? counted("filter.hidden", hidden) : t("filter.clear")}
    </button>`}
  </form>`;
}

function choice(label, value, pick, options) {
  return html`<label class="choice"><span class="visually-hidden">${label}</span>
    <select value=${value} class=${value && value !== "all" ? "set" : ""} onChange=${(event) => pick(event.target.value)}>
      ${options.map(([word, text]) => html`<option value=${word} selected=${word === value}>${text}</option>`)}
    </select>
  </label>`;
}

function leave(event, set) {
  set({ text: "" });
  event.target.blur();
  event.preventDefault();
}
