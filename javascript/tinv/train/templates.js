// Prompt templates: read, written, chosen.
import { get, post } from "../api.js";
import { html, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

export function Templates({ template, set }) {
    const [state, setState] = useState({ name: "", text: "", replace: false });
    const [said, setSaid] = useState({ text: "", error: null });
    const [names, setNames] = useState(template.suggestions);
    const change = (changes) => setState({ ...state, ...changes });
    const work = async (what) => {
        try {
            setSaid({ text: await what(), error: null });
        } catch (error) {
            setSaid({ text: "", error });
        }
    };
    const load = (name) =>
        work(async () => {
            const found = await get("templates", { name });
            setState({ name, text: found.text, replace: false });
            return "";
        });
    const save = () =>
        work(async () => {
            const saved = await post("templates", {}, state);
            setNames(saved.names);
            set({ template: saved.name });
            change({ name: saved.name, replace: false });
            return saved.said;
        });
    const help = t("train.template_help", { name: "[name]", filewords: "[filewords]" });
    return html`<details class="tinv-fold" id="tinv_templates">
        <summary>${t("train.templates")}</summary>
        <div class="tinv-stack">
            <div class="tinv-row">${names.map(
                (name) => html`<button type="button" class="tinv-chip" data-template=${name}
                onClick=${() => load(name)}>${name}</button>`,
            )}</div>
            <textarea id="tinv_lines" rows="6" aria-label=${t("train.template_lines")} placeholder=${help}
                value=${state.text} onInput=${(event) => change({ text: event.target.value })}></textarea>
            <div class="tinv-row">
                <input type="text" id="tinv_lines_name" aria-label=${t("train.template_name")} placeholder=${t("train.template_name")}
                    value=${state.name} onInput=${(event) => change({ name: event.target.value })} />
                <label class="tinv-row"><input type="checkbox" id="tinv_lines_replace" checked=${state.replace}
                    onChange=${(event) => change({ replace: event.target.checked })} />${t("train.template_replace")}</label>
                <button type="button" class="tinv-button" id="tinv_lines_save" onClick=${save}>${t("train.template_save")}</button>
            </div>
            <div id="tinv_lines_answer" role="status">${said.text && html`<div class="tinv-said">${said.text}</div>`}
                <${Problems} error=${said.error} /></div>
        </div>
    </details>`;
}
