// Two steps of one prompt, one over the other, with a line between them that can be moved.
import { html, useEffect, useMemo, useState } from "../html.js";
import { t } from "../texts.js";
import { gridOf } from "./grid.js";
import { picture } from "./previews.js";

export function Compare({ job, previews, best }) {
    const { steps, rows } = useMemo(() => gridOf(previews), [previews]);
    const [open, setOpen] = useState(false);
    if (steps.length < 2) return null;
    return html`<details class="tinv-compare" open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>${t("live.compare")}</summary>
        ${open && html`<${Sides} job=${job} steps=${steps} rows=${rows} best=${best} />`}
    </details>`;
}

function Sides({ job, steps, rows, best }) {
    const last = steps.at(-1);
    const [pair, setPair] = useState([steps[0], steps.includes(best) && best !== steps[0] ? best : last]);
    const [row, setRow] = useState(0);
    const [at, setAt] = useState(50);
    useEffect(() => setRow((before) => Math.min(before, rows.length - 1)), [rows.length]);
    const cells = pair.map((step) => rows[row]?.cells[steps.indexOf(step)] ?? null);
    const select = (side, label) => html`<label class="tinv-row">${label}
        <select value=${pair[side]} onChange=${(event) => setPair(pair.map((step, place) => (place === side ? Number(event.target.value) : step)))}>
            ${steps.map((step) => html`<option key=${step} value=${step} selected=${step === pair[side]}>${step === best ? t("live.step_best", { step }) : step}</option>`)}
        </select>
    </label>`;
    return html`<div class="tinv-stack">
        <div class="tinv-row">
            ${select(0, t("live.left"))} ${select(1, t("live.right"))}
            ${
                rows.length > 1 &&
                html`<label class="tinv-row">${t("live.prompt")}
                    <select value=${row} onChange=${(event) => setRow(Number(event.target.value))}>
                        ${rows.map((one, place) => html`<option key=${place} value=${place}>${one.prompt}</option>`)}
                    </select>
                </label>`
            }
        </div>
        ${
            cells.every(Boolean)
                ? html`<div class="tinv-sides" style=${{ "--at": `${at}%` }}>
                    <img src=${picture(job, cells[1])} alt=${t("ui.preview_at_step", { step: pair[1] })} />
                    <img class="tinv-over" src=${picture(job, cells[0])} alt=${t("ui.preview_at_step", { step: pair[0] })} />
                    <span class="tinv-edge" aria-hidden="true"></span>
                    <input
                        type="range" min="0" max="100" value=${at}
                        aria-label=${t("live.compare_line")}
                        onInput=${(event) => setAt(Number(event.target.value))}
                    />
                </div>
                <p class="tinv-quiet">${cells[0].seed === cells[1].seed && cells[0].seed !== null ? t("live.same_seed", { seed: cells[0].seed }) : t("live.other_seed")}</p>`
                : html`<p class="tinv-quiet">${t("live.no_pair")}</p>`
        }
    </div>`;
}
