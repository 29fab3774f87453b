// The console: finds out who is here, follows the line, and shows the part that the address names.

import { html, render, useEffect, useState } from "/static/vendor/preact/preact.js";
import { alarm, title } from "./alarms.js";
import { ask, fetchSession, toLogin } from "./api.js";
import { Banners } from "./banners.js";
import { Board } from "./board.js";
import { CasePane } from "./case.js";
import { Header } from "./header.js";
import { Help } from "./help.js";
import { History } from "./history.js";
import { icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { Live } from "./live.js";
import { CaseMap } from "./map.js";
import { settle } from "./moves.js";
import { Review } from "./review.js";
import { go, useRoute } from "./router.js";
import { mayReview } from "./rows.js";
import { toggleMute } from "./sound.js";
import { store, useStore } from "./store.js";
import { Toasts } from "./toasts.js";
import { t } from "./words.js";

const SWEEP_MS = 10_000;

function App() {
  const here = useRoute();
  const [help, setHelp] = useState(false);
  useStore();
  useEffect(() => {
    store.page = here.page;
    title();
  });
  useKeys({
    "?": () => setHelp(true),
    m: toggleMute,
    b: () => go("/"),
    v: () => mayReview(store.me) && go("/?view=review"),
    h: () => go("/history"),
    Escape: () => here.page !== "board" && go("/"),
  });
  return html`
    <a class="skip" href="#main">${t("page.skip")}</a>
    <${Header} page=${here.page} onHelp=${() => setHelp(true)} />
    <main id="main" class=${`main page-${here.page}`} tabindex="-1">${content(here)}</main>
    <div class="foot"><${Toasts} /><${Banners} /></div>
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}
    <div id="announcements" class="visually-hidden" role="log" aria-live="assertive"></div>`;
}

function content(here) {
  if (here.page === "history") return html`<${History} />`;
  if (here.page === "review" && mayReview(store.me)) return html`<${Review} />`;
  const open = here.page === "case";
  return html`<${Desk} open=${open} id=${here.id} />`;
}

// The board stays as it is while a case is open beside it; there is a map where there is room.
function Desk({ open, id }) {
  const [shows, setShows] = useState("list");
  useEffect(() => {
    if (!open) document.getElementById(`row-${store.selected}`)?.focus();
  }, [open]);
  return html`<div class=${`desk shows-${shows} ${open ? "with-case" : ""}`}>
    <div class="switch" role="group" aria-label=${t("map.title")}>
      <button aria-pressed=${shows === "list"} onClick=${() => setShows("list")}>${icon("list")}${t("map.list")}</button>
      <button aria-pressed=${shows === "map"} onClick=${() => setShows("map")}>${icon("map")}${t("map.title")}</button>
    </div>
    <${Board} active=${!open} />
    ${open && html`<${CasePane} key=${id} id=${id} />`}
    <${CaseMap} shown=${shows === "map"} />
  </div>`;
}

function follow() {
  const live = new Live({
    opened: ({ user, rows }) => {
      // In another tab somebody else has logged in, or the same person with other roles: nothing here is theirs.
      if (JSON.stringify(user) !== JSON.stringify(store.me)) return location.reload();
      const first = !store.loaded; // what was open before this page was is no news
      const taken = store.opened(rows);
      store.change({ loaded: true });
      if (!first) for (const { row, before } of taken) alarm(row, before);
      return undefined;
    },
    row: (row) => {
      const before = store.take(row);
      if (before !== undefined) alarm(row, before);
    },
    outcome: settle,
    pulse: (pulse) => store.change({ pulse }),
    line: (up) => {
      if (up === store.line.up) return;
      store.change({ line: { up, everUp: store.line.everUp || up, downSince_ms: up ? 0 : Date.now() } });
    },
    loggedOut: toLogin,
  });
  live.start();
  setInterval(() => store.sweep(), SWEEP_MS);
}

async function start() {
  const room = document.getElementById("app");
  try {
    const [me, setup] = await Promise.all([fetchSession(), ask("/api/setup")]);
    store.change({ me, setup });
  } catch (trouble) {
    const told = { className: "page-starting", textContent: trouble.message };
    room.replaceChildren(Object.assign(document.createElement("p"), told));
    setTimeout(start, 3000); // the server may be just starting
    return;
  }
  room.replaceChildren();
  render(html`<${App} />`, room);
  follow();
}

start();
