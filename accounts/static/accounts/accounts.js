// One form, one request. The token of a mail's link stands behind the "#": it is read, and taken out of the address.

const form = document.querySelector("form");
const button = form.querySelector("button");
const done = document.querySelector("[data-done]");
const broken = document.querySelector("[data-broken]");
const word = (name) => document.getElementById("words").content.querySelector(`[data-word="${name}"]`).textContent;

let token = null;

/** Take the token out of the address, so that neither the history nor a picture of the screen has it. */
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!found && token) return;
  token = found;
  history.replaceState(null, "", location.pathname);
  form.hidden = !token;
  broken.hidden = Boolean(token);
  done.hidden = true;
}

function showErrors(errors) {
  for (const place of form.querySelectorAll("[data-error]")) place.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const { attr, detail } of errors) {
    const place = (attr && form.querySelector(`[data-error="${CSS.escape(attr)}"]`)) || form.querySelector('[data-error=""]');
    place.textContent += `${place.textContent ? "\n" : ""}${detail}`;
    form.querySelector(`#${CSS.escape(attr ?? "none")}`)?.setAttribute("aria-invalid", "true");
  }
  form.querySelector('[aria-invalid="true"]')?.focus();
}

/** The link is good for nothing any more: say so, and where there is a new one. */
function showBroken(detail) {
  broken.querySelector(".note").textContent = detail;
  form.hidden = true;
  broken.hidden = false;
  broken.focus();
}

/** The fields that have something in them. */
function body() {
  const named = [...form.querySelectorAll("input[name]")].filter((field) => field.value !== "" || field.required);
  const values = Object.fromEntries(named.map((field) => [field.name, field.value]));
  return token ? { ...values, token } : values;
}

/** The answer's JSON, or the errors to show. */
async function ask() {
  const headers = { "Content-Type": "application/json", "Accept-Language": document.documentElement.lang };
  let response;
  try {
    response = await fetch(form.dataset.endpoint, { method: "POST", headers, body: JSON.stringify(body()), credentials: "omit" });
  } catch {
    return { errors: [{ attr: null, detail: word("offline") }] };
  }
  const answer = await response.json().catch(() => ({}));
  return response.ok ? { answer } : { errors: answer.errors ?? [{ attr: null, detail: word("failed") }] };
}

function showDone(answer) {
  for (const name of ["email", "detail"]) {
    const place = done.querySelector(`[data-${name}]`);
    if (place) place.textContent = answer[name] ?? "";
  }
  token = null;
  form.reset();
  form.hidden = true;
  done.hidden = false;
  done.focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-busy") === "true") return;
  const again = form.querySelector("[data-repeats]");
  if (again && again.value !== form.querySelector(`#${again.dataset.repeats}`).value) {
    showErrors([{ attr: again.id, detail: word("differ") }]);
    return;
  }
  showErrors([]);
  button.setAttribute("aria-busy", "true");
  const { answer, errors } = await ask();
  button.removeAttribute("aria-busy");
  const spent = errors?.find(({ attr }) => attr === "token");
  if (spent) showBroken(spent.detail);
  else if (errors) showErrors(errors);
  else showDone(answer);
});

if ("needsToken" in form.dataset) {
  takeToken();
  addEventListener("hashchange", takeToken); // another mail's link in the same tab loads nothing anew
}
document.body.dataset.ready = "";
