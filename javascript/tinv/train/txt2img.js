// Copies the values of the WebUI's txt2img tab into the settings of previews.
import { html } from "../html.js";
import { t } from "../texts.js";

// our settings by the elem_id of v1.10.1 modules/ui.py and modules/processing_scripts/{sampler,seed}.py
const CONTROLS = {
    txt2img_prompt: "preview_prompt",
    txt2img_neg_prompt: "preview_negative_prompt",
    txt2img_steps: "preview_steps",
    txt2img_sampling: "preview_sampler",
    txt2img_scheduler: "preview_scheduler",
    txt2img_cfg_scale: "preview_cfg_scale",
    txt2img_seed: "preview_seed",
    txt2img_width: "preview_width",
    txt2img_height: "preview_height",
};
const NUMBERS = /steps|scale|seed|width|height/;

/** @returns {HTMLInputElement | null} */
const field = (id) => document.querySelector(`#${id} textarea, #${id} input:not([type=range]):not([type=checkbox])`);

/** A seed of -1 is left out: previews are compared with each other, so they need the same seed. */
export function ofTxt2img(read = (id) => field(id)?.value) {
    const values = {};
    for (const [id, name] of Object.entries(CONTROLS)) {
        const text = read(id);
        if (text === undefined || text === null || (NUMBERS.test(id) && (text === "" || Number(text) === -1))) continue;
        values[name] = NUMBERS.test(id) ? Number(text) : text;
    }
    return values;
}

export function FromTxt2img({ set }) {
    if (!field("txt2img_prompt")) return null;
    return html`<button type="button" class="tinv-button" id="tinv_from_txt2img" onClick=${() => set(ofTxt2img())}>
        ${t("train.from_txt2img")}</button>`;
}
