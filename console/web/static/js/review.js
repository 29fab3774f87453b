// Review: pictures that a person must decide, the most pressing first. One key decides.

import { html, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { pictureLink } from "./api.js";
import { DecideButtons, decide, digits } from "./deciding.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { pendingOf } from "./moves.js";
import { Picture, Place, situationName, whyUnsure } from "./parts.js";
import { Why } from "./pictures.js";
import { inReview, ranked, reviewOf, undecided } from "./rows.js";
import { useStore } from "./store.js";
import { clock, countdown, until_s, useEachSecond } from "./times.js";
import { toast } from "./toasts.js";
import { counted, percent, t } from "./words.js";

const UNDONE = 20;
const STEADY_MS = 400; // a second press of a key is not about the picture that came after the first one

export function Review() {
  const store = useStore();
  const [chosen, choose] = useState("");
  const [again, setAgain] = useState(null);
  const [said, setSaid] = useState([]);
  const shown_ms = useRef(0);
  const looked = useRef(null);
  const queue = store.review().filter((each) => !pendingOf(each.case).some((asked) => asked.action === "decide"));
  // The picture that is looked at stays, whatever comes in: a key must not decide another one.
  const row = again?.row || queue.find((each) => each.case === chosen) || queue[0];
  const kept = looked.current?.case === row?.case ? looked.current?.incident : null;
  const still = kept && (row.incidents.find((each) => each.id === kept.id) || kept);
  const incident = row && (again?.incident || (still?.verdict === "unsure" ? still : undecided(row)));
  looked.current = row && !again ? { case: row.case, incident } : null;
  useEffect(() => {
    if (row && row.case !== chosen) choose(row.case);
    shown_ms.current = performance.now();
  }, [row?.case, incident?.id]);

  const say = async (about, incident, situation) => {
    if (performance.now() - shown_ms.current < STEADY_MS) return;
    setSaid((before) => [{ row: about, incident, situation }, ...before].slice(0, UNDONE));
    setAgain(null);
    choose("");
    looked.current = null;
    // Who looks at it again knows what was decided: revision 0 is any.
    const outcome = await decide(about, again ? { ...incident, revision: 0 } : incident, situation);
    if (outcome?.accepted) toast(t("review.said", { number: incident.number, situation: situationName(situation) }), "good");
  };
  const step = (by) => {
    const next = queue[queue.findIndex((each) => each.case === row?.case) + by];
    if (next) pick(next.case);
  };
  const pick = (id) => {
    setAgain(null);
    choose(id);
  };
  const undo = () => {
    if (!said.length) return;
    const { row: about, incident } = said[0];
    setAgain({ row: store.rows.get(about.case) || about, incident });
    setSaid((before) => before.slice(1));
  };
  const keys = digits().map(([key, word]) => [key, () => row && say(row, incident, word)]);
  const [on, back] = [() => step(1), () => step(-1)];
  useKeys({ ...Object.fromEntries(keys), j: on, ArrowDown: on, k: back, ArrowUp: back, u: undo });

  return html`<div class="review">
    <${Queue} queue=${queue} chosen=${row?.case} onChoose=${pick} />
    ${row
      ? html`<${Question} key=${incident.id} row=${row} incident=${incident} again=${again !== null} onDecide=${say} />`
      : nothing(store)}
    ${said.length > 0 && html`<button class="undo" onClick=${undo}>${icon("reopen")}
      ${t("review.undo", { number: said[0].incident.number, situation: situationName(said[0].situation) })}
      <kbd>u</kbd></button>`}
  </div>`;
}

function nothing(store) {
  if (!store.loaded) return html`<p class="empty">${t("page.starting")}</p>`;
  return html`<div class="empty">${icon("normal", "large")}<p>${t("review.empty")}</p></div>`;
}

function Queue({ queue, chosen, onChoose }) {
  return html`<aside class="queue" aria-label=${t("review.queue")}>
    <h2 class="section">${counted("review.waiting", queue.length)}</h2>
    <ul>${queue.map((row) => html`<li key=${row.case}>
      <button class=${row.case === chosen ? "chosen" : ""} aria-pressed=${row.case === chosen}
        onClick=${() => onChoose(row.case)}>
        <${Picture} src=${pictureLink(undecided(row).id, 320)} alt="" lazy=${true} />
        <span class="queue-facts"><b>#${undecided(row).number}</b>
          <span>${guesses(undecided(row))}</span>
          ${row.incident_count > 1 && html`<span>${counted("count.pictures", row.incident_count)}</span>`}</span>
        <${Deadline} row=${row} />
      </button>
    </li>`)}</ul>
  </aside>`;
}

function guesses(incident) {
  const likely = ranked(incident).slice(0, 2);
  return likely.map(([word, share]) => `${situationName(word)} ${percent(share)}`).join(", ") || t("case.no_scores");
}

function Question({ row, incident, again, onDecide }) {
  return html`<section class="question" aria-labelledby="question">
    <div class="question-head">
      <h1 id="question">${t("review.what")} <span class="number">#${incident.number}</span></h1>
      ${row.incident_count > 1 && html`<span class="tag">${counted("count.pictures", row.incident_count)}</span>`}
      <${Deadline} row=${row} long=${true} />
      ${again && html`<span class="tag repeated">${t("review.again")}</span>`}
    </div>
    <${Why} incident=${incident} situation=${incident.situation || ranked(incident)[0]?.[0] || ""} />
    <div class="answers">
      ${incident.reason && incident.reason !== "low_confidence" && html`
        <p class="notice">${icon("warning")}${whyUnsure(incident)}</p>`}
      <${DecideButtons} row=${row} incident=${incident} onDecide=${onDecide} />
      <p class="question-facts"><${Place} place=${row} /><span>${t("fact.received")} ${clock(incident.received_at)}</span>
        ${incident.label && html`<span class="label">${incident.label}</span>`}
        <a href=${`/cases/${row.case}`}>${t("row.open")}</a></p>
    </div>
  </section>`;
}

/** When it goes out by itself; that it did; or that it is a sample. */
function Deadline({ row, long = false }) {
  const due_at = reviewOf(row)?.due_at;
  const text = useEachSecond(() => (due_at ? countdown(until_s(due_at)) : ""));
  if (!inReview(row)) return null;
  if (row.unverified && !due_at) return html`<span class="deadline over">${t("review.went_out")}</span>`;
  if (!due_at) return row.verdict === "no_emergency" && html`<span class="deadline sample">${t("review.sample")}</span>`;
  const soon = until_s(due_at) < 30;
  return html`<span class=${`deadline ${soon ? "soon" : ""}`}>${long ? t("review.goes_out", { time: text }) : text}</span>`;
}
