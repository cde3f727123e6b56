// A person's own presets beside the built-in ones, each a click away; they are made in the part "Runs".
import { get } from "../api.js";
import { html } from "../html.js";
import { usePolling } from "../polling.js";
import { t } from "../texts.js";

const EVERY = 60_000; // milliseconds; also whenever the part comes into sight

export function OwnPresets({ adopt, visible }) {
    const presets = usePolling(() => get("presets"), EVERY, visible).answer ?? [];
    if (!presets.length) return null;
    return html`<div class="tinv-row" id="tinv_own_presets" role="group" aria-label=${t("train.own_presets")}>
        <span class="tinv-quiet">${t("train.own_presets")}</span>
        ${presets.map(
            (preset) => html`<button key=${preset.name} type="button" class="tinv-chip" onClick=${() => adopt(preset)}>
            ${preset.name}</button>`,
        )}
    </div>`;
}

/** Some of the settings. @param {Record<string, any>} given @param {string[]} names @returns {Record<string, any>} */
export const only = (given, names) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => names.includes(name)));
