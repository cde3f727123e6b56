// What was thrown away and can be brought back.
import { post } from "../api.js";
import { html } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";

export function Trash({ deleted, done }) {
    if (!deleted.length) return null;
    const restore = (id) => async () => done(await post("embeddings/restore", {}, { id }));
    return html`<details class="tinv-panel">
        <summary>${t("embeddings.trash", { count: deleted.length })}</summary>
        <ul class="tinv-plain">
            ${deleted.map(
                ({ id, key, when }) => html`<li key=${id} class="tinv-row">
                    <span class="tinv-grow">${key} <span class="tinv-quiet">${when}</span></span>
                    <${Action} act=${restore(id)}>${t("embeddings.restore")}</${Action}>
                </li>`,
            )}
        </ul>
    </details>`;
}
