// Notes: a small dialog to write one, with its length counted.

import { html, render, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { moveCase } from "./moves.js";
import { situationName } from "./parts.js";
import { newest } from "./rows.js";
import { store } from "./store.js";
import { t } from "./words.js";

const room = document.createElement("div");
document.body.append(room);

/** Ask for a note about a case, and send it. */
export function writeNote(row) {
  const close = () => render(null, room);
  render(html`<${NoteDialog} row=${row} onClose=${close} />`, room);
}

function NoteDialog({ row, onClose }) {
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  const send = async (text) => {
    dialog.current.close();
    // What had the focus before may be gone; the field, unseen, must not take the next key.
    if (dialog.current.contains(document.activeElement)) document.activeElement.blur();
    await moveCase(row, "note", { note: text });
  };
  return html`<dialog ref=${dialog} class="note-dialog" onClose=${onClose} aria-label=${t("note.title")}>
    <h2>${t("note.about", { number: newest(row).number, situation: situationName(row.situation) })}</h2>
    <${NoteField} onSend=${send} focus=${true} />
    <button class="quiet" onClick=${() => dialog.current.close()}>${t("action.cancel")}<kbd>esc</kbd></button>
  </dialog>`;
}

/** A field for a note, with a counter. Ctrl+Enter sends. */
export function NoteField({ onSend, focus = false }) {
  const [text, setText] = useState("");
  const field = useRef(null);
  const most = store.setup.note_max_characters;
  const left = most - [...text.trim()].length;
  useEffect(() => {
    if (focus) field.current.focus();
  }, []);
  const send = () => {
    if (!text.trim() || left < 0) return;
    onSend(text.trim());
    setText("");
  };
  return html`<form class="note-field" onSubmit=${(event) => (event.preventDefault(), send())}>
    <textarea ref=${field} rows="2" value=${text} aria-label=${t("note.title")} placeholder=${t("note.placeholder")}
      onInput=${(event) => setText(event.target.value)}
      onKeyDown=${(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && send()}></textarea>
    <div class="note-foot">
      <span class=${left < 0 ? "counter over" : "counter"} role="status">${t("note.left", { number: left })}</span>
      <button type="submit" class="primary" disabled=${!text.trim() || left < 0}>${t("action.note")}</button>
    </div>
  </form>`;
}
