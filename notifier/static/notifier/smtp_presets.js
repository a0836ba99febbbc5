// Choosing a provider fills in its server, port and encryption; TLS and SSL switch each other off.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const field = (name) => document.getElementById(`id_${name}`);
  const [preset, host, port, tls, ssl] = ["preset", "host", "port", "use_tls", "use_ssl"].map(field);
  if (!preset || !host) return;

  preset.addEventListener("change", () => {
    const { host: server, port: number, security } = preset.selectedOptions[0].dataset;
    if (!server) return;
    host.value = server;
    port.value = number;
    tls.checked = security === "starttls";
    ssl.checked = security === "ssl";
  });
  host.addEventListener("input", () => {
    const known = [...preset.options].find((option) => option.dataset.host === host.value.trim().toLowerCase());
    preset.value = known ? known.value : "";
  });
  for (const [one, other] of [[tls, ssl], [ssl, tls]]) {
    one.addEventListener("change", () => {
      if (one.checked) other.checked = false;
    });
  }
});
