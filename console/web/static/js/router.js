// Router: which part of the page is shown, from its address. Links inside the page do not load it anew: the
// event stream, the sound and the rows live on.

import { useEffect, useState } from "/static/vendor/preact/preact.js";

const watchers = new Set();

/** {page: board | review | history | case, id}. */
export function route() {
  const found = location.pathname.match(/^\/cases\/([^/]+)\/?$/);
  if (found) return { page: "case", id: decodeURIComponent(found[1]) };
  if (location.pathname.startsWith("/history")) return { page: "history", id: "" };
  return { page: new URLSearchParams(location.search).get("view") === "review" ? "review" : "board", id: "" };
}

/** Show another address. */
export function go(address, { replace = false } = {}) {
  if (address !== location.pathname + location.search) {
    history[replace ? "replaceState" : "pushState"](null, "", address);
  }
  moved();
}

/** The route, for a component that paints again when it changes. */
export function useRoute() {
  const [shown, show] = useState(route());
  useEffect(() => {
    const look = () => show(route());
    watchers.add(look);
    return () => watchers.delete(look);
  }, []);
  return shown;
}

function moved() {
  watchers.forEach((look) => look());
}

addEventListener("popstate", moved);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.target || link.hasAttribute("download") || event.defaultPrevented) return;
  const address = new URL(link.href, location.href);
  if (address.origin !== location.origin || !/^\/($|cases\/|history$)/.test(address.pathname)) return;
  event.preventDefault();
  go(address.pathname + address.search);
});
