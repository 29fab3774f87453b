// History: what happened, searched by time, situation, department, place, number and words; tables, exports, charts.

import { html, useEffect, useState } from "/static/vendor/preact/preact.js";
import { ask, pictureLink, query } from "./api.js";
import { Charts } from "./charts.js";
import { ownDepartments } from "./filters.js";
import { icon } from "./icons.js";
import { Badge, Picture, Unverified, departmentName, situationName } from "./parts.js";
import { written } from "./places.js";
import { isDone, newest } from "./rows.js";
import { useStore } from "./store.js";
import { clock, inFull } from "./times.js";
import { counted, percent, t } from "./words.js";

const PAGE_SIZE = 50;
const VERDICTS = ["dispatched", "unsure", "no_emergency"];
const COLUMNS = ["picture", "number", "opened", "situation", "place", "departments", "pictures"];
const PLACE = "\\s*-?[0-9]{1,2}(\\.[0-9]{1,15})?\\s*,\\s*-?[0-9]{1,3}(\\.[0-9]{1,15})?\\s*";
const NOTHING = {
  since: "", until: "", situation: "", department: "", verdict: "", place: "", radius_m: "500", number: "", text: "",
};

export function History() {
  const store = useStore();
  const [wanted, setWanted] = useState(NOTHING);
  const [asked, setAsked] = useState(NOTHING);
  const [page, setPage] = useState(1);
  const search = searched(asked);
  const { found, summary, trouble } = useHistory(search, page);
  const submit = (event) => {
    event.preventDefault();
    setPage(1);
    setAsked(wanted);
  };
  const clear = () => {
    setWanted(NOTHING);
    setAsked(NOTHING);
    setPage(1);
  };
  return html`<section class="history" aria-label=${t("tab.history")}>
    <${Form} wanted=${wanted} setWanted=${setWanted} store=${store} onSubmit=${submit} onClear=${clear} />
    ${trouble && html`<p class="trouble" role="alert">${trouble}</p>`}
    <div class="history-head">
      <h1><span role="status">${found ? counted("history.found", found.total) : t("page.starting")}</span></h1>
      <a class="button" href=${`/api/history.csv?${query(search)}`} download="">${icon("download")}CSV</a>
      <a class="button" href=${`/api/history.geojson?${query(search)}`} download="">${icon("download")}GeoJSON</a>
    </div>
    ${summary && html`<${Charts} summary=${summary} />`}
    ${found && found.total === 0 && html`<p class="empty">${t("history.none")}</p>`}
    ${found && found.cases.length > 0 && html`<${Table} cases=${found.cases} />`}
    ${found && found.total > 0 && html`<${Pages} page=${page} last=${Math.ceil(found.total / PAGE_SIZE)} onPage=${setPage} />`}
  </section>`;
}

