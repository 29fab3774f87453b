// Amend: say that a case shows something else, tell one more department, or put two cases together.

import { html, useState } from "/static/vendor/preact/preact.js";
import { DecideButtons } from "./deciding.js";
import { icon } from "./icons.js";
import { move } from "./moves.js";
import { Age, Badge, departmentName, situationName } from "./parts.js";
import { distance_m, metres } from "./places.js";
import { go } from "./router.js";
import { anyMay, inReview, newest } from "./rows.js";
import { store } from "./store.js";
import { t } from "./words.js";

const NEAR_M = 500;
const NEAREST = 5;

export function Amend({ row, incident, may }) {
  const [correct, add, merge] = ["correct", "add_department", "merge"].map((action) => anyMay(may, action));
  const decide = anyMay(may, "decide") && !inReview(row);
  if (!correct && !add && !merge && !decide) return null;
  const { id, revision } = newest(row);
  return html`<section class="card amend"><h2>${t("amend.title")}</h2>
    ${correct && html`<${Chooser} label=${t("amend.correct")} deed=${t("action.correct")} options=${otherSituations(row)}
      onChoose=${(situation) => move(row.case, correct, "correct", { situation, other: id, revision })} />`}
    ${add && html`<${Chooser} label=${t("amend.add")} deed=${t("action.add_department")} options=${otherDepartments(row)}
      onChoose=${(to) => move(row.case, add, "add_department", { to })} />`}
    ${merge && html`<${Near} row=${row} department=${merge} />`}
    ${decide && html`<details><summary>${t("amend.decide")}</summary>
      <${DecideButtons} row=${row} incident=${incident} /></details>`}
  </section>`;
}

function Chooser({ label, deed, options, onChoose }) {
  const [word, setWord] = useState("");
  if (!options.length) return null;
  const send = (event) => {
    event.preventDefault();
    if (word) onChoose(word);
    setWord("");
  };
  return html`<form class="chooser" onSubmit=${send}><label>${label}
    <select value=${word} onChange=${(event) => setWord(event.target.value)}>
      <option value="" selected=${word === ""}>${t("amend.choose")}</option>
      ${options.map(([each, name]) => html`<option value=${each} selected=${each === word}>${name}</option>`)}
    </select></label>
    <button type="submit" disabled=${!word}>${deed}</button>
  </form>`;
}

function Near({ row, department }) {
  const near = [...store.rows.values()]
    .filter((other) => other.case !== row.case && !other.merged_into)
    .map((other) => ({ other, away_m: distance_m(row, other) }))
    .filter(({ away_m }) => away_m <= NEAR_M)
    .sort((one, two) => one.away_m - two.away_m)
    .slice(0, NEAREST);
  return html`<div class="near"><h3>${t("amend.near")}</h3>
    ${near.length === 0 && html`<p class="muted">${t("amend.none_near", { distance: metres(NEAR_M) })}</p>`}
    <ul>${near.map(({ other, away_m }) => html`<li key=${other.case}>
      <${Badge} word=${other.situation} size="small" />
      <a href=${`/cases/${other.case}`}>${situationName(other.situation)} #${newest(other).number}</a>
      <span class="muted">${metres(away_m)} · <${Age} at=${other.opened_at} /></span>
      <button onClick=${() => merge(row, department, other)}>${icon("merge")}${t("action.merge")}</button>
    </li>`)}</ul>
  </div>`;
}

async function merge(row, department, other) {
  const outcome = await move(row.case, department, "merge", { other: other.case });
  if (outcome?.accepted) go(`/cases/${other.case}`, { replace: true });
}

function otherSituations(row) {
  return Object.keys(store.setup.situations)
    .filter((word) => word !== row.situation)
    .map((word) => [word, situationName(word)]);
}

function otherDepartments(row) {
  const told = new Set(row.assignments.map((part) => part.department));
  return Object.keys(store.setup.departments)
    .filter((word) => !told.has(word))
    .map((word) => [word, departmentName(word)]);
}
