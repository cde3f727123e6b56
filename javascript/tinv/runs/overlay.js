// The curves of several runs in one chart.
import { get } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import uPlot from "../vendor/uplot.js";
import { kindOf, lineOf } from "./card.js";
import { madeAt } from "./order.js";

const COLORS = ["#f97316", "#3b82f6", "#10b981", "#a855f7", "#ec4899", "#eab308", "#06b6d4", "#84cc16"];
const HEIGHT = 260;
const KINDS = { evaluation: /* text */ "live.evaluation", loss: /* text */ "live.smoothed" };

export function Overlay({ ids, runs, output, draw }) {
    const [known, setKnown] = useState({ lines: {}, error: null }); // {at, line, kind} of each
    const place = useRef(null);
    const at = (id) => madeAt(runs.find((run) => run.id === id));
    useEffect(() => {
        let here = true;
        for (const id of ids.filter((one) => known.lines[one]?.at !== at(one)))
            get("runs/about", { run: id, output }).then(
                (about) => {
                    const found = { at: at(id), line: lineOf(about), kind: kindOf(about) };
                    if (here) setKnown((before) => ({ lines: { ...before.lines, [id]: found }, error: null }));
                },
                (error) => here && setKnown((before) => ({ ...before, error })),
            );
        return () => {
            here = false;
        };
    }, [ids.map(at).join("\n"), output]);
    const drawn = ids.filter((id) => known.lines[id]?.line.length);
    const names = drawn.map((id) => runs.find((run) => run.id === id)?.name ?? id);
    useEffect(() => {
        if (!drawn.length) return undefined;
        const chart = new uPlot(
            options(names, place.current.clientWidth),
            aligned(drawn.map((id) => known.lines[id].line)),
            place.current,
        );
        const observer = new ResizeObserver(() => chart.setSize({ width: place.current.clientWidth, height: HEIGHT }));
        observer.observe(place.current);
        return () => {
            observer.disconnect();
            chart.destroy();
        };
    }, [drawn.map((id) => known.lines[id].at).join("\n")]);
    if (!ids.length) return null;
    const kind = (id) =>
        known.lines[id] && t(drawn.includes(id) ? KINDS[known.lines[id].kind] : /* text */ "runs.no_curve");
    return html`<section class="tinv-panel tinv-stack" aria-label=${t("runs.curves")}>
        <h2>${t("runs.curves")}</h2>
        <${Problems} error=${known.error} />
        <div class="tinv-chart" ref=${place} role="img" aria-label=${t("runs.curves_of", { names })}></div>
        <ul class="tinv-chips">
            ${ids.map(
                (id) => html`<li key=${id}>
                    <button type="button" class="tinv-chip" onClick=${() => draw(id, false)}>
                        <span class="tinv-dot" style=${{ background: colour(drawn, id) }}></span>
                        ${id} <small>${kind(id)}</small> <span aria-hidden="true">✕</span>
                        <span class="tinv-hidden">${t("runs.hide")}</span>
                    </button>
                </li>`,
            )}
        </ul>
    </section>`;
}

/** That of a run's line; none where it has no line. @param {string[]} drawn the runs with lines @param {string} id */
export const colour = (drawn, id) => (drawn.includes(id) ? COLORS[drawn.indexOf(id) % COLORS.length] : "transparent");

function options(names, width) {
    const axis = { stroke: "#888", grid: { stroke: "#8883" }, ticks: { stroke: "#8883" } };
    const lines = names.map((label, index) => ({
        label,
        stroke: COLORS[index % COLORS.length],
        width: 2,
        spanGaps: true,
    }));
    return {
        width: width || 400,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: true, y: false } },
        scales: { x: { time: false } },
        axes: [
            { ...axis, label: t("runs.step") },
            { ...axis, size: 64 },
        ],
        series: [{}, ...lines],
    };
}

/** Lines on the steps of all of them, as uPlot wants them. @param {[number, number][][]} lines */
export function aligned(lines) {
    const steps = [...new Set(lines.flatMap((line) => line.map(([step]) => step)))].sort((a, b) => a - b);
    const tables = lines.map((line) => new Map(line));
    return [steps, ...tables.map((table) => steps.map((step) => table.get(step) ?? null))];
}
