// The previews of a run: prompts down, steps across; a click enlarges.
import { address } from "../api.js";
import { html, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { t } from "../texts.js";
import { Enlarged } from "./enlarged.js";
import { gridOf } from "./grid.js";

export const picture = (job, preview) => address("picture", { job: job.id, index: preview.index });

export function Previews({ job, previews, best }) {
    const grid = useMemo(() => gridOf(previews), [previews]);
    const [open, setOpen] = useState(null); // {row, preview}
    const scroller = useRef(null);
    const atEnd = useRef(true);
    useLayoutEffect(() => {
        const box = scroller.current; // the newest stays in sight, unless somebody looks at older ones
        if (box && atEnd.current) box.scrollLeft = box.scrollWidth;
    }, [grid.steps.length]);
    if (!previews.length) return null;
    const scrolled = ({ currentTarget: box }) => {
        atEnd.current = box.scrollLeft + box.clientWidth > box.scrollWidth - 40;
    };
    return html`<section class="tinv-panel" aria-label=${t("live.previews")}>
        <h3>${t("live.previews")}</h3>
        <div class="tinv-previews" ref=${scroller} onScroll=${scrolled} tabindex="0" role="region" aria-label=${t("live.previews")}>
            <table>
                <thead><tr>
                    <th scope="col"><span class="tinv-hidden">${t("live.prompt")}</span></th>
                    ${grid.steps.map(
                        (step) => html`<th scope="col" key=${step} class=${step === best ? "tinv-best" : ""}>
                            ${t("ui.at_step", { step })}${step === best && html` <span>${t("live.best")}</span>`}
                        </th>`,
                    )}
                </tr></thead>
                <tbody>${grid.rows.map((row, place) => html`<${Row} key=${place} job=${job} row=${row} open=${setOpen} />`)}</tbody>
            </table>
        </div>
        ${open && html`<${Enlarged} job=${job} ...${open} show=${setOpen} />`}
    </section>`;
}

function Row({ job, row, open }) {
    return html`<tr>
        <th scope="row"><span title=${row.prompt}>${row.prompt}</span></th>
        ${row.cells.map(
            (preview, place) => html`<td key=${preview?.step ?? `none${place}`}>
                ${
                    preview &&
                    html`<button type="button" onClick=${() => open({ row, preview })} aria-label=${t("live.enlarge", { step: preview.step, prompt: row.prompt })}>
                        <img src=${picture(job, preview)} alt="" loading="lazy" decoding="async" />
                    </button>`
                }
            </td>`,
        )}
    </tr>`;
}
