// Help: the keys, and whether single keys work at all.

import { html, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { keysEnabled, setKeysEnabled } from "./keys.js";
import { IconButton } from "./parts.js";
import { t } from "./words.js";

const GROUPS = {
  board: [["j", "↓"], ["k", "↑"], ["↵"], ["g"], ["/"]],
  moves: [["a"], ["e"], ["s"], ["c"], ["f"], ["r"], ["n"]],
  review: [["1–9"], ["0"], ["j", "k"], ["w"], ["u"]],
  page: [["b", "v", "h"], ["m"], ["?"], ["esc"]],
};
const WORDS = {
  board: ["help.next", "help.before", "help.open", "help.first", "help.filter"],
  moves: [
    "action.acknowledge", "action.en_route", "action.on_scene", "action.close", "action.false_alarm", "action.release",
    "action.note",
  ],
  review: ["help.decide", "help.normal", "help.other_picture", "help.why", "help.undo"],
  page: ["help.tabs", "help.mute", "help.help", "help.back"],
};

export function Help({ onClose }) {
  const dialog = useRef(null);
  const [enabled, setEnabled] = useState(keysEnabled());
  useEffect(() => dialog.current.showModal(), []);
  const turn = (event) => {
    setKeysEnabled(event.target.checked);
    setEnabled(event.target.checked);
  };
  return html`<dialog ref=${dialog} class="help" onClose=${onClose} aria-labelledby="help-title"
    onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
    <div class="help-head"><h2 id="help-title">${t("help.title")}</h2>
      <${IconButton} name="close" label=${t("action.put_away")} onClick=${() => dialog.current.close()} /></div>
    <div class="help-groups">${Object.keys(GROUPS).map(group)}</div>
    <label class="help-switch"><input type="checkbox" checked=${enabled} onChange=${turn} /> ${t("help.enabled")}</label>
  </dialog>`;
}

function group(name) {
  return html`<section key=${name}><h3>${t(`help.group_${name}`)}</h3><dl>
    ${GROUPS[name].map((keys, index) => html`<div>
      <dt>${keys.map((key) => html`<kbd>${key}</kbd>`)}</dt><dd>${t(WORDS[name][index])}</dd>
    </div>`)}
  </dl></section>`;
}
