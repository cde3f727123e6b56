// Prompt templates: read, written, chosen, deleted. What was not saved, or is deleted, can be brought back.
import { get, post } from "../api.js";
import { html, useState } from "../html.js";
import { Problems } from "../problems.js";
import { Said } from "../said.js";
import { t } from "../texts.js";

const NOTHING = { name: "", text: "", replace: false, saved: "" };

/** Whether there are lines that would be lost. @param {{text: string, saved: string}} of `saved` as they were loaded */
export const unsaved = ({ text, saved }) => text.trim() !== "" && text.trim() !== saved.trim();

/** `template` is what is known of the setting, `chosen` what it is set to. */
export function Templates({ template, chosen, set }) {
    const [state, setState] = useState(NOTHING);
    const [said, setSaid] = useState(null);
    const [error, setError] = useState(null);
    const [{ names, own }, setNames] = useState({ names: template.suggestions, own: [] });
    const change = (changes) => setState((before) => ({ ...before, ...changes }));
    const tell = (sentence, undo = null) => setSaid(sentence ? { sentences: [sentence], undo } : null);
    const work = (what) => async () => {
        try {
            await what();
            setError(null);
        } catch (wrong) {
            setSaid(null);
            setError(wrong);
        }
    };
    const back = (lines) => () => {
        setState(lines);
        tell(t("train.template_back"));
    };
    const load = (name) =>
        work(async () => {
            const found = await get("templates", { name });
            setNames(found);
            setState({ name, text: found.text, replace: false, saved: found.text });
            tell(unsaved(state) && t("train.template_loaded", { name }), back(state));
        });
    const save = work(async () => {
        const { name, text, replace } = state;
        const saved = await post("templates", {}, { name, text, replace });
        setNames(await get("templates"));
        set({ template: saved.name });
        change({ name: saved.name, replace: false, saved: text });
        tell(saved.said);
    });
    const remove = work(async () => {
        const { name } = state;
        const gone = await post("templates/delete", {}, { name });
        const used = chosen === name;
        setNames(gone);
        set((given) => (given.template === name ? { template: undefined } : {}));
        setState(unsaved(state) ? { ...state, saved: "" } : NOTHING);
        tell(gone.said, async () => {
            await post("templates", {}, { name, text: gone.text, replace: true });
            setNames(await get("templates"));
            if (used) set({ template: name });
            back(state)();
        });
    });
    const help = t("train.template_help", { name: "[name]", filewords: "[filewords]" });
    return html`<details class="tinv-fold" id="tinv_templates">
        <summary>${t("train.templates")}</summary>
        <div class="tinv-stack">
            <div class="tinv-row">${names.map(
                (name) => html`<button type="button" class="tinv-chip" data-template=${name}
                onClick=${load(name)}>${name}</button>`,
            )}</div>
            <textarea id="tinv_lines" rows="6" aria-label=${t("train.template_lines")} placeholder=${help}
                value=${state.text} onInput=${(event) => change({ text: event.target.value })}></textarea>
            <div class="tinv-row">
                <input type="text" id="tinv_lines_name" aria-label=${t("train.template_name")} placeholder=${t("train.template_name")}
                    value=${state.name} onInput=${(event) => change({ name: event.target.value })} />
                <label class="tinv-row"><input type="checkbox" id="tinv_lines_replace" checked=${state.replace}
                    onChange=${(event) => change({ replace: event.target.checked })} />${t("train.template_replace")}</label>
                <button type="button" class="tinv-button" id="tinv_lines_save" onClick=${save}>${t("train.template_save")}</button>
                ${
                    own.includes(state.name) &&
                    html`<button type="button" class="tinv-button" id="tinv_lines_delete" onClick=${remove}>${t("train.template_delete")}</button>`
                }
            </div>
            <div id="tinv_lines_answer">
                <${Said} said=${said} close=${() => setSaid(null)} />
                <${Problems} error=${error} />
            </div>
        </div>
    </details>`;
}
