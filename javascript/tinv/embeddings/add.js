// Embeddings from the person's machine: chosen, or dropped on the button.
import { Refused } from "../api.js";
import { send } from "../files.js";
import { html, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

export function Add({ done }) {
    const [state, setState] = useState({ busy: false, error: null, files: [] });
    const field = useRef(null);

    async function add(files, overwrite = false) {
        setState({ busy: true, error: null, files: [] });
        const sentences = [];
        let key;
        for (const [index, file] of files.entries()) {
            try {
                const result = await send("embeddings/add", { name: file.name, overwrite }, file);
                key = result.key;
                sentences.push(...result.sentences);
            } catch (error) {
                const taken = error instanceof Refused && /** @type {any} */ (error).ids.includes("library.exists");
                setState({ busy: false, error, files: taken ? files.slice(index) : [] });
                if (sentences.length) done({ key, sentences });
                return;
            }
        }
        setState({ busy: false, error: null, files: [] });
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
