// Theme: dark, light, or as the system says. Set before the first paint, so that no page flashes white at night.

const CHOICES = ["system", "dark", "light"];
const KEY = "almenara-theme";

/** What was chosen: system, dark or light. */
export function chosenTheme() {
  try {
    const choice = localStorage.getItem(KEY);
    return CHOICES.includes(choice) ? choice : "system";
  } catch {
    return "system"; // storage may be forbidden; the page works without
  }
}

/** Whether the page is dark now. */
export function isDark() {
  const choice = chosenTheme();
  return choice === "dark" || (choice === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
}

/** Go to the next choice, remember it, and say which it is. */
export function nextTheme() {
  const choice = CHOICES[(CHOICES.indexOf(chosenTheme()) + 1) % CHOICES.length];
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // not remembered, but shown
  }
  show(choice);
  return choice;
}

/** The colour that a custom property comes to, of an element of a class, for canvases that know no properties. */
export function colour(property, ofClass = "") {
  const probe = document.createElement("span");
  probe.className = `hidden ${ofClass}`;
  probe.style.setProperty("color", `var(${property})`);
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function show(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  document.dispatchEvent(new CustomEvent("almenara:theme"));
}

show(chosenTheme());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(chosenTheme()));
