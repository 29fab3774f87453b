// Charts: how many cases of what and when, and how long departments take to answer; as tables for screen readers.

import { html, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { departmentName, situationName } from "./parts.js";
import { situationClass } from "./icons.js";
import { colour } from "./theme.js";
import { countdown, span } from "./times.js";
import { charts } from "./vendor.js";
import { lang, t } from "./words.js";

const DAY_MS = 86_400_000;
const MOST_DAYS = 400;

export function Charts({ summary }) {
  const situations = Object.entries(summary.by_situation || {}).sort((one, other) => other[1] - one[1]);
  const departments = Object.entries(summary.acknowledge_s || {}).filter(([, each]) => each.count > 0);
  const days = everyDay(summary.by_day || []);
  if (!situations.length && !days.length) return null;
  return html`<div class="charts">
    <${Drawing} title=${t("chart.by_day")} head=${[t("chart.day"), t("chart.cases")]}
      rows=${days.map(({ day, count }) => [dayName(day), count])} make=${() => perDay(days)} />
    <${Drawing} title=${t("chart.by_situation")} head=${[t("filter.situation"), t("chart.cases")]}
      rows=${situations.map(([word, count]) => [situationName(word), count])} make=${() => perSituation(situations)} />
    <${Drawing} title=${t("chart.acknowledge")}
      head=${[t("filter.department"), t("chart.median"), t("chart.p90"), t("chart.cases")]}
      rows=${departments.map(([word, each]) => [departmentName(word), span(each.median), span(each.p90), each.count])}
      make=${() => perDepartment(departments)} />
  </div>`;
}

function Drawing({ title, head, rows, make }) {
  const canvas = useRef(null);
  const [theme, setTheme] = useState(0);
  const facts = JSON.stringify(rows);
  useEffect(() => {
    const look = () => setTheme((count) => count + 1);
    document.addEventListener("almenara:theme", look);
    return () => document.removeEventListener("almenara:theme", look);
  }, []);
  useEffect(() => {
    let drawn = null;
    let left = false;
    charts().then((Chart) => {
      if (left || !rows.length || !canvas.current) return;
      Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
      drawn = new Chart(canvas.current, make());
    }, () => null);
    return () => {
      left = true;
      drawn?.destroy();
    };
  }, [facts, theme]);
  return html`<figure class="chart card"><figcaption>${title}</figcaption>
    ${rows.length
      ? html`<div class="canvas-room"><canvas ref=${canvas} role="img" aria-label=${title}></canvas></div>`
      : html`<p class="muted">${t("chart.nothing")}</p>`}
    ${rows.length > 0 && html`<details><summary>${t("chart.as_table")}</summary><table>
      <thead><tr>${head.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>${rows.map(([name, ...cells]) => html`<tr>
        <th scope="row">${name}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody>
    </table></details>`}
  </figure>`;
}

/** Days without a case stand between the others, as long as they can be told apart. */
function everyDay(days) {
  if (days.length < 2) return days;
  const counts = new Map(days.map(({ day, count }) => [day, count]));
  const [first_ms, last_ms] = [Date.parse(days[0].day), Date.parse(days.at(-1).day)];
  if (!(last_ms - first_ms < MOST_DAYS * DAY_MS)) return days;
  return Array.from({ length: Math.round((last_ms - first_ms) / DAY_MS) + 1 }, (_, index) => {
    const day = new Date(first_ms + index * DAY_MS).toISOString().slice(0, 10);
    return { day, count: counts.get(day) || 0 };
  });
}

function perDay(days) {
  return settings("bar", days.map(({ day }) => dayName(day)), [
    { ...bars(colour("--accent"), t("chart.cases"), 36), data: days.map(({ count }) => count) },
  ]);
}

function perSituation(situations) {
  const names = situations.map(([word]) => situationName(word));
  const colours = situations.map(([word]) => hue(word));
  const set = { ...bars(colours, t("chart.cases"), 26), data: situations.map(([, count]) => count) };
  return settings("bar", names, [set], { indexAxis: "y" });
}

function perDepartment(departments) {
  const names = departments.map(([word]) => departmentName(word));
  const set = (name, property, label) => ({
    ...bars(colour(property), label, 14), data: departments.map(([, each]) => each[name]),
  });
  const sets = [set("median", "--accent", t("chart.median")), set("p90", "--accent-soft", t("chart.p90"))];
  const made = settings("bar", names, sets, { indexAxis: "y", seconds: true });
  made.options.plugins.legend = { display: true, labels: { color: colour("--text"), boxWidth: 12 } };
  return made;
}

function settings(type, labels, datasets, { indexAxis = "x", seconds = false } = {}) {
  const [ink, line] = [colour("--muted"), colour("--line")];
  const ticks = { color: ink, precision: 0, maxRotation: 0, callback: seconds ? countdown : undefined };
  const amounts = { grid: { color: line }, ticks, beginAtZero: true };
  const names = { grid: { display: false }, ticks: { color: ink, autoSkip: indexAxis === "x", maxRotation: 0 } };
  return {
    type,
    data: { labels, datasets },
    options: {
      indexAxis, maintainAspectRatio: false, animation: false,
      plugins: { legend: { display: false }, tooltip: { callbacks: seconds ? { label: spoken } : {} } },
      scales: indexAxis === "x" ? { x: names, y: amounts } : { x: amounts, y: names },
    },
  };
}

function bars(backgroundColor, label, maxBarThickness) {
  return { backgroundColor, label, maxBarThickness, borderRadius: 3 };
}

function spoken(at) {
  return `${at.dataset.label}: ${span(at.raw)}`;
}

function hue(word) {
  return colour("--hue", situationClass(word));
}

function dayName(day) {
  const moment = new Date(`${day}T12:00:00`);
  return Number.isNaN(moment.getTime()) ? day : new Intl.DateTimeFormat(lang, { day: "numeric", month: "short" }).format(moment);
}
