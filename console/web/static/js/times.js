// Times: ages and times of day, on the server's clock. A desk's own clock may be minutes off.

import { useEffect, useState } from "/static/vendor/preact/preact.js";
import { lang } from "./words.js";

let offset_ms = 0;
const watchers = new Set();
setInterval(() => watchers.forEach((look) => look()), 1000);

/** Learn from a time that the server just said. */
export function setClock(iso) {
  const at_ms = Date.parse(iso);
  if (Number.isFinite(at_ms)) offset_ms = at_ms - Date.now();
}

/** Now in milliseconds, as the server's clock has it. */
export function now_ms() {
  return Date.now() + offset_ms;
}

/** Seconds since a time, never negative. */
export function since_s(iso) {
  return Math.max(0, (now_ms() - Date.parse(iso)) / 1000);
}

/** Seconds until a time; negative when it is over. */
export function until_s(iso) {
  return (Date.parse(iso) - now_ms()) / 1000;
}

/** A span as people read it: 42 s, 12 min, 3 h 05 min, 2 d 4 h. */
export function span(seconds) {
  const whole_s = Math.floor(seconds);
  if (whole_s < 60) return `${whole_s} s`;
  if (whole_s < 600) return `${Math.floor(whole_s / 60)} min ${String(whole_s % 60).padStart(2, "0")}`;
  const minutes = Math.floor(whole_s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A countdown: 1:07; 0:00 when it is over. */
export function countdown(seconds) {
  const whole_s = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole_s / 60)}:${String(whole_s % 60).padStart(2, "0")}`;
}

const timeOfDay = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exactTime = new Intl.DateTimeFormat(lang, { timeStyle: "medium", hourCycle: "h23" });
const dayAndTime = new Intl.DateTimeFormat(lang, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const everything = new Intl.DateTimeFormat(lang, { dateStyle: "full", timeStyle: "long", hourCycle: "h23" });

/** The time of day, with the date where it is not today's. */
export function clock(iso) {
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return "";
  const today = moment.toDateString() === new Date(now_ms()).toDateString();
  return (today ? timeOfDay : dayAndTime).format(moment);
}

/** The time of day to the second. */
export function exact(iso) {
  const moment = new Date(iso);
  return Number.isNaN(moment.getTime()) ? "" : exactTime.format(moment);
}

/** Date, time and zone in full, for a title. */
export function inFull(iso) {
  const moment = new Date(iso);
  return Number.isNaN(moment.getTime()) ? "" : everything.format(moment);
}

/** What `read` says, looked at each second; the component paints again only when it changed. */
export function useEachSecond(read) {
  const [, paint] = useState(null);
  const text = read();
  useEffect(() => {
    const look = () => paint(read());
    watchers.add(look);
    return () => watchers.delete(look);
  });
  return text;
}
