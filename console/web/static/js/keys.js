// Keys: one listener for the page; each part that is shown says what its keys do. Text that is typed is no key.

import { useEffect, useRef } from "/static/vendor/preact/preact.js";

const KEY = "almenara-keys";
const layers = [];
let enabled = remembered();

/** Whether single keys do something; a person may turn them off (speech input presses them by mistake). */
export function keysEnabled() {
  return enabled;
}

export function setKeysEnabled(wanted) {
  enabled = wanted;
  try {
    localStorage.setItem(KEY, wanted ? "" : "off");
  } catch {
    // not remembered, but done
  }
}

/** While the component is shown and `active`, keys by name do what `handlers` say. */
export function useKeys(handlers, active = true) {
  const layer = useRef({}).current;
  layer.handlers = handlers;
  useEffect(() => {
    if (!active) return undefined;
    layers.push(layer);
    return () => layers.splice(layers.indexOf(layer), 1);
  }, [active]);
}

document.addEventListener("keydown", (event) => {
  if (!enabled && event.key !== "Escape") return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  if ((event.key === "Enter" || event.key === " ") && event.target.closest?.("a, button, summary, input, select")) return;
  for (const layer of layers) {
    const handler = layer.handlers[event.key];
    if (!handler) continue;
    // A key that is held down moves through the list, but never asks for the same move again and again.
    if (event.repeat && !handler.repeats) return;
    event.preventDefault();
    (handler.does || handler)(event);
    return;
  }
});

function typing(target) {
  return target.isContentEditable || target.closest?.("input:not([type=checkbox]):not([type=range]), textarea, select");
}

function remembered() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}
