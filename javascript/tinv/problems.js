// What went wrong, in sentences; a list where there are several.
import { Refused, Unreachable } from "./api.js";
import { html } from "./html.js";
import { t } from "./texts.js";

/** @param {any} error @returns {string[]} */
export function sentences(error) {
    if (error instanceof Refused) return /** @type {any} */ (error).problems;
    if (error instanceof Unreachable) return [t("page.unreachable")];
    return [t("page.went_wrong", { reason: String(error?.message ?? error) })];
}

export function Problems({ error, retry = null }) {
    if (!error) return null;
    const all = sentences(error);
    return html`<div class="tinv-problems" role="alert">
        ${all.length === 1 ? html`<p>${all[0]}</p>` : html`<ul>${all.map((text) => html`<li>${text}</li>`)}</ul>`}
        ${retry && html`<button type="button" class="tinv-button" onClick=${retry}>${t("page.try_again")}</button>`}
    </div>`;
}