/** The filters as the API wants them: times in UTC, a radius only with a place. */
function searched(asked) {
  const utc = (local) => (local ? new Date(local).toISOString() : "");
  const { radius_m, ...rest } = asked;
  return {
    ...rest,
    since: utc(asked.since), until: utc(asked.until),
    place: asked.place.replace(/\s+/g, ""), radius_m: asked.place.trim() ? radius_m : "",
    number: asked.number.replace(/^#/, "").trim(), text: asked.text.trim(),
  };
}

function useHistory(search, page) {
  const [answer, setAnswer] = useState({ found: null, summary: null, trouble: "" });
  const words = query(search);
  useEffect(() => {
    const stop = new AbortController();
    const failed = (trouble) =>
      trouble.name !== "AbortError" && setAnswer((before) => ({ ...before, trouble: trouble.message }));
    ask(`/api/history?${query({ ...search, page, page_size: PAGE_SIZE })}`, { signal: stop.signal }).then(
      (found) => setAnswer((before) => ({ ...before, found, trouble: "" })), failed,
    );
    return () => stop.abort();
  }, [words, page]);
  useEffect(() => {
    const stop = new AbortController();
    ask(`/api/history/summary?${words}`, { signal: stop.signal }).then(
      (summary) => setAnswer((before) => ({ ...before, summary })), () => null,
    );
    return () => stop.abort();
  }, [words]);
  return answer;
}

function Form({ wanted, setWanted, store, onSubmit, onClear }) {
  const set = (name) => (event) => setWanted({ ...wanted, [name]: event.target.value });
  const field = (name, type, more = {}) => html`<label>${t(`history.${name}`)}
    <input type=${type} value=${wanted[name]} onInput=${set(name)} ...${more} /></label>`;
  const choice = (name, options) => html`<label>${t(`history.${name}`)}
    <select value=${wanted[name]} onChange=${set(name)}>
      <option value="" selected=${!wanted[name]}>${t("history.any")}</option>
      ${options.map(([word, text]) => html`<option value=${word} selected=${word === wanted[name]}>${text}</option>`)}
    </select></label>`;
  return html`<form class="history-form" role="search" onSubmit=${onSubmit}>
    ${field("since", "datetime-local")}
    ${field("until", "datetime-local")}
    ${choice("situation", Object.keys(store.setup.situations).map((word) => [word, situationName(word)]))}
    ${choice("department", ownDepartments(store).map((word) => [word, departmentName(word)]))}
    ${choice("verdict", VERDICTS.map((word) => [word, t(`verdict.${word}`)]))}
    ${field("place", "text", { placeholder: "33.8568, 151.2153", pattern: PLACE, title: t("history.place_title") })}
    ${field("radius_m", "number", { min: 1, max: 100000, step: 1 })}
    ${field("number", "text", { placeholder: "0001", pattern: "\\s*#?[0-9]{1,12}\\s*" })}
    ${field("text", "search", { maxlength: 80 })}
    <div class="history-go">
      <button type="submit" class="primary">${icon("search")}${t("history.search")}</button>
      <button type="button" class="quiet" onClick=${onClear}>${t("filter.clear")}</button>
    </div>
  </form>`;
}

function Table({ cases }) {
  return html`<div class="table-room"><table class="history-table">
    <caption class="visually-hidden">${t("tab.history")}</caption>
    <thead><tr>
      ${COLUMNS.map((name) => html`<th scope="col" class=${name}>${t(`history.column_${name}`)}</th>`)}
    </tr></thead>
    <tbody>${cases.map(line)}</tbody>
  </table></div>`;
}

function line(row) {
  const incident = newest(row);
  return html`<tr key=${row.case}>
    <td class="picture"><a href=${`/cases/${row.case}`} tabindex="-1" aria-hidden="true">
      <${Picture} src=${pictureLink(incident.id, 320)} alt="" lazy=${true} /></a></td>
    <td class="number"><a href=${`/cases/${row.case}`}>#${incident.number}</a></td>
    <td class="opened"><time datetime=${row.opened_at} title=${inFull(row.opened_at)}>${clock(row.opened_at)}</time></td>
    <td class="situation"><span><${Badge} word=${row.verdict === "no_emergency" ? "normal" : row.situation} size="small" />
      ${row.verdict === "no_emergency" ? t("situation.normal") : situationName(row.situation)}
      ${incident.confidence > 0 && html`<small>${percent(incident.confidence)}</small>`}
      ${row.verdict === "unsure" && !row.unverified && html`<span class="tag">${t("verdict.unsure")}</span>`}
      ${row.unverified && html`<${Unverified} />`}</span></td>
    <td class="place"><span class="coordinates">${written(row)}</span>
      ${incident.label && html`<span class="label">${incident.label}</span>`}</td>
    <td class="departments">${row.assignments.map(unit)}</td>
    <td class="pictures">${row.incident_count}</td>
  </tr>`;
}

function unit(part) {
  const review = part.department === "review";
  const words = review ? t(isDone(part) ? "review.decided" : "review.undecided") : t(`state.${part.state}`);
  const drawing = review && !isDone(part) ? "unknown" : part.state;
  return html`<span class=${`unit state-${review && !isDone(part) ? "review" : part.state}`} title=${words}>
    ${icon(drawing)}<span>${departmentName(part.department)}</span><span class="visually-hidden">${words}</span></span>`;
}

function Pages({ page, last, onPage }) {
  return html`<nav class="pages" aria-label=${t("history.pages")}>
    <button disabled=${page <= 1} onClick=${() => onPage(page - 1)}>${t("history.newer")}</button>
    <span>${t("history.page", { page, last })}</span>
    <button disabled=${page >= last} onClick=${() => onPage(page + 1)}>${t("history.older")}</button>
  </nav>`;
}
