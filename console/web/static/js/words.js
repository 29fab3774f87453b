// Words: the texts of this page's language, which the server put into the page.

const texts = JSON.parse(document.getElementById("words")?.textContent || "{}");
const plurals = new Intl.PluralRules(document.documentElement.lang || "en");

export const lang = document.documentElement.lang || "en";

/** Whether there is a text with this key. */
export function has(key) {
  return Object.hasOwn(texts, key);
}

/** The text with this key, its {facts} filled in. A missing one shows as its key: a test keeps that away. */
export function t(key, facts = {}) {
  if (!has(key)) return key;
  return texts[key].replace(/\{(\w+)\}/g, (hole, name) => (name in facts ? String(facts[name]) : hole));
}

/** Whether the text with this key has a place for a fact. */
export function mentions(key, fact) {
  return has(key) && texts[key].includes(`{${fact}}`);
}

/** One of two texts, `key.one` and `key.other`, by number. */
export function counted(key, number, facts = {}) {
  const form = plurals.select(number) === "one" ? "one" : "other";
  return t(`${key}.${form}`, { number, ...facts });
}

/** A name out of the routing file in this language, where it is one of those we know. */
export function nameOf(name) {
  return has(`name.${name}`) ? texts[`name.${name}`] : name;
}

/** A wire word as people read it where nothing gives it a name: flood_risk is Flood Risk. */
export function named(word) {
  return String(word)
    .replace(/[_-]/g, " ")
    .replace(/\b\w/g, (letter) => letter.toUpperCase());
}

/** A share in [0, 1] as whole percent. */
export function percent(share) {
  return new Intl.NumberFormat(lang, { style: "percent", maximumFractionDigits: 0 }).format(share);
}

/** Words joined as people list them. */
export function listed(words) {
  return new Intl.ListFormat(lang, { type: "conjunction" }).format(words);
}

/** Remember a language for this browser, and show the page in it. */
export function speak(language) {
  document.cookie = `lang=${encodeURIComponent(language)}; path=/; max-age=31536000; SameSite=Lax`;
  const address = new URL(location.href);
  address.searchParams.delete("lang");
  address.hash = ""; // with one, the browser would only scroll
  location.replace(address);
}
