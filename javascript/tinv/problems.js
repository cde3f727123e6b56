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

/** Whether the page is from before the program was restarted: then nothing that it says is true any more. @param {any} error */
export const outdated = (error) =>
    error instanceof Refused && /** @type {any} */ (error).ids.includes("api.page_outdated");

export function Problems({ error, retry = null }) {
    if (!error) return null;
    const all = sentences(error);
    const old = outdated(error);
    const act = old ? () => location.reload() : retry;
    return html`<div class="tinv-problems" role="alert">
        ${all.length === 1 ? html`<p>${all[0]}</p>` : html`<ul>${all.map((text) => html`<li>${text}</li>`)}</ul>`}
        ${act && html`<button type="button" class="tinv-button" onClick=${act}>${old ? t("page.reload") : t("page.try_again")}</button>`}
    </div>`;
}
