// What the sandbox's servers took. Foreign text is shown as text; a mail's HTML stands in a frame without any rights.

import { get } from "./api.js";
import { byId, piece, put, setIcon } from "./dom.js";
import { channelName, say, timeOf } from "./words.js";

const PAUSE = 1500;
const KEPT = 30; // messages a box
// No script runs there (the frame's sandbox), and nothing is fetched (this policy): a remote picture tells its sender.
const POLICY = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">';
const BARRED = "script, style, link, meta, base, iframe, frame, object, embed, form, svg, math, template, audio, video";
const KEPT_ATTRIBUTES = new Set(["alt", "title", "dir", "lang", "colspan", "rowspan"]);

const boxes = new Map();
let last = 0;
let timer = 0;
let looking = false;
let emptied = 0;

export function setUpInbox(channels) {
  for (const channel of channels) {
    const box = piece("box");
    box.dataset.channel = channel;
    box.querySelector(".box-name").textContent = channelName(channel);
    setIcon(box, channel);
    put(box, ".nothing", say(`box.${channel}`, {}, ""));
    byId("boxes").append(box);
    boxes.set(channel, box);
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
  look();
}

/** Look for new messages now; it looks by itself too. */
export async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(timer);
  const before = emptied;
  try {
    const { messages } = await get(`/sandbox/inbox/?after=${last}`);
    for (const message of messages) {
      if (message.seq <= last || before !== emptied) continue; // they were on their way when the inbox was emptied
      last = message.seq;
      add(message);
    }
  } catch {
    // The service is away; the chain says so.
  }
  looking = false;
  if (!document.hidden) timer = setTimeout(look, PAUSE);
}

export function empty() {
  emptied += 1;
  for (const box of boxes.values()) {
    box.querySelector(".messages").replaceChildren();
    count(box);
  }
}

function add(message) {
  const box = boxes.get(message.channel);
  if (!box) return;
  const item = piece("message");
  put(item, ".m-to", message.to);
  put(item, "time", timeOf(message.received_at)).dateTime = message.received_at;
  put(item, ".m-sender", message.sender && say("box.from", { sender: message.sender }));
  put(item, ".m-subject", message.subject);
  put(item, ".m-text", message.text);
  setUpHtml(item.querySelector(".m-html"), message.html);
  const files = item.querySelector(".m-files");
  files.hidden = !message.attachments.length;
  for (const file of message.attachments) {
    const line = document.createElement("li");
    line.textContent = say("box.file", { name: file.filename, size: Math.ceil(file.size / 1024) });
    files.append(line);
  }
  const list = box.querySelector(".messages");
  list.prepend(item);
  while (list.children.length > KEPT) list.lastElementChild.remove();
  count(box);
}

function setUpHtml(details, html) {
  details.hidden = !html;
  details.addEventListener("toggle", () => {
    if (!details.open || details.querySelector("iframe")) return;
    const frame = document.createElement("iframe");
    frame.setAttribute("sandbox", "");
    frame.setAttribute("referrerpolicy", "no-referrer");
    frame.title = details.querySelector("summary").textContent;
    frame.srcdoc = POLICY + harmless(html);
    details.append(frame);
  });
}

/** The mail's structure and words: nothing that acts, fetches or leads away. Parsed apart, where nothing runs. */
function harmless(html) {
  // The page's policy bars styles and handlers there too, and would complain of each: most are taken out beforehand.
  const quiet = html
    .replace(/<(style|script)\b[\s\S]*?<\/\1\s*>/gi, "")
    .replace(/<[^>]*>/g, (tag) => tag.replace(/\s(?:style|on\w+)\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)/gi, ""));
  const { body } = new DOMParser().parseFromString(quiet, "text/html");
  for (const element of body.querySelectorAll(BARRED)) element.remove();
  for (const picture of body.querySelectorAll("img")) picture.replaceWith(picture.alt);
  for (const element of [body, ...body.querySelectorAll("*")]) {
    for (const { name } of [...element.attributes]) {
      if (!KEPT_ATTRIBUTES.has(name)) element.removeAttribute(name);
    }
  }
  return body.outerHTML;
}

function count(box) {
  const number = box.querySelector(".messages").children.length;
  box.querySelector(".count").textContent = number || "";
  box.querySelector(".nothing").hidden = number > 0;
}
