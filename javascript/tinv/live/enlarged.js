// One preview as large as the window allows, with what it was made of; arrow keys go to the step before and after.
import { html, useEffect, useRef } from "../html.js";
import { t } from "../texts.js";
import { neighbour } from "./grid.js";
import { picture } from "./previews.js";

export function Enlarged({ job, row, preview, show }) {
    const dialog = useRef(null);
    useEffect(() => dialog.current.showModal(), []);
    const move = (by) => {
        const next = neighbour(row, preview, by);
        if (next) show({ row, preview: next });
    };
    const pressed = (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (by) move(by);
    };
    const beside = (event) => event.target === dialog.current && dialog.current.close();
    return html`<dialog
        ref=${dialog}
        class="tinv-dialog tinv-enlarged"
        aria-label=${t("ui.preview_at_step", { step: preview.step })}
        onClose=${() => show(null)}
        onClick=${beside}
        onKeyDown=${pressed}
    >
        <div class="tinv-stack">
            <img src=${picture(job, preview)} alt=${t("ui.preview_at_step", { step: preview.step })} />
            <p>${preview.prompt}</p>
            ${preview.negative_prompt && html`<p class="tinv-quiet">${t("live.negative", { prompt: preview.negative_prompt })}</p>`}
            <div class="tinv-row">
                <button type="button" class="tinv-button" disabled=${!neighbour(row, preview, -1)} onClick=${() => move(-1)} aria-label=${t("live.before")}>‹</button>
                <span>${t("ui.at_step", { step: preview.step })}</span>
                <button type="button" class="tinv-button" disabled=${!neighbour(row, preview, 1)} onClick=${() => move(1)} aria-label=${t("live.after")}>›</button>
                ${preview.seed !== null && html`<span class="tinv-quiet">${t("live.seed", { seed: preview.seed })}</span>`}
                <button type="button" class="tinv-button tinv-close" onClick=${() => dialog.current.close()}>${t("live.close")}</button>
            </div>
        </div>
    </dialog>`;
}
