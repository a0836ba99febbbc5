// What the page says, in its language: the texts stand in the template (`_words.html`), one catalogue serves all.

const language = document.documentElement.lang;
const words = new Map();
for (const element of document.getElementById("words").content.querySelectorAll("[data-word]")) {
  words.set(element.dataset.word, element.textContent);
}

/** The text of that name, its {places} filled; `fallback` where nobody wrote one. */
export function say(name, places = {}, fallback = name) {
  const text = words.get(name) ?? fallback;
  return text.replace(/\{(\w+)\}/g, (whole, place) => String(places[place] ?? whole));
}

export const channelName = (channel) => say(`channel.${channel}`, {}, channel);

const clock = new Intl.DateTimeFormat(language, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const whole = new Intl.NumberFormat(language);
const decimal = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const timeOf = (moment) => clock.format(new Date(moment));
export const milliseconds = (number) => say("ms", { number: whole.format(number) });

/** A span for people: milliseconds, seconds with a decimal, or h:mm:ss. */
export function span(ms) {
  if (ms < 1000) return milliseconds(Math.max(1, Math.round(ms)));
  return ms < 60000 ? say("seconds", { number: decimal.format(ms / 1000) }) : countdown(ms);
}

/** What is left, as 0:28 or 1:02:03. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`;
}
