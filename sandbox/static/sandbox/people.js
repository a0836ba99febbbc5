// The recipient: create one, or choose one that is there.

import { get, post } from "./api.js";
import { showCommand } from "./curl.js";
import { byId } from "./dom.js";
import { busy, clearErrors, filled, showErrors } from "./forms.js";
import { say } from "./words.js";

const FIELDS = ["name", "email", "phone", "telegram_chat_id"];
const people = new Map();
const form = byId("user-form");
const list = byId("people");

/** The chosen user, null where there is none. */
export const chosen = () => (people.size ? (people.get(list.value) ?? null) : null);

/** The chosen user, else the one that the form describes. null: the form's errors are shown. */
export async function chosenOrNew() {
  return chosen() ?? create();
}

export async function setUpPeople() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form.querySelector("[type=submit]"), create);
  });
  list.addEventListener("change", describe);
  byId("new-user").addEventListener("click", () => {
    edit(true);
    form.elements.name.focus();
  });
  byId("keep-user").addEventListener("click", () => edit(false));
  try {
    const page = await get("/api/users/");
    for (const user of page.results.slice(0, 20).reverse()) add(user);
    edit(!people.size);
  } catch {
    // The form is there; whatever is wrong shows when it is sent.
  }
}

async function create() {
  const body = filled(form, FIELDS);
  try {
    const user = await post("/api/users/", body);
    clearErrors(form);
    showCommand("/api/users/", body);
    add(user);
    edit(false);
    return user;
  } catch (problem) {
    edit(true);
    showErrors(form, problem);
    return null;
  }
}

function add(user) {
  const id = String(user.id);
  people.set(id, user);
  list.prepend(new Option(user.name || say("person.nameless", { id }), id));
  list.value = id;
  describe();
}

function describe() {
  const user = chosen();
  const addresses = user ? [user.email, user.phone, user.telegram_chat_id].filter(Boolean) : [];
  byId("addresses").replaceChildren(
    ...addresses.map((address) => {
      const line = document.createElement("span");
      line.textContent = address;
      return line;
    }),
  );
}

/** Show the form, or the person. */
function edit(open) {
  form.hidden = !open;
  byId("person").hidden = open;
  byId("keep-user").hidden = !people.size;
}
