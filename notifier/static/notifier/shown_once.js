"use strict";
{
    const field = document.getElementById("secret");
    const button = document.getElementById("copy");

    if (field) {
        field.addEventListener("focus", () => field.select());
        field.focus();
        // Browsers offer this over HTTPS and on this machine only; elsewhere the keyboard does it.
        if (navigator.clipboard) {
            button.hidden = false;
            button.addEventListener("click", async () => {
                try {
                    await navigator.clipboard.writeText(field.value);
                    button.textContent = button.dataset.copied;
                } catch {
                    field.focus();
                }
            });
        }
    }
}
