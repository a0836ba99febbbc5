// How far the backup is that is being made; the list is loaded anew when it has ended.
"use strict";

const WAITS_FOR = "backups.waits-for";
const EVERY = 1000;
const PATIENCE = 60;

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("backup-progress");
  if (!place) {
    return;
  }
  const bar = place.querySelector("progress");
  const text = place.querySelector("span");
  // One that was asked for here and that no worker has begun yet: it will come behind this one.
  const behind = sessionStorage.getItem(WAITS_FOR);
  let looks = 0;

  document.getElementById("backup-make").addEventListener("submit", () => {
    sessionStorage.setItem(WAITS_FOR, place.dataset.id);
  });

  function show(told) {
    place.hidden = false;
    text.textContent = told.status === "running" ? told.text : place.dataset.waiting;
    if (told.status === "running" && told.expected > 0) {
      bar.max = Math.max(told.expected, told.written);
      bar.value = told.written;
    } else {
      bar.removeAttribute("value");
    }
  }

  async function look() {
    looks += 1;
    try {
      const answer = await fetch(place.dataset.url, { headers: { Accept: "application/json" } });
      const told = await answer.json();
      const begun = behind === null || told.id > Number(behind);
      if (begun && told.status !== "running") {
        sessionStorage.removeItem(WAITS_FOR);
        window.location.reload();
        return;
      }
      if (!begun && told.status !== "running" && looks > PATIENCE) {
        sessionStorage.removeItem(WAITS_FOR);
        place.hidden = true;
        return;
      }
      show(told);
    } catch {
      // The server is away for a moment: asked again.
    }
    window.setTimeout(look, EVERY);
  }

  if (behind !== null && Number(behind) < Number(place.dataset.id) && place.dataset.status !== "running") {
    sessionStorage.removeItem(WAITS_FOR); // it has ended already
  } else if (behind !== null || place.dataset.status === "running") {
    look();
  }
});
