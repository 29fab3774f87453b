// The API: requests with the session's token, and errors as sentences.

import { has, lang, t } from "./words.js";

let token = document.querySelector('meta[name="csrf"]')?.content || "";

/** A request that was refused. `reason` is a stable word; the message is a sentence for people. */
export class Refused extends Error {
  constructor(status, body) {
    super(sentence(status, body));
    this.status = status;
    this.reason = body.reason || "";
    this.body = body;
  }
}

/** The server did not answer at all. */
export class Unreached extends Error {
  constructor() {
    super(t("error.unreached"));
  }
}

/**
 * Ask the server; the JSON of its answer, with `status` of 202 told by `waiting` in it. Throws Refused or Unreached.
 */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET" && token) headers["X-CSRF-Token"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, signal, credentials: "same-origin",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (trouble) {
    if (trouble.name === "AbortError") throw trouble;
    throw new Unreached();
  }
  if (answer.status === 204) return null;
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  throw new Refused(answer.status, { ...found, retry_after: answer.headers.get("Retry-After") || "" });
}

/** Who is logged in. Goes to the login page where nobody is. */
export async function fetchSession() {
  try {
    const session = await ask("/api/session");
    token = session.csrf || token;
    return session.user;
  } catch (trouble) {
    if (trouble.status === 401) toLogin();
    throw trouble;
  }
}

/** Log in; the server's answer. */
export function logIn(name, password) {
  return ask("/api/session", { method: "POST", body: { name, password } });
}

/** Log out, and go to the login page. */
export async function logOut() {
  await ask("/api/session", { method: "DELETE" }).catch(() => null);
  location.assign("/login");
}

/** Go to the login page, and come back after it. */
export function toLogin() {
  const back = location.pathname + location.search;
  location.assign(`/login?next=${encodeURIComponent(back)}`);
}

/** The address of a picture, `width_px` wide. */
export function pictureLink(incident, width_px) {
  return `/api/incidents/${encodeURIComponent(incident)}/picture?width_px=${width_px}`;
}

/** The address of the heat over a picture that shows why it might be a situation. */
export function activationLink(incident, situation) {
  return `/api/incidents/${encodeURIComponent(incident)}/activation?situation=${encodeURIComponent(situation)}`;
}

/** A query string of what is not empty. */
export function query(facts) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(facts)) {
    if (value !== "" && value !== null && value !== undefined) search.set(name, value);
  }
  return search.toString();
}

// The server speaks English and knows details; another language has its own sentence for the usual reasons.
function sentence(status, body) {
  const key = `error.${body.reason}`;
  if (has(key) && (lang !== "en" || body.reason === "invalid")) return t(key, { seconds: body.retry_after });
  if (body.message) return [body.message, body.remedy].filter(Boolean).map(ended).join(" ");
  return status === 401 ? t("error.logged_out") : t("error.status", { status });
}

function ended(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}
