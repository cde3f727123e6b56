// What is taught: the name with its verdict, what it is near to, and what the embedding is for.
import { html } from "../html.js";
import { t } from "../texts.js";
import { Control } from "./control.js";

const SIGNS = { free: "✓", warning: "⚠", bad: "✕", empty: "" };

export function Word({ form, given, set, outlook, begun, presets }) {
    const { name, init_text: start, purpose, preset } = form.byName;
    const verdict = begun && begun === given.name ? null : outlook?.name;
    const effective = outlook?.values ?? {};
    return html`<section class="tinv-stack" aria-label=${t("train.word")}>
        <div class="tinv-two">
            <div class="tinv-control" data-setting="name">
                <div class="tinv-label"><label for="tinv_name">${name.label}</label></div>
                <input type="text" id="tinv_name" value=${given.name ?? ""} autocomplete="off" spellcheck="false"
                    aria-describedby="tinv_verdict" aria-invalid=${verdict?.state === "bad" ? "true" : undefined}
                    onInput=${(event) => set({ name: event.target.value || undefined })} />
                <div id="tinv_verdict" role="status" data-state=${verdict?.state ?? "empty"}>
                    ${
                        verdict?.texts.length
                            ? verdict.texts.map((text) => html`<div>${SIGNS[verdict.state]} ${text}</div>`)
                            : html`<span class="tinv-quiet">${name.help}</span>`
                    }
                </div>
            </div>
            <${Control} about=${start} value=${given.init_text} effective=${effective.init_text} set=${set}
                problem=${outlook?.problems.init_text} />
        </div>
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
