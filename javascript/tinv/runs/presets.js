// A person's own presets: used, exported, imported, deleted.
import { post } from "../api.js";
import { save, send } from "../files.js";
import { html, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { Action } from "../said.js";
import { takePreset } from "../taking.js";
import { t } from "../texts.js";

/** `presets`: as GET /presets has them; `done(result, undo)` hears what was changed. */
export function Presets({ presets, done }) {
    const [error, setError] = useState(null);
    const field = useRef(null);

    const remove = (name) => async () => {
        const gone = await post("presets/delete", {}, { name });
        done(gone, async () => done(await post("presets/save", {}, gone.preset)));
    };
    async function read(file) {
        try {
            const { settings, sentences } = await send("settings/read", { name: file.name, keep: false }, file);
            const saved = await post("presets/save", {}, { name: presetName(await file.text(), file.name), settings });
            done({ ...saved, sentences: [...saved.sentences, ...sentences] });
            setError(null);
        } catch (wrong) {
            setError(wrong);
        }
    }
    return html`<section class="tinv-panel tinv-stack" aria-label=${t("runs.presets")}>
        <div class="tinv-row">
            <h2 class="tinv-grow">${t("runs.presets")}</h2>
            <button type="button" class="tinv-button" onClick=${() => field.current.click()}>${t("runs.import")}</button>
            <input
                ref=${field}
                type="file"
                class="tinv-hidden"
                tabindex="-1"
                accept=".json,.toml"
                aria-label=${t("runs.import")}
                onChange=${(event) => {
                    if (event.target.files[0]) read(event.target.files[0]);
                    event.target.value = "";
                }}
            />
        </div>
        <${Problems} error=${error} />
        ${presets.length === 0 && html`<p class="tinv-quiet">${t("runs.no_presets")}</p>`}
        <ul class="tinv-plain">
            ${presets.map(
                (preset) => html`<li key=${preset.name} class="tinv-row">
                    <span class="tinv-grow">${preset.name}</span>
                    <button type="button" class="tinv-button" onClick=${() => takePreset(preset)}>
                        ${t("runs.use")}
                    </button>
                    <button type="button" class="tinv-button" onClick=${() => save(exported(preset), `${preset.name}.json`)}>
                        ${t("runs.export")}
                    </button>
                    <${Action} act=${remove(preset.name)}>${t("runs.delete")}</${Action}>
                </li>`,
            )}
        </ul>
    </section>`;
}

const exported = (preset) => new Blob([JSON.stringify(preset, null, 2)], { type: "application/json" });

/** What a preset from a file is called: as it says itself, or as the file is. @param {string} text @param {string} file */
export function presetName(text, file) {
    try {
        const { name, settings } = JSON.parse(text);
        if (settings && typeof name === "string") return name;
    } catch {
        // a file of another kind, which the program has read
    }
    return file.replace(/\.(json|toml)$/i, "");
}
