// The message: its text, its channels in their order, its own SMTP account.

import { Problem, post, switchesStand } from "./api.js";
import { showCommand } from "./curl.js";
import { byId, piece, setIcon } from "./dom.js";
import { busy, clearErrors, filled, showErrors } from "./forms.js";
import { chosenOrNew } from "./people.js";
import { channelName, say } from "./words.js";

const SMTP_FIELDS = ["smtp_user", "smtp_password", "smtp_host", "from_email"];
const ENCRYPTION = { tls: { smtp_use_tls: true }, ssl: { smtp_use_ssl: true }, none: { smtp_use_tls: false } };
const form = byId("message-form");
const order = byId("order");

export function setUpCompose(channels, onSent) {
  order.append(...channels.map(step));
  showEnds();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form.querySelector("[type=submit]"), () => send(onSent));
  });
}

/** Send a body as it is; the notification, or null where the form shows the errors. */
export async function sendBody(body) {
  try {
    await switchesStand();
    const notification = await post("/api/notifications/", body);
    clearErrors(form);
    showCommand("/api/notifications/", body);
    return notification;
  } catch (problem) {
    showErrors(form, problem);
    return null;
  }
}

/** The own SMTP account as the API wants it; {} where none is filled in. */
export function ownAccount() {
  const account = filled(form, SMTP_FIELDS);
  const port = form.elements.smtp_port.value.trim();
  if (port) account.smtp_port = /^\d{1,9}$/.test(port) ? Number(port) : port;
  return { ...account, ...ENCRYPTION[byId("smtp-security").value] };
}

async function send(onSent) {
  clearErrors(form);
  const channels = [...order.children].filter((item) => item.querySelector("input").checked);
  const wrong = [];
  if (!channels.length) wrong.push({ detail: say("channels.none"), attr: "channels" });
  const account = ownAccount();
  if (typeof account.smtp_port === "string") wrong.push({ detail: say("port.invalid"), attr: "smtp_port" });
  if (wrong.length) return showErrors(form, new Problem(400, wrong));

  const user = await chosenOrNew();
  if (!user) return;
  const notification = await sendBody({
    user_id: user.id,
    message: form.elements.message.value,
    ...filled(form, ["subject"]),
    channels: channels.map((item) => item.dataset.channel),
    priority: form.elements.priority.value,
    ...account,
  });
  if (notification) onSent(notification, Object.keys(account).length > 0);
}

function step(channel) {
  const item = piece("step");
  item.dataset.channel = channel;
  item.querySelector(".step-name").textContent = channelName(channel);
  setIcon(item, channel);
  for (const button of item.querySelectorAll("[data-move]")) {
    const up = button.dataset.move === "-1";
    const label = say(up ? "move.up" : "move.down", { channel: channelName(channel) });
    button.setAttribute("aria-label", label);
    button.title = label;
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      if (up) item.previousElementSibling.before(item);
      else item.nextElementSibling.after(item);
      showEnds();
      button.focus();
    });
  }
  return item;
}

/** The first can't go up, the last can't go down. They keep the focus, so they are not switched off altogether. */
function showEnds() {
  for (const item of order.children) {
    const [up, down] = item.querySelectorAll("[data-move]");
    up.setAttribute("aria-disabled", String(!item.previousElementSibling));
    down.setAttribute("aria-disabled", String(!item.nextElementSibling));
  }
}
