// Small helpers. Foreign text goes into the page as text only.

export const byId = (id) => document.getElementById(id);

/** A copy of the piece of that name (`_pieces.html`). */
export function piece(name) {
  return byId(`piece-${name}`).content.firstElementChild.cloneNode(true);
}

/** Put text into the element found; it disappears where there is none. */
export function put(parent, selector, text) {
  const element = parent.querySelector(selector);
  element.textContent = text ?? "";
  element.hidden = !text;
  return element;
}

/** Let the icons of this element be the channel's. */
export function setIcon(element, channel) {
  const use = element.querySelector(".icon use");
  use.setAttribute("href", document.getElementById(`i-${channel}`) ? `#i-${channel}` : "#i-other");
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Bring it into view, no farther than needed. */
export function scrollTo(element) {
  element.scrollIntoView({ behavior: calm() ? "auto" : "smooth", block: "nearest" });
}
