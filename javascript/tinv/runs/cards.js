// The history: a card for each run, newest first, with its last preview and its curve.
import { html, useState } from "../html.js";
import { locale, t } from "../texts.js";
import { Card } from "./card.js";
import { matching } from "./order.js";

const SHOWN = 24; // cards at first

export function Cards({ runs, output, drawn, draw, changes, done }) {
    const [search, setSearch] = useState("");
    const [most, setMost] = useState(SHOWN);
    const found = matching(runs, search, locale());
    return html`<div class="tinv-row">
            <h2>${t("runs.history")}</h2>
            <label class="tinv-grow">
                <span class="tinv-hidden">${t("runs.search")}</span>
                <input
                    type="search"
                    class="tinv-full"
                    placeholder=${t("runs.search")}
                    value=${search}
                    onInput=${(event) => setSearch(event.target.value)}
                />
            </label>
        </div>
        ${runs.length === 0 && html`<p class="tinv-quiet">${output ? t("runs.none_there", { output }) : t("runs.none")}</p>`}
        ${runs.length > 0 && found.length === 0 && html`<p class="tinv-quiet">${t("runs.none_found", { search })}</p>`}
        <ul class="tinv-cards" aria-label=${t("runs.history")}>
            ${found.slice(0, most).map(
                (run) => html`<${Card}
                    key=${run.id}
                    run=${run}
                    output=${output}
                    drawn=${drawn.includes(run.id)}
                    draw=${draw}
                    changed=${changes[run.id] ?? 0}
                    done=${done}
                />`,
            )}
        </ul>
        ${
            found.length > most &&
            html`<button type="button" class="tinv-button" onClick=${() => setMost(most * 4)}>
            ${t("runs.more", { count: found.length - most })}
        </button>`
        }`;
}
