// The same request as a command for a terminal.

import { byId } from "./dom.js";
import { say } from "./words.js";

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** Show the request that was just sent. A password is not repeated. */
export function showCommand(path, body) {
  const shown = "smtp_password" in body ? { ...body, smtp_password: "YOUR_PASSWORD" } : body;
  byId("curl").textContent = [
    `curl -X POST ${location.origin}${path} \\`,
    '  -H "Content-Type: application/json" \\',
    `  -d ${quoted(JSON.stringify(shown))}`,
  ].join("\n");
  byId("command").hidden = false;
}

export function setUpCopying() {
  const button = byId("copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId("curl").textContent);
      button.textContent = say("copied");
      setTimeout(() => (button.textContent = say("copy")), 1500);
    } catch {
      getSelection().selectAllChildren(byId("curl")); // no clipboard here: ready for Ctrl+C
    }
  });
}
