// The service over HTTP. Every failure is a Problem, in the shape of RFC 9457.

import { say } from "./words.js";

/** The statuses in which the service still works on a notification. */
export const OPEN = new Set(["queued", "sending", "waiting"]);

export class Problem extends Error {
  /** `errors`: [{code, detail, attr}]; `status` 0 where nobody answered. */
  constructor(status, errors) {
    super(errors.map((error) => error.detail).join(" "));
    this.status = status;
    this.errors = errors;
  }
}

let skew = 0; // how far the service's clock is ahead of ours, in ms

/** The service's time, as exactly as its Date header tells. */
export const now = () => Date.now() + skew;

export const get = (path) => call("GET", path);
export const post = (path, body, headers = {}) => call("POST", path, body, headers);

let lastThrow = Promise.resolve();

/** POST to the sandbox, which wants the page's CSRF token. One after the other: the switch thrown last wins. */
export function postToSandbox(path, body) {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const thrown = lastThrow.then(() => post(path, body, { "X-CSRFToken": token }));
  lastThrow = thrown.catch(() => {});
  return thrown;
}

/** Resolves when every switch that was thrown stands. */
export const switchesStand = () => lastThrow;

async function call(method, path, body, headers = {}) {
  const language = document.documentElement.lang; // the page's: the API knows no cookies
  const options = {
    method,
    headers: { Accept: "application/json", "Accept-Language": language, ...headers },
    cache: "no-store",
  };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  let answer;
  try {
    response = await fetch(path, options);
    answer = await response.json().catch(() => null);
  } catch {
    throw new Problem(0, [{ code: "offline", detail: say("trouble.offline"), attr: null }]);
  }
  setClock(response.headers.get("Date"));
  if (response.ok) return answer;
  const errors = Array.isArray(answer?.errors) && answer.errors.length ? answer.errors : null;
  const detail = say("trouble.http", { status: response.status });
  throw new Problem(response.status, errors ?? [{ code: "http", detail, attr: null }]);
}

function setClock(header) {
  const difference = header ? Date.parse(header) - Date.now() : 0;
  skew = Math.abs(difference) > 3000 ? difference : 0; // the header knows whole seconds only
}
