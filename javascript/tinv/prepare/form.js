// The options of a preparation, in groups; what few people need is folded.
import { html } from "../html.js";
import { Control } from "../train/control.js";

const FOLDED = new Set(["splitting", "wd14"]);

/** `form`: as GET /prepare/form has it; `given`: what the person has set. */
export function Form({ form, given, set }) {
    return form.groups.map(({ name, title }) => {
        const controls = form.controls
            .filter((about) => about.group === name)
            .map(
                (about) =>
                    html`<${Control} key=${about.name} about=${about} value=${given[about.name]} set=${set} prefix="tinv_prepare_" />`,
            );
        return FOLDED.has(name)
            ? html`<details class="tinv-panel" id="tinv_prepare_${name}"><summary>${title}</summary>
                <div class="tinv-options">${controls}</div></details>`
            : html`<section class="tinv-panel tinv-stack" aria-label=${title}>
                <h2>${title}</h2><div class="tinv-options">${controls}</div></section>`;
    });
}
