// Forms: what their fields hold, and the API's errors beside them.

import { byId } from "./dom.js";

/** The fields that hold something, by name. */
export function filled(form, names) {
  const values = {};
  for (const name of names) {
    const value = form.elements[name].value;
    if (value !== "") values[name] = value;
  }
  return values;
}

export function clearErrors(form) {
  for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/** Show a problem's errors beside their fields, what belongs to none in the form's own place; go to the first. */
export function showErrors(form, problem) {
  clearErrors(form);
  let first = null;
  for (const error of problem.errors) {
    const place = placeOf(form, error.attr) ?? form.querySelector('[data-error=""]');
    const known = place.dataset.error !== "";
    const text = known || !error.attr ? error.detail : `${error.attr}: ${error.detail}`;
    place.textContent = place.textContent ? `${place.textContent} ${text}` : text;
    const field = place.parentElement.querySelector("input, select, textarea");
    if (!known || !field) continue;
    place.id ||= `error-${field.id || place.dataset.error}`;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", place.id);
    first ??= field;
  }
  const details = first?.closest("details");
  if (details) details.open = true;
  first?.focus();
}

/** The place for errors of `channels.0.within`: that of `channels`, where there is none of its own. */
function placeOf(form, attr) {
  for (let name = attr ?? ""; name; name = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "") {
    const place = form.querySelector(`[data-error~="${CSS.escape(name)}"]`);
    if (place) return place;
  }
  return null;
}

/** Run a task with the form's (or the button's) own submit button switched off meanwhile. */
export async function busy(button, task) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await task();
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** A problem's text in a place of its own; nothing clears it. */
export const complain = (id, problem) => {
  byId(id).textContent = problem ? problem.message : "";
};
