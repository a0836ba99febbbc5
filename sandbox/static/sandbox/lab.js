// The sandbox's switches, and scenarios that throw them and send a message.

import { get, postToSandbox } from "./api.js";
import { sendBody } from "./compose.js";
import { byId, piece, setIcon } from "./dom.js";
import { busy, complain } from "./forms.js";
import { chosenOrNew } from "./people.js";
import { channelName, say } from "./words.js";

const DOWN = { email: ["email"], sms: ["email", "sms"], all: ["email", "sms", "telegram"], restore: [] };
const panel = byId("switches");
let channels = [];

export async function setUpLab(onSent, onReset) {
  for (const button of document.querySelectorAll("[data-scenario]")) {
    button.addEventListener("click", () => busy(button, () => guarded(() => play(button.dataset.scenario, onSent))));
  }
  const reset = byId("reset");
  reset.addEventListener("click", () =>
    busy(reset, () =>
      guarded(async () => {
        showState(await postToSandbox("/sandbox/reset/"));
        byId("lesson").textContent = say("lesson.reset");
        onReset();
      }),
    ),
  );
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh(); // another window may have thrown them
  });
  await refresh();
}

const refresh = () => guarded(async () => showState(await get("/sandbox/state/")));

async function guarded(task) {
  try {
    await task();
    complain("lab-error", null);
  } catch (problem) {
    if (!problem.errors) throw problem;
    complain("lab-error", problem);
  }
}

async function play(name, onSent) {
  const wanted = Object.fromEntries(channels.map((channel) => [channel, DOWN[name].includes(channel) ? "refused" : "ok"]));
  showState(await postToSandbox("/sandbox/switches/", wanted));
  byId("lesson").textContent = say(`lesson.${name}`);
  if (name === "restore") return;
  const user = await chosenOrNew();
  if (!user) return;
  const notification = await sendBody({
    user_id: user.id,
    subject: say(`sample.${name}.subject`),
    message: say(`sample.${name}.message`),
    channels,
  });
  if (notification) onSent(notification, false);
}

function showState({ switches, choices }) {
  channels = Object.keys(switches);
  if (!panel.children.length) panel.append(...channels.map((channel) => switchOf(channel, choices[channel])));
  for (const item of panel.children) {
    const name = switches[item.dataset.channel];
    item.dataset.on = name === "ok" ? "yes" : "no";
    item.querySelector("input").checked = name === "ok";
    item.querySelector("select").value = name;
  }
}

function switchOf(channel, names) {
  const item = piece("switch");
  const [box, list] = [item.querySelector("input"), item.querySelector("select")];
  item.dataset.channel = channel;
  item.querySelector(".switch-name").textContent = channelName(channel);
  setIcon(item, channel);
  box.setAttribute("aria-label", say("switch.toggle", { channel: channelName(channel) }));
  list.setAttribute("aria-label", say("switch.choice", { channel: channelName(channel) }));
  for (const name of names) {
    list.add(new Option(say(`choice.${channel}.${name}`, {}, say(`choice.${name}`, {}, name)), name));
  }
  const set = (name) =>
    guarded(async () => {
      try {
        showState(await postToSandbox("/sandbox/switches/", { [channel]: name }));
      } catch (problem) {
        await refresh();
        throw problem;
      }
    });
  box.addEventListener("change", () => set(box.checked ? "ok" : "refused"));
  list.addEventListener("change", () => set(list.value));
  return item;
}
