// Watching one notification: by polling. Another source of snapshots replaces this file and nothing else.

import { OPEN, get, now } from "./api.js";

const OFTEN = 300;
const SELDOM = 2000;

/**
 * Calls `onChange(notification)` with each snapshot until its status is final, `onTrouble(problem)` when none came.
 * It rests while nobody looks at the page. Returns the function that ends it.
 */
export function watch(id, onChange, onTrouble) {
  let timer = 0;
  let ended = false;
  let looking = false;

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
    try {
      const notification = await get(`/api/notifications/${id}/`);
      if (!ended) onChange(notification);
      if (!OPEN.has(notification.status)) end();
      return pauseFor(notification);
    } catch (problem) {
      if (!problem.errors) throw problem; // no answer of the service, but a fault of this page
      if (!ended) onTrouble(problem);
      if (problem.status === 404 || problem.status === 401) end();
      return SELDOM;
    }
  }

  function wake() {
    if (!document.hidden) look();
  }

  function end() {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
  }

  document.addEventListener("visibilitychange", wake);
  look();
  return end;
}

/** Seldom while it waits for a later moment, but in time for that moment. */
function pauseFor(notification) {
  const left = notification.due_at ? Date.parse(notification.due_at) - now() : 0;
  return left > OFTEN ? Math.min(SELDOM, left + 50) : OFTEN;
}
