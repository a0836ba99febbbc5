// Watching one notification: the service tells of its changes, and is asked for what it does not tell, or cannot.

import { OPEN, get, now } from "./api.js";

const OFTEN = 300;
const SELDOM = 2000;
const CHANGES = ["queued", "waiting", "sent", "delivered", "acknowledged", "failed", "cancelled", "expired"];

/**
 * Calls `onChange(notification)` with each snapshot until its status is final, `onTrouble(problem)` when none came.
 * It rests while nobody looks at the page. Returns the function that ends it.
 */
export function watch(id, onChange, onTrouble) {
  let timer = 0;
  let ended = false;
  let looking = false;
  let stream = null;
  let told = 0;

  function listen() {
    stream = new EventSource(`/api/notifications/${id}/events/`);
    for (const status of [...CHANGES, "sending"]) stream.addEventListener(`notification.${status}`, hear);
  }

  function hear({ data }) {
    told += 1;
    take(JSON.parse(data).data);
  }

  function take(notification) {
    if (!ended) onChange(notification);
    if (!OPEN.has(notification.status)) end();
  }

  async function look() {
    if (looking || ended) return;
    looking = true;
    clearTimeout(timer);
    const pause = await once();
    looking = false;
    if (!ended && !document.hidden) timer = setTimeout(look, pause);
  }

  /** One look; returns the pause until the next. */
  async function once() {
    const before = told;
    try {
      const notification = await get(`/api/notifications/${id}/`);
      if (told === before) take(notification); // else something newer was told meanwhile
      return pauseFor(notification, stream?.readyState === EventSource.OPEN);
    } catch (problem) {
      if (!problem.errors) throw problem; // no answer of the service, but a fault of this page
      if (!ended) onTrouble(problem);
      if (problem.status === 404 || problem.status === 401) end();
      return SELDOM;
    }
  }

  /** Begin, go on, or rest: a browser has few connections for all of its pages. */
  function wake() {
    stream?.close();
    if (document.hidden) return;
    listen();
    look();
  }

  function end() {
    ended = true;
    clearTimeout(timer);
    stream?.close();
    document.removeEventListener("visibilitychange", wake);
  }

  document.addEventListener("visibilitychange", wake);
  wake();
  return end;
}

/** Seldom while it waits for a later moment, but in time for that moment, unless its changes are told. */
function pauseFor(notification, isTold) {
  const left = notification.due_at ? Date.parse(notification.due_at) - now() : 0;
  if (isTold && (left > 0 || notification.status !== "queued")) return SELDOM;
  return left > OFTEN ? Math.min(SELDOM, left + 50) : OFTEN;
}
