// What is taught: the name with its verdict, what it is near to, and what the embedding is for.
import { html } from "../html.js";
import { t } from "../texts.js";
import { Control } from "./control.js";
import { Name } from "./name.js";
import { useTables, Words } from "./words.js";

export function Word({ form, given, set, outlook, settled, begun, wrong, visible, presets }) {
    const { name, init_text: start, purpose, preset } = form.byName;
    const verdict = begun.includes(given.name) ? null : outlook?.name;
    const effective = outlook?.values ?? {};
    const tables = useTables(given, set);
    return html`<section class="tinv-stack" aria-label=${t("train.word")}>
        <div class="tinv-two">
            <${Name} about=${name} value=${given.name} verdict=${verdict} set=${tables.rename} replace=${() => set({ overwrite: true })} />
            <${Control} about=${start} value=${given.init_text} effective=${effective.init_text} set=${set}
                problem=${outlook?.problems.init_text} />
        </div>
        <${Words} tables=${tables} form=${form} given=${given} set=${set} outlook=${outlook} settled=${settled} begun=${begun} wrong=${wrong}
            visible=${visible} />
        ${purpose && html`<${Chips} about=${purpose} value=${given.purpose ?? effective.purpose ?? purpose.default} set=${set} />`}
        ${preset && html`<${Chips} about=${preset} value=${given.preset ?? effective.preset ?? preset.default} set=${set} />`}
        ${presets}
    </section>`;
}

/** A choice by one click. */
function Chips({ about, value, set }) {
    return html`<fieldset class="tinv-chips" data-setting=${about.name}>
        <legend>${about.label}</legend>
        ${about.choices.map(
            (choice) => html`<label class="tinv-chip ${choice.value === value ? "tinv-picked" : ""}">
            <input type="radio" class="tinv-hidden" name="tinv_${about.name}" value=${choice.value} checked=${choice.value === value}
                onChange=${() => set({ [about.name]: choice.value })} />${choice.label}</label>`,
        )}
        <p class="tinv-quiet">${about.help}</p>
    </fieldset>`;
}
