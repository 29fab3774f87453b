// Moves: what a person asks the desk for, and what became of it.

import { Refused, Unreached, ask } from "./api.js";
import { movable, speaksFor } from "./rows.js";
import { store } from "./store.js";
import { exact } from "./times.js";
import { toast } from "./toasts.js";
import { counted, has, lang, nameOf, t } from "./words.js";

const AGAIN_MS = 3000;
const GIVE_UP_MS = 60_000;
const SEEN_MS = 6000;

/** Ask for an action in every department of this person in which it is allowed. */
export function moveAll(row, action, more = {}) {
  const departments = movable(row, action, store);
  if (!departments.length) {
    toast(t("move.not_now", { action: t(`action.${action}`) }), "warning");
    return Promise.resolve([]);
  }
  return Promise.all(departments.map((department) => move(row.case, department, action, { seen: row.version, ...more })));
}

/** Ask for something about the whole case, in the name of the person's department. */
export function moveCase(row, action, more = {}) {
  const department = speaksFor(row, store);
  if (department) return move(row.case, department, action, more);
  toast(t("move.no_department"), "warning");
  return Promise.resolve(null);
}

/**
 * Ask for one move; its Outcome, or null. The same move id is sent again while the line is down,
 * so that a press of a button counts once.
 */
export async function move(id, department, action, more = {}) {
  for (const asked of store.pending.values()) {
    if (asked.case === id && asked.department === department && asked.action === action) return null;
  }
  const asked = { move_id: newId(), case: id, department, action, status: "asking", version: 0 };
  show(asked);
  const began_ms = Date.now();
  for (;;) {
    try {
      const body = { move_id: asked.move_id, department, action, ...more };
      const outcome = await ask(`/api/cases/${encodeURIComponent(id)}/moves`, { method: "POST", body });
      if (!outcome.waiting) return settle(outcome);
      return show({ ...asked, status: "waiting" }), null;
    } catch (trouble) {
      if (trouble instanceof Refused && trouble.body.move_id) return settle(trouble.body);
      const passing = trouble instanceof Unreached || trouble.status === 503;
      if (passing && Date.now() - began_ms < GIVE_UP_MS) {
        show({ ...asked, status: "unsent" });
        await new Promise((done) => setTimeout(done, AGAIN_MS));
        continue;
      }
      drop(asked.move_id);
      toast(passing ? t("move.given_up", { action: t(`action.${action}`) }) : trouble.message, "error");
      return null;
    }
  }
}

/** Note what the desk said of a move of ours: at once, or later by the event stream. */
export function settle(outcome) {
  const asked = store.pending.get(outcome.move_id);
  if (!asked && outcome.accepted) return outcome;
  if (outcome.accepted) {
    const seen = (store.rows.get(outcome.case)?.version || 0) >= outcome.version;
    if (seen) drop(outcome.move_id);
    else show({ ...asked, status: "asking", version: outcome.version });
    setTimeout(() => drop(outcome.move_id), SEEN_MS); // its row may never come: it left the board
  } else if (asked) {
    drop(outcome.move_id);
    toast(refusal(outcome), "error");
  }
  return outcome;
}

/** What is being asked about a case now. */
export function pendingOf(id) {
  return [...store.pending.values()].filter((asked) => asked.case === id);
}

/** Another id each time: 32 hexadecimal digits. */
export function newId() {
  // crypto.randomUUID wants TLS, which a desk on the local network may lack.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Why a move was refused, with who has it now where that is the reason. */
function refusal(outcome) {
  const part = store.rows.get(outcome.case)?.assignments.find((each) => each.department === outcome.department);
  if (outcome.reason === "taken" && part?.holder) {
    return t("outcome.taken", { holder: part.holder, time: exact(part.state_at) });
  }
  const key = `outcome.${outcome.reason}`;
  return lang !== "en" && has(key) ? t(key) : outcome.message || t("outcome.refused");
}

/** How many departments an action stands for, in words. */
export function inNumber(departments) {
  const names = departments.map((word) => nameOf(store.setup.departments[word] || word));
  return departments.length === 1 ? names[0] : counted("count.departments", departments.length);
}

function show(asked) {
  store.pending.set(asked.move_id, asked);
  store.change();
}

function drop(move_id) {
  if (store.pending.delete(move_id)) store.change();
}
