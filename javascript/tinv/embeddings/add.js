// Embeddings from the person's machine: chosen, or dropped on the button.
import { Refused } from "../api.js";
import { send } from "../files.js";
import { html, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

/**
 * Each of the files, whatever becomes of the others. `taken` are there already; of what is `refused`, a sentence each.
 * @param {File[]} files @param {(file: File) => Promise<{key: string, sentences: string[]}>} give
 */
export async function addEach(files, give) {
    const sentences = [],
        refused = [],
        taken = [];
    let key;
    for (const file of files) {
        try {
            const result = await give(file);
            key = result.key;
            sentences.push(...result.sentences);
        } catch (error) {
            if (!(error instanceof Refused)) return { key, sentences, refused, taken, error };
            const { ids, problems } = /** @type {any} */ (error);
            if (ids.includes("library.exists")) taken.push(file);
            refused.push(...problems.map((text) => (text.includes(file.name) ? text : `${file.name}: ${text}`)));
        }
    }
    return { key, sentences, refused, taken, error: refused.length ? new Refused(422, refused) : null };
}

export function Add({ done }) {
    const [state, setState] = useState({ busy: false, error: null, files: [] });
    const field = useRef(null);

    async function add(files, overwrite = false) {
        setState({ busy: true, error: null, files: [] });
        const give = (file) => send("embeddings/add", { name: file.name, overwrite }, file);
        const { key, sentences, taken, error } = await addEach(files, give);
        setState({ busy: false, error, files: taken });
        if (sentences.length) done({ key, sentences });
    }

    function drop(event) {
        event.preventDefault();
        add([...event.dataTransfer.files]);
    }
    return html`<span class="tinv-drop" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
            <button type="button" class="tinv-button" disabled=${state.busy} onClick=${() => field.current.click()}>
                ${t("embeddings.add")}
            </button>
            <input
                ref=${field}
                type="file"
                multiple
                class="tinv-hidden"
                tabindex="-1"
                aria-label=${t("embeddings.add")}
                accept=".pt,.bin,.safetensors,.png,.webp"
                onChange=${(event) => {
                    add([...event.target.files]);
                    event.target.value = "";
                }}
            />
        </span>
        ${
            state.error &&
            html`<div class="tinv-wide tinv-stack">
            <${Problems} error=${state.error} />
            ${
                state.files.length > 0 &&
                html`<div class="tinv-row">
                <button type="button" class="tinv-button" onClick=${() => add(state.files, true)}>${t("embeddings.replace")}</button>
            </div>`
            }
        </div>`
        }`;
}
