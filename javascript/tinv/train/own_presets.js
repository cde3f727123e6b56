// A person's own presets beside the built-in ones, each a click away, and settings from a file of this or another trainer.
// Presets are made in the part "Runs".
import { get } from "../api.js";
import { html, useEffect, useRef } from "../html.js";
import { usePolling } from "../polling.js";
import { Problems } from "../problems.js";
import { Said } from "../said.js";
import { t } from "../texts.js";

const EVERY = 60_000; // milliseconds; also whenever the part comes into sight

/** `file`: what came of the last file, as `useSettingsFile` has it. */
export function OwnPresets({ adopt, file, visible }) {
    const presets = usePolling(() => get("presets"), EVERY, visible).answer ?? [];
    const field = useRef(null);
    const outcome = useRef(null);
    useEffect(() => {
        if (file.said || file.error) outcome.current.scrollIntoView({ block: "nearest" }); // it was dropped elsewhere
    }, [file.said, file.error]);
    return html`<div class="tinv-row" id="tinv_own_presets" role="group" aria-label=${t("train.own_presets")}>
        ${presets.length > 0 && html`<span class="tinv-quiet">${t("train.own_presets")}</span>`}
        ${presets.map(
            (preset) => html`<button key=${preset.name} type="button" class="tinv-chip" onClick=${() => adopt(preset)}>
            ${preset.name}</button>`,
        )}
        <button type="button" class="tinv-button" id="tinv_settings_file" title=${t("train.from_file_help")}
            onClick=${() => field.current.click()}>${t("train.from_file")}</button>
        <input ref=${field} type="file" class="tinv-hidden" tabindex="-1" accept=".toml,.json" aria-label=${t("train.from_file")}
            onChange=${(event) => {
                if (event.target.files[0]) file.read(event.target.files[0]);
                event.target.value = "";
            }} />
        <div class="tinv-wide tinv-stack" ref=${outcome}>
            <${Problems} error=${file.error} />
            <${Said} said=${file.said} close=${file.close} />
            ${file.notes.length > 0 && html`<div class="tinv-said"><ul>${file.notes.map((note) => html`<li>${note}</li>`)}</ul></div>`}
        </div>
    </div>`;
}
