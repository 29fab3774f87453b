// Rows: what a row means to the person who looks at it. Pure functions of a row and of who looks.

import { written } from "./places.js";

export const REVIEW = "review";
const STATES = ["dispatched", "acknowledged", "en_route", "on_scene", "not_needed", "closed", "false_alarm"];
const NONE = Object.freeze({
  id: "", number: "", situation: null, confidence: 0, scores: {}, label: "", note: "", decided_by: "", reason: "", revision: 0,
});
const DONE = new Set(["closed", "false_alarm"]);

/** Whether a person may move assignments of a department. */
export function mayMove(me, department) {
  if (me.roles.includes("supervisor")) return department !== REVIEW;
  return department !== REVIEW && me.roles.includes("operator") && belongs(me, department);
}

/** Whether a person decides what the model is unsure of. */
export function mayReview(me) {
  return me.roles.includes("reviewer") || me.roles.includes("supervisor");
}

/** Whether a department is one of a person's. */
export function belongs(me, department) {
  const all = me.departments === "all" || me.departments.includes("all") || me.roles.includes("supervisor");
  return all || me.departments.includes(department);
}

/** Assignments of a row that concern the person: of their departments, or of the one they look at. */
export function mine(row, me, looking) {
  return row.assignments.filter(
    (part) =>
      part.department !== REVIEW &&
      belongs(me, part.department) &&
      (looking === "all" || looking === part.department),
  );
}

/** The assignment of `review`, where the row has one. */
export function reviewOf(row) {
  return row.assignments.find((part) => part.department === REVIEW);
}

export function isDone(part) {
  return DONE.has(part.state);
}

/** The state of an assignment, with a word for who has not answered and turned out not to be needed: no clock runs. */
export function stateIn(part) {
  const waits = part.state === "dispatched" && part.department !== REVIEW;
  return waits && !part.due_at ? "not_needed" : part.state;
}

/** The least advanced state among open assignments; of closed ones only where all are. */
export function stateOf(parts) {
  const open = parts.filter((part) => !isDone(part));
  const states = (open.length ? open : parts).map((part) => STATES.indexOf(stateIn(part)));
  return STATES[Math.min(...states)] || "dispatched";
}

/** Whether a row stands on the person's board. */
export function onBoard(row, me, looking) {
  return !row.merged_into && mine(row, me, looking).some((part) => !isDone(part));
}

/** Whether a row waits for a reviewer. */
export function inReview(row) {
  const part = reviewOf(row);
  return !row.merged_into && part !== undefined && !isDone(part);
}

/** How often the clock has called again, of what still waits for an acknowledgement. */
export function repeatsOf(parts) {
  return Math.max(0, ...parts.filter((part) => stateIn(part) === "dispatched").map((part) => part.repeats));
}

/**
 * Order of the board: what waits first, the newest of it on top; then what is in hand, the latest change on top.
 * New is what was sent lately: an old case whose fallback is called now is no new emergency to who sees both.
 */
export function inOrder(rows, me, looking) {
  // The key of each row is made once: a comparison for each pair would look at every assignment again and again.
  const keyed = rows.map((row) => {
    const parts = mine(row, me, looking);
    const waiting = parts.filter((part) => stateIn(part) === "dispatched").map((part) => part.dispatched_at);
    const moment = waiting.length ? waiting.sort()[0] : parts.map((part) => part.state_at).sort().at(-1) || "";
    return { row, rank: stateOf(parts) === "dispatched" ? 0 : 1, moment };
  });
  keyed.sort(
    (one, other) => one.rank - other.rank || compare(other.moment, one.moment) || compare(one.row.case, other.row.case),
  );
  return keyed.map(({ row }) => row);
}

/** Order of review: what goes out by itself soonest first, then samples that only want a look. */
export function byDue(one, other) {
  const due = (row) => reviewOf(row)?.due_at || "9999";
  return compare(due(one), due(other)) || compare(one.opened_at, other.opened_at);
}

/** Whether a row passes the filters {situation, state, text}. */
export function passes(row, filters, me, looking) {
  if (filters.situation && (row.situation || "none") !== filters.situation) return false;
  if (filters.state && stateOf(mine(row, me, looking)) !== filters.state) return false;
  if (!filters.text) return true;
  const words = [
    written(row),
    ...row.incidents.flatMap((part) => [`#${part.number}`, part.label, part.note]),
    ...row.assignments.map((part) => part.holder),
    ...row.timeline.filter((line) => line.action === "note").map((line) => line.text),
  ];
  return words.join("\n").toLocaleLowerCase().includes(filters.text.toLocaleLowerCase());
}

/** Departments of this person in which an action is allowed now. */
export function movable(row, action, { me, looking, setup }) {
  return mine(row, me, looking)
    .filter((part) => mayMove(me, part.department) && (setup.allowed[part.state] || []).includes(action))
    .map((part) => part.department);
}

/** Departments in whose name something about the whole case is asked: the first one that may. */
export function speaksFor(row, { me, looking }) {
  return mine(row, me, looking).find((part) => mayMove(me, part.department))?.department || "";
}

/** The first department that the server lets a person do something in, or an empty word. */
export function anyMay(may, action) {
  return Object.keys(may).find((department) => may[department].includes(action)) || "";
}

/** The newest incident of a row. A case that was merged into another has none left. */
export function newest(row) {
  return row.incidents[0] || NONE;
}

/** The incident that a reviewer decides: the oldest undecided one, which stays whatever joins; else the newest. */
export function undecided(row) {
  return row.incidents.findLast((each) => each.verdict === "unsure") || newest(row);
}

/** (word, share) of an incident's scores, the likeliest first. */
export function ranked(incident) {
  return Object.entries(incident?.scores || {}).sort((one, other) => other[1] - one[1]);
}

// Times in ISO form and ids: plain characters, and there may be hundreds.
function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}
