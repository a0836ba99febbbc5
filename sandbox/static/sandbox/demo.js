// The demo page: creates, sends, watches. Everything goes through the public API and the sandbox's few addresses.

import { OPEN, get, post } from "./api.js";
import * as chain from "./chain.js";
import { ownAccount, setUpCompose } from "./compose.js";
import { setUpCopying } from "./curl.js";
import { byId, scrollTo } from "./dom.js";
import { busy, complain } from "./forms.js";
import * as inbox from "./inbox.js";
import { setUpLab } from "./lab.js";
import { setUpPeople } from "./people.js";
import { say } from "./words.js";
import { watch } from "./watch.js";

const SANDBOX = document.body.dataset.sandbox === "yes";
const CHANNELS = document.body.dataset.channels.split(",").filter(Boolean);
const RECENT = 6;
const ASK_AGAIN = 200; // ms

const recent = new Map(); // id -> status, newest last
const withOwnAccount = new Set(); // sent by this page with SMTP credentials, which are wiped at the end
let openId = null;
let stopWatching = () => {};

function open(id) {
  stopWatching();
  openId = id;
  history.replaceState(null, "", `#${id}`);
  let troubled = true; // whatever stood there speaks of what was open before
  stopWatching = watch(
    id,
    (notification) => {
      if (troubled) complain("chain-error", null);
      troubled = false;
      chain.show(notification);
      remember(notification);
      if (SANDBOX) inbox.look();
    },
    (problem) => {
      troubled = true;
      complain("chain-error", problem);
    },
  );
}

function sent(notification, ownAccountGiven) {
  if (ownAccountGiven) withOwnAccount.add(notification.id);
  chain.show({ attempts: [], ...notification });
  remember(notification);
  open(notification.id);
  scrollTo(byId("nodes"));
}

function remember({ id, status }) {
  const before = recent.get(id);
  if (before === status && byId("recent-list").querySelector("[aria-current]")?.dataset.id === String(id)) return;
  recent.set(id, status);
  const ids = [...recent.keys()].sort((a, b) => b - a);
  for (const old of ids.splice(RECENT)) recent.delete(old);
  showRecent(ids);
}

function showRecent(ids) {
  const list = byId("recent-list");
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  ids.forEach((id, position) => {
    const item = known.get(String(id)) ?? recentItem(id);
    known.delete(String(id));
    const button = item.firstElementChild;
    button.dataset.status = recent.get(id);
    button.title = say(`status.${recent.get(id)}`);
    button.lastElementChild.textContent = button.title;
    if (id === openId) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (list.children[position] !== item) list.insertBefore(item, list.children[position] ?? null);
  });
  for (const item of known.values()) item.remove();
  byId("recent").hidden = ids.every((id) => id === openId);
}

function recentItem(id) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const [number, status] = [document.createElement("b"), document.createElement("span")];
  item.dataset.id = button.dataset.id = id;
  number.textContent = id;
  button.type = "button";
  button.append(number, status);
  button.addEventListener("click", () => open(id));
  item.append(button);
  return item;
}

function setUpVerbs() {
  for (const verb of ["cancel", "retry"]) {
    const button = byId(verb);
    button.addEventListener("click", () =>
      busy(button, async () => {
        const id = openId;
        const body = verb === "retry" && withOwnAccount.has(id) ? ownAccount() : {};
        try {
          const answer = await (verb === "cancel" ? cancel(id) : post(`/api/notifications/${id}/retry/`, body));
          if (openId !== id) return;
          chain.show(answer);
          open(id);
        } catch (problem) {
          if (openId === id) complain("chain-error", problem);
        }
      }),
    );
  }
}

/** What was just taken in hand is refused: asked again as soon as it rests, so that one click is enough. */
async function cancel(id) {
  for (;;) {
    try {
      return await post(`/api/notifications/${id}/cancel/`, {});
    } catch (problem) {
      const { status } = problem.status === 409 ? await get(`/api/notifications/${id}/`) : {};
      if (!OPEN.has(status) || openId !== id) throw problem;
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
    }
  }
}

async function openFirst() {
  const asked = Number(location.hash.slice(1));
  if (Number.isSafeInteger(asked) && asked > 0) open(asked);
  try {
    const page = await get("/api/notifications/");
    for (const notification of page.results.slice(0, RECENT).reverse()) remember(notification);
  } catch (problem) {
    complain("chain-error", problem);
  }
}

chain.showIdle(CHANNELS);
setUpCompose(CHANNELS, sent);
setUpCopying();
setUpVerbs();
if (SANDBOX) {
  inbox.setUpInbox(CHANNELS);
  setUpLab(sent, inbox.empty);
}
await setUpPeople();
await openFirst();
document.body.dataset.ready = "yes";
