// Alarms: what a change of a row means for ears, screen readers and the title of the tab.

import { departmentName, situationName } from "./parts.js";
import { inReview, mayReview, mine, newest, repeatsOf, reviewOf, stateIn } from "./rows.js";
import { written } from "./places.js";
import { play } from "./sound.js";
import { store } from "./store.js";
import { listed, t } from "./words.js";

const SAID_MS = 900; // screen readers drop what is replaced at once

let waiting = [];
let saying = 0;

/** Sound, highlight and announce what is new in a row. `before` is the row as it was known, or null. */
export function alarm(row, before) {
  const parts = mine(row, store.me, store.looking);
  const known = new Map((before ? mine(before, store.me, store.looking) : []).map((part) => [part.department, part]));
  const waited = (part) => part !== undefined && stateIn(part) === "dispatched";
  const called = parts.filter((part) => waited(part) && !waited(known.get(part.department)));
  const repeated = repeatsOf(parts) > (before ? repeatsOf([...known.values()]) : 0);
  if (called.length && !row.merged_into) {
    tell(row, "arrival", before ? "announce.back" : "announce.arrival", called);
  } else if (repeated) {
    tell(row, "repeated", "announce.repeated", parts);
  } else if (before && row.incident_count > before.incident_count) {
    store.mark(row.case, "joined"); // one alarm for one emergency: another picture of it only lights up
  }
  const review = reviewOf(row);
  const counted = before && inReview(before) && reviewOf(before).due_at;
  if (mayReview(store.me) && inReview(row) && review.due_at && !counted) {
    play("review");
    store.mark(row.case, "review");
    say(t("announce.review", { number: newest(row).number }));
  }
}

/** The number of what waits, before the title of the tab. */
export function title() {
  const count = store.waiting() + store.review().filter((row) => reviewOf(row).due_at).length;
  document.title = `${count ? `(${count}) ` : ""}${t(`tab.${store.page || "board"}`)} · Almenara`;
}

function tell(row, tone, key, parts) {
  play(tone);
  store.mark(row.case, tone);
  const facts = {
    situation: situationName(row.situation),
    place: written(row),
    departments: listed(parts.map((part) => departmentName(part.department))),
  };
  say(t(key, facts));
}

function say(text) {
  waiting = [...waiting, text].slice(-5);
  saying ||= setInterval(() => {
    const region = document.getElementById("announcements");
    const next = waiting.shift();
    if (region && next) region.textContent = next;
    if (!waiting.length) saying = clearInterval(saying) || 0;
  }, SAID_MS);
}
