// Icons: line drawings on a grid of 24, for situations, states and buttons. A situation has a shape and a colour.

import { html } from "/static/vendor/preact/preact.js";

const SHAPES = {
  // situations
  fire: [
    "M12 2.5c.6 3.4-4.8 5.8-4.8 11a4.8 4.8 0 0 0 9.6 0c0-2-.9-3.6-1.9-4.8-.3 1.3-1 2-1.8 2.4C13.4 8.2 13.6 5 12 2.5z",
    "M8.5 21.5h7",
  ],
  flood_risk: [
    "M12 2.5c2 2.6 3.2 4.3 3.2 6a3.2 3.2 0 0 1-6.4 0c0-1.7 1.2-3.4 3.2-6z",
    "M2.5 16c1.6-1.4 3.2-1.4 4.75 0s3.2 1.4 4.75 0 3.2-1.4 4.75 0 3.2 1.4 4.75 0",
    "M2.5 20.5c1.6-1.4 3.2-1.4 4.75 0s3.2 1.4 4.75 0 3.2-1.4 4.75 0 3.2 1.4 4.75 0",
  ],
  accident: [
    "M3.5 19v-4l2-5a2 2 0 0 1 1.9-1.3h9.2a2 2 0 0 1 1.9 1.3l2 5v4",
    "M3.5 15h17",
    "M3.5 19h17",
    "M7 17h.01",
    "M17 17h.01",
    "M12 2v3",
    "M7.5 3l1 2.3",
    "M16.5 3l-1 2.3",
  ],
  protest: ["M3.5 9.5v5h3.5l8.5 4.5V5L7 9.5z", "M18.5 9a4.5 4.5 0 0 1 0 6", "M7 14.5l1.2 5.5h2.6l-1-4"],
  altercation: [
    "M13.2 2.5l-2.7 5h3l-2.7 5",
    "M5.5 11.5a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4z",
    "M18.5 11.5a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4z",
    "M2 21v-3.5a3.5 3.5 0 0 1 7 0V21",
    "M15 21v-3.5a3.5 3.5 0 0 1 7 0V21",
  ],
  robbery: [
    "M2.5 8.5c3-1.6 6.5-1.6 9.5.3 3-1.9 6.5-1.9 9.5-.3.2 5-1.8 8.5-5 8.5-2 0-3.1-2-4.5-2s-2.5 2-4.5 2c-3.2 0-5.2-3.5-5-8.5z",
    "M6.3 11.7c1-.8 2.3-.7 3 .3",
    "M17.7 11.7c-1-.8-2.3-.7-3 .3",
  ],
  other: ["M12 2.5l9.5 9.5-9.5 9.5L2.5 12z", "M12 8v4.5", "M12 16h.01"],
  normal: ["M12 21.5a9.5 9.5 0 1 0 0-19 9.5 9.5 0 0 0 0 19z", "M7.5 12.3l3 3 6-6.3"],
  unknown: [
    "M12 21.5a9.5 9.5 0 1 0 0-19 9.5 9.5 0 0 0 0 19z",
    "M9.2 9.3a2.9 2.9 0 1 1 4.3 2.7c-1 .6-1.5 1.1-1.5 2.2",
    "M12 17.3h.01",
  ],
  // states of an assignment
  dispatched: ["M12 3a6 6 0 0 1 6 6c0 5 2 6.5 2 6.5H4S6 14 6 9a6 6 0 0 1 6-6z", "M10 19a2.2 2.2 0 0 0 4 0"],
  acknowledged: ["M20 6.5L9.5 17.5 4 12"],
  en_route: ["M3 12h16", "M13 6l6 6-6 6"],
  on_scene: ["M12 21.5s7-6.3 7-12a7 7 0 0 0-14 0c0 5.7 7 12 7 12z", "M12 12a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z"],
  closed: ["M4 4.5h16v15H4z", "M8 12.3l2.7 2.7 5.3-5.7"],
  not_needed: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z", "M7.5 12h9"],
  false_alarm: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z", "M5.8 5.8l12.4 12.4"],
  // buttons
  release: ["M9 6L3.5 11.5 9 17", "M4 11.5h10a6 6 0 0 1 6 6V19"],
  note: ["M4 4h16v12l-4.5 4H4z", "M8 9h8", "M8 13h5"],
  copy: ["M9 9h11v11H9z", "M5 15H4V4h11v1"],
  outside: ["M13.5 4H20v6.5", "M20 4l-9 9", "M18 14v6H4V6h6"],
  pin: ["M12 21.5s7-6.3 7-12a7 7 0 0 0-14 0c0 5.7 7 12 7 12z", "M9.5 9.5h5"],
  search: ["M10.5 17.5a7 7 0 1 0 0-14 7 7 0 0 0 0 14z", "M15.7 15.7L21 21"],
  close: ["M5.5 5.5l13 13", "M18.5 5.5l-13 13"],
  sound: ["M4 9.5v5h3.5l5 4V5.5l-5 4z", "M16 9a4.3 4.3 0 0 1 0 6", "M18.7 6.3a8 8 0 0 1 0 11.4"],
  muted: ["M4 9.5v5h3.5l5 4V5.5l-5 4z", "M16.5 9.5l5 5", "M21.5 9.5l-5 5"],
  dark: ["M20.5 14A8.5 8.5 0 1 1 10 3.5a7 7 0 0 0 10.5 10.5z"],
  light: [
    "M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9z",
    "M12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M5 19l1.7-1.7M17.3 6.7L19 5",
  ],
  system: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z", "M12 3v18", "M12 7h7M12 11h9M12 15h8.5M12 18.5h5.5"],
  help: [
    "M12 21.5a9.5 9.5 0 1 0 0-19 9.5 9.5 0 0 0 0 19z",
    "M9.2 9.3a2.9 2.9 0 1 1 4.3 2.7c-1 .6-1.5 1.1-1.5 2.2",
    "M12 17.3h.01",
  ],
  leave: ["M10 4H4v16h6", "M15 8l4.5 4-4.5 4", "M9 12h10"],
  back: ["M15 5l-7 7 7 7"],
  list: ["M4 6h16M4 12h16M4 18h16"],
  map: ["M3.5 6.5l5.5-2.5 6 2.5 5.5-2.5v13.5L15 20l-6-2.5L3.5 20z", "M9 4v13.5M15 6.5V20"],
  layers: ["M12 3l9 5-9 5-9-5z", "M3 12.5l9 5 9-5"],
  split: ["M12 21v-7", "M12 14L5 7M12 14l7-7", "M5 11.5V7h4.5M19 11.5V7h-4.5"],
  merge: ["M12 3v7", "M5 20l7-10 7 10", "M9 6l3-3 3 3"],
  pictures: ["M3 7h14v12H3z", "M7 7V4h14v12h-4", "M6 16l3.5-4 2.5 2.5 1.5-1.5L16 16"],
  plus: ["M12 5v14M5 12h14"],
  warning: ["M12 3.5L22 20.5H2z", "M12 10v4.5", "M12 17.5h.01"],
  done: ["M20 6.5L9.5 17.5 4 12"],
  fit: ["M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"],
  download: ["M12 4v11", "M7.5 11l4.5 4.5 4.5-4.5", "M4 20h16"],
  clock: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z", "M12 7v5.3l3.5 2"],
  reopen: ["M4 12a8 8 0 1 0 2.6-5.9", "M4 4v4.5h4.5"],
  enlarge: ["M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7"],
};
const DRAWN = new Set(["fire", "flood_risk", "accident", "protest", "altercation", "robbery", "normal"]);
const SPARE = 4; // colours for situations that we have no drawing of

/** A drawing, hidden from screen readers: what it means stands beside it in words. */
export function icon(name, size = "") {
  return html`<svg class=${`icon ${size}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    ${(SHAPES[name] || SHAPES.other).map((shape) => html`<path d=${shape} />`)}
  </svg>`;
}

/** The name of the drawing for a situation's word, or for none. */
export function situationIcon(word) {
  if (!word) return "unknown";
  return DRAWN.has(word) ? word : "other";
}

/** The class that colours a situation: its own, or one of the spare colours, always the same for the same word. */
export function situationClass(word) {
  if (!word) return "hue-unknown";
  if (DRAWN.has(word)) return `hue-${word}`;
  const digest = [...word].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7);
  return `hue-spare-${digest % SPARE}`;
}

/** The same drawing as an element, for parts of the page that Preact does not paint. */
export function iconElement(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const shape of SHAPES[name] || SHAPES.other) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}
