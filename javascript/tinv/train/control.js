// The control of one setting, or of one option of a preparation, made from what the program says of it.
import { html, useId } from "../html.js";
import { t } from "../texts.js";
import { Browse } from "./folders.js";

const PIECES = { whole: "1", number: "any" };

/**
 * @param {{about: any, value: any, effective: any, problem?: string, set: (changes: object) => void, lean?: boolean, prefix?: string}} of
 * `value` is what the person has set, undefined where nothing; `effective` is what counts then; ids begin with `prefix`
 */
export function Control({ about, value, effective, problem = "", set, lean = false, prefix = "tinv_" }) {
    const id = `${prefix}${about.name}`;
    const help = useId();
    const shown = value ?? effective ?? about.default;
    const put = (now) => set({ [about.name]: now });
    const shared = {
        id,
        "aria-describedby": `${help}-help${problem ? ` ${help}-problem` : ""}`,
        "aria-invalid": problem ? "true" : undefined,
    };
    const field = FIELDS[about.kind] ?? FIELDS.text;
    const changed = value !== undefined;
    return html`<div class="tinv-control ${changed ? "tinv-changed" : ""}" data-setting=${about.name}>
        <div class="tinv-label">
            <label for=${id}>${about.label}</label>
            ${
                changed &&
                !lean &&
                html`<button type="button" class="tinv-reset" title=${t("train.reset", { label: about.label })}
                aria-label=${t("train.reset", { label: about.label })} onClick=${() => put(undefined)}>↺</button>`
            }
        </div>
        ${field({ about, shown, put, shared })}
        <div class="tinv-quiet" id="${help}-help">${about.help}</div>
        ${problem && html`<div class="tinv-wrong" id="${help}-problem">${besideItsField(problem, about.name)}</div>`}
    </div>`;
}

/** "Name (name) is …" says where it belongs, which its place says already. */
export const besideItsField = (problem, name) => problem.replace(` (${name})`, "");

const FIELDS = {
    switch: ({ shown, put, shared }) => html`<span><input type="checkbox" ...${shared} checked=${Boolean(shown)}
        onChange=${(event) => put(event.target.checked)} /></span>`,
    whole: number,
    number,
    choice: ({ about, shown, put, shared }) => html`<select ...${shared} value=${shown}
        onChange=${(event) => put(event.target.value)}>
        ${about.choices.map(({ value, label }) => html`<option value=${value} selected=${value === shown}>${label}</option>`)}
    </select>`,
    several: ({ about, shown, put, shared: { id, ...shared } }) => html`<span id=${id} role="group" class="tinv-row"
        aria-label=${about.label} ...${shared}>
        ${about.choices.map(
            ({ value, label }) => html`<label class="tinv-tick"><input type="checkbox" checked=${shown.includes(value)}
            onChange=${(event) => put(event.target.checked ? [...shown, value] : shown.filter((one) => one !== value))} />
            ${label}</label>`,
        )}
    </span>`,
    lines: ({ shown, put, shared }) => html`<textarea ...${shared} rows="2" value=${shown}
        onInput=${(event) => put(event.target.value)}></textarea>`,
    path: ({ about, shown, put, shared }) => html`<span class="tinv-path">
        <input type="text" ...${shared} value=${shown} spellcheck="false" onInput=${(event) => put(event.target.value)} />
        ${FOLDERS.has(about.name) && html`<${Browse} from=${shown} choose=${put} label=${about.label} />`}
    </span>`,
    text: ({ about, shown, put, shared }) => html`
        <input type="text" ...${shared} value=${shown} autocomplete="off" list=${about.suggestions.length ? `${shared.id}_list` : undefined}
            onInput=${(event) => put(event.target.value)} />
        ${
            about.suggestions.length > 0 &&
            html`<datalist id="${shared.id}_list">
            ${about.suggestions.map((one) => html`<option value=${one} />`)}</datalist>`
        }`,
};
const FOLDERS = new Set(["images", "mask_folder", "reg_images", "output", "source", "target"]);

function number({ about, shown, put, shared }) {
    const { minimum, maximum, multiple, zero, kind } = about;
    // what is no number yet goes as it was typed: the program says what is wrong with it
    const typed = (event) =>
        put(Number.isNaN(event.target.valueAsNumber) ? event.target.value : event.target.valueAsNumber);
    return html`<input type="number" ...${shared} value=${shown} min=${zero ? 0 : minimum} max=${maximum}
        step=${multiple ?? PIECES[kind]} onInput=${typed} />`;
}
