// Case: everything about one case, beside the board or, on a narrow screen, in its place.

import { html, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { Amend } from "./amend.js";
import { ask } from "./api.js";
import { Assignments } from "./assignments.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { move, moveAll } from "./moves.js";
import { NoteField, writeNote } from "./notes.js";
import { Age, Badge, Confidence, Place, Unverified, situationName } from "./parts.js";
import { Pictures } from "./pictures.js";
import { DecideButtons } from "./deciding.js";
import { go } from "./router.js";
import { KEYS } from "./row.js";
import { anyMay, inReview, mayReview, newest, undecided } from "./rows.js";
import { store, useStore } from "./store.js";
import { Timeline } from "./timeline.js";
import { counted, t } from "./words.js";

export function CasePane({ id }) {
  useStore();
  const { found, trouble } = useCase(id, store.rows.get(id)?.version || 0);
  const known = store.rows.get(id);
  const row = found && (!known || found.row.version >= known.version) ? found.row : known || found?.row;
  const pane = useRef(null);
  const [chosen, choose] = useState("");
  useEffect(() => {
    store.change({ selected: id });
    pane.current?.focus({ preventScroll: true });
  }, []);
  useCaseKeys(row, id);
  if (!row) {
    return html`<section class="case" ref=${pane} tabindex="-1">${head()}
      <p class="empty" role="status">${trouble || t("page.starting")}</p></section>`;
  }
  const incidents = found && found.row.incidents.length >= row.incidents.length ? found.row.incidents : row.incidents;
  const may = found?.may || {};
  const whole = { ...row, incidents };
  const decides = inReview(row) && mayReview(store.me);
  // What a reviewer decides here is the picture that is shown.
  const shown = incidents.find((each) => each.id === chosen) || (decides ? undecided(whole) : newest(whole));
  return html`<section class="case" ref=${pane} tabindex="-1" aria-labelledby="case-title">
    ${head(whole)}
    ${trouble && html`<p class="trouble" role="alert">${trouble}</p>`}
    ${row.merged_into && html`<p class="notice">${icon("merge")}${t("case.merged")}
      <a href=${`/cases/${row.merged_into}`}>${t("case.merged_open")}</a></p>`}
    <div class="case-grid">
      <div class="case-left">
        <${Pictures} row=${whole} incident=${shown} may=${may} onChoose=${choose} />
      </div>
      <div class="case-right">
        ${decides && html`<${DecideButtons} row=${row} incident=${shown} />`}
        <${Assignments} row=${row} may=${may} known=${found !== null} />
        <section class="card"><h2>${t("note.title")}</h2>
          ${anyMay(may, "note") && html`<${NoteField} onSend=${(text) => noteFrom(row, may, text)} />`}
          <${Timeline} lines=${found?.timeline || row.timeline} />
        </section>
        <${Amend} row=${whole} incident=${shown} may=${may} />
      </div>
    </div>
  </section>`;
}

function head(row) {
  const incident = row && newest(row);
  return html`<div class="case-head">
    <a class="button back" href="/" title=${t("case.back")}>${icon("back")}<span>${t("case.back")}</span><kbd>esc</kbd></a>
    ${row && html`
      <h1 id="case-title"><${Badge} word=${row.situation} size="large" />${situationName(row.situation)}
        <span class="number">#${incident.number}</span></h1>
      ${row.unverified && html`<${Unverified} />`}
      <${Confidence} incident=${incident} />
      ${row.incident_count > 1 && html`<span class="tag">${counted("count.pictures", row.incident_count)}</span>`}
      <span class="case-age">${icon("clock")}<${Age} at=${row.opened_at} label=${t("row.opened")} /></span>
      <${Place} place=${row} wide=${true} />`}
  </div>`;
}

/** The whole case, asked for anew when the board has a later version of it. */
function useCase(id, version) {
  const [answer, setAnswer] = useState({ found: null, trouble: "" });
  const asked = useRef(0);
  useEffect(() => {
    if (answer.found && version <= answer.found.row.version) return undefined;
    const turn = ++asked.current;
    const stop = new AbortController();
    ask(`/api/cases/${encodeURIComponent(id)}`, { signal: stop.signal }).then(
      (found) => turn === asked.current && setAnswer({ found, trouble: "" }),
      (trouble) => trouble.name !== "AbortError" && setAnswer((before) => ({ ...before, trouble: trouble.message })),
    );
    return () => stop.abort();
  }, [id, version]);
  return answer;
}

function useCaseKeys(row, id) {
  const step = (by) => ({
    repeats: true,
    does: () => {
      const { rows } = store.board();
      const next = rows[rows.findIndex((each) => each.case === id) + by];
      if (next) go(`/cases/${next.case}`, { replace: true });
    },
  });
  const [next, before] = [step(1), step(-1)];
  const withRow = (does) => () => row && does(row);
  const moves = Object.entries(KEYS).map(([action, key]) => [key, withRow((each) => moveAll(each, action))]);
  useKeys({ ...Object.fromEntries(moves), n: withRow(writeNote), j: next, k: before });
}

function noteFrom(row, may, text) {
  const department = anyMay(may, "note");
  return move(row.case, department, "note", { note: text });
}
