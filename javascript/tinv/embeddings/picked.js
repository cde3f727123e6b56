// What is ticked, and where to go with it: in sight wherever one is among the cards.
import { html } from "../html.js";
import { t } from "../texts.js";

/** @param {{picked: string[], together: (blended: boolean) => void, clear: () => void}} of `together` goes to them */
export function Picked({ picked, together, clear }) {
    const count = picked.length;
    return html`<div class=${count ? "tinv-ticked" : ""}>
        <span role="status" class=${count ? "" : "tinv-hidden"}>${count > 0 && html`<strong>${t("embeddings.picked", { count })}</strong>`}</span>
        ${
            count > 0 &&
            html`<div class="tinv-row" role="group" aria-label=${t("embeddings.picked", { count })}>
            <button type="button" class="tinv-button tinv-primary" onClick=${() => together(false)}>
                ${count > 1 ? t("embeddings.compare_picked") : t("embeddings.try_picked")}
            </button>
            <button type="button" class="tinv-button" disabled=${count < 2} onClick=${() => together(true)}>
                ${t("embeddings.blend_picked")}
            </button>
            <button type="button" class="tinv-button" onClick=${clear}>${t("embeddings.clear_picked")}</button>
        </div>`
        }
    </div>`;
}
