// The chain: one notification's steps and attempts, from snapshots. Knows nothing of where they come from.

import { OPEN, now } from "./api.js";
import { byId, calm, piece, put, setIcon } from "./dom.js";
import { channelName, countdown, milliseconds, say, span, timeOf } from "./words.js";

const ADDRESS = { email: "email", sms: "phone", telegram: "telegram_chat_id" };
const PACE = 320; // ms between two attempts that came together, so that the eye can follow
const OWN_WORDS = new Set(["no_address", "not_configured", "circuit_open", "address_suppressed", "deadline_missed"]);

const nodes = byId("nodes");
const list = byId("attempts");
let current = null; // the newest snapshot
let shown = 0; // attempts on the page
let timer = 0;
let spoken = "";

/** Show a chain that nobody walks yet. */
export function showIdle(channels) {
  nodes.replaceChildren(...channels.map((channel) => node(channel, "")));
}

/** Show a snapshot. Another notification than the last one begins anew. */
export function show(notification) {
  if (current?.id !== notification.id) begin(notification);
  current = notification;
  if (!timer) reveal();
}

function begin(notification) {
  clearTimeout(timer);
  [timer, shown, spoken] = [0, 0, ""];
  list.replaceChildren();
  byId("chain-empty").hidden = true;
  byId("about").hidden = false;
  byId("about-subject").textContent = notification.subject || notification.message || "";
  byId("about-meta").textContent = say("about", {
    id: notification.id,
    time: timeOf(notification.created_at),
    priority: say(`priority.${notification.priority}`),
  });
  nodes.replaceChildren(
    ...notification.channels.map(({ channel }) => node(channel, notification.to?.[ADDRESS[channel]] ?? "")),
  );
}

/** Append the attempts that are new, one after the other, then say how it stands. */
function reveal() {
  timer = 0;
  const attempts = current.attempts ?? [];
  if (shown < attempts.length) {
    append(attempts[shown], attempts[shown - 1]);
    shown += 1;
    if (shown < attempts.length) timer = setTimeout(reveal, calm() ? 0 : PACE);
  }
  byId("story").hidden = !shown;
  draw();
}

function append(attempt, before) {
  if (attempt.round !== before?.round) {
    const round = piece("round");
    put(round, "span", say("round", { number: attempt.round + 1 }));
    list.append(round);
  }
  const item = piece("attempt");
  item.dataset.outcome = attempt.outcome;
  item.dataset.channel = attempt.channel;
  setIcon(item, attempt.channel);
  put(item, ".a-channel", channelName(attempt.channel));
  put(item, ".a-outcome", say(`outcome.${attempt.outcome}`));
  put(item, ".a-code", attempt.code);
  put(item, ".a-why", attempt.code ? say(`code.${attempt.code}`, {}, "") : "");
  put(item, ".a-detail", OWN_WORDS.has(attempt.code) ? "" : attempt.detail);
  put(item, ".a-meta", meta(attempt).join(" · "));
  put(item, ".a-ms", attempt.outcome === "skipped" ? "" : milliseconds(attempt.duration_ms));
  put(item, "time", timeOf(attempt.started_at)).dateTime = attempt.started_at;
  list.append(item);
}

function meta(attempt) {
  const parts = [];
  if (attempt.outcome === "failed") parts.push(say(attempt.temporary ? "again.yes" : "again.no"));
  if (attempt.account) parts.push(say(`account.${attempt.account}`, {}, attempt.account));
  if (attempt.provider_id) parts.push(say("provider", { id: attempt.provider_id }));
  return parts;
}

function draw() {
  const settled = !timer;
  const status = settled ? current.status : "sending";
  const badge = byId("status");
  badge.textContent = say(`status.${status}`);
  badge.dataset.status = status;
  badge.hidden = false;
  byId("cancel").hidden = !settled || !(status === "queued" || status === "waiting");
  byId("retry").hidden = !settled || status !== "failed";
  const states = statesOf(current, (current.attempts ?? []).slice(0, shown), status);
  [...nodes.children].forEach((item, index) => light(item, states[index]));
  tick();
  speak();
}

/** How each step stands, by the attempts that are shown. */
function statesOf(notification, attempts, status) {
  const last = notification.channels.map(({ channel }) => attempts.findLast((one) => one.channel === channel));
  const newest = attempts.at(-1)?.round ?? 0;
  const dead = (one) => one && (one.outcome === "unknown" || one.temporary === false);
  let trying = -1;
  if (status === "sending") {
    trying = last.findIndex((one) => !one || (one.round < newest && !dead(one)));
    if (trying < 0) trying = last.findIndex((one) => !dead(one)); // a new round begins
  }
  return last.map((one, index) => {
    if (index === trying) return "trying";
    if (!one) return OPEN.has(status) ? "idle" : last.some((other) => other?.outcome === "accepted") ? "spared" : "stopped";
    if (one.outcome === "failed") return one.temporary && OPEN.has(status) ? "again" : "failed";
    return one.outcome;
  });
}

function light(item, state) {
  if (item.dataset.state === state) return;
  item.dataset.state = state;
  put(item, ".node-state", say(`state.${state}`));
}

function node(channel, address) {
  const item = piece("node");
  item.dataset.channel = channel;
  setIcon(item, channel);
  put(item, ".node-name", channelName(channel));
  put(item, ".node-address", address);
  put(item, ".node-state", say("state.idle"));
  return item;
}

/** The sentence under the chain; it counts down. */
function tick() {
  const text = current ? verdict() : "";
  const line = byId("verdict");
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
  line.dataset.status = timer ? "sending" : (current?.status ?? "");
}
setInterval(tick, 250);

function verdict() {
  const { status } = current;
  if (timer || status === "sending") return say("verdict.working");
  if (OPEN.has(status)) {
    const left = Date.parse(current.due_at) - now();
    if (left <= 0) return say("verdict.now");
    const name = status === "waiting" ? "deadline" : shown ? "next" : "start";
    return say(`verdict.${name}`, { time: countdown(left) });
  }
  const taken = current.attempts?.findLast((one) => one.outcome === "accepted");
  if (status === "sent" && taken) {
    const began = Date.parse(current.send_at ?? current.created_at);
    const time = span(Date.parse(taken.started_at) + taken.duration_ms - began);
    return say("verdict.sent", { channel: channelName(taken.channel), time });
  }
  const why = current.failure_code ? say(`code.${current.failure_code}`, {}, current.failure_code) : "";
  return say(`verdict.${status}`, { why }, "");
}

/** Tell a screen reader once for each status, without the countdown's figures. */
function speak() {
  const { id, status } = current;
  if (timer || spoken === status || status === "sending") return;
  spoken = status;
  const places = { id, status: say(`status.${status}`), verdict: OPEN.has(status) ? "" : verdict() };
  byId("spoken").textContent = say("spoken", places);
}
