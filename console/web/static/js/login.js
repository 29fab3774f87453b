// Login: sends name and password, says plainly what is wrong, and goes where one wanted to go.

import { Refused, logIn } from "./api.js";
import { nextTheme, chosenTheme } from "./theme.js";
import { speak, t } from "./words.js";

const form = document.getElementById("login");
const trouble = document.getElementById("trouble");
const reveal = document.getElementById("reveal");
const password = document.getElementById("password");
const theme = document.getElementById("theme");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [name, secret] = [form.elements.name.value.trim(), password.value];
  if (!name || !secret) return say(t("login.both"));
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  say("");
  try {
    await logIn(name, secret);
    location.assign(wanted());
  } catch (error) {
    button.disabled = false;
    password.select();
    say(error instanceof Refused && error.status === 401 ? t("login.wrong") : error.message);
  }
  return undefined;
});

reveal.addEventListener("click", () => {
  const hidden = password.type === "password";
  password.type = hidden ? "text" : "password";
  reveal.setAttribute("aria-pressed", String(hidden));
  reveal.textContent = t(hidden ? "login.hide" : "login.show");
});

theme.addEventListener("click", () => {
  theme.textContent = theme.dataset[nextTheme()];
});
theme.textContent = theme.dataset[chosenTheme()];

for (const link of document.querySelectorAll("[data-language]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    speak(link.dataset.language);
  });
}

// Only an address of this server: a link to the login page must not lead elsewhere. The browser's own parser says
// where it leads, since it drops tabs and takes backslashes for slashes; whole, since a path may begin with two.
function wanted() {
  const next = new URLSearchParams(location.search).get("next") || "/";
  try {
    const there = new URL(next, location.origin);
    if (there.origin === location.origin && there.protocol === location.protocol) return there.href;
  } catch {
    // No address at all.
  }
  return "/";
}

function say(text) {
  trouble.textContent = text;
}
