// The name of an embedding, with what the program says of it while it is typed.
import { html } from "../html.js";
import { t } from "../texts.js";

const SIGNS = { free: "✓", warning: "⚠", bad: "✕", empty: "" };

/** `verdict` is what the program says, `set` hears what is typed, `replace` that an embedding may go; ids begin with `prefix`. */
export function Name({ about, value, verdict, set, replace, prefix = "tinv_" }) {
    return html`<div class="tinv-control" data-setting="name">
        <div class="tinv-label"><label for="${prefix}name">${about.label}</label></div>
        <input type="text" id="${prefix}name" value=${value ?? ""} autocomplete="off" spellcheck="false"
            aria-describedby="${prefix}verdict" aria-invalid=${verdict?.state === "bad" ? "true" : undefined}
            onInput=${(event) => set(event.target.value)} />
        <div id="${prefix}verdict" class="tinv-verdict" role="status" data-state=${verdict?.state ?? "empty"}>
            ${
                verdict?.texts.length
                    ? verdict.texts.map((text) => html`<div>${SIGNS[verdict.state]} ${text}</div>`)
                    : html`<span class="tinv-quiet">${about.help}</span>`
            }
            ${
                verdict?.replaceable &&
                html`<button type="button" class="tinv-chip" id="${prefix}replace" onClick=${replace}>${t("train.replace")}</button>`
            }
        </div>
    </div>`;
}
