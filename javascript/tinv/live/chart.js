// The run's curve. The evaluation is the main line, as it is measured on the same images, noise and timesteps each time;
// the training loss lies behind it, smoothed; single steps and the learning rate are shown when asked for.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { t } from "../texts.js";
import uPlot from "../vendor/uplot.js";
import { columns, draw, isApart, LINES, options } from "./plot.js";

const LABELS = {
    evaluation: /* text */ "live.evaluation",
    smoothed: /* text */ "live.smoothed",
    range: /* text */ "live.each_step",
    rate: /* text */ "ui.learning_rate",
};

/** @param {{chart: any, label?: string}} of `label` what the curve is called */
export function Chart({ chart, label = t("live.chart") }) {
    const place = useRef(null);
    const plot = useRef(null);
    const pointed = useRef(null);
    const [shown, setShown] = useState({ evaluation: true, smoothed: true, range: false, rate: false });
    const latest = useRef(chart);
    latest.current = chart;
    const apart = isApart(chart);

    useLayoutEffect(() => {
        const size = () => ({
            width: Math.max(200, place.current.clientWidth),
            height: place.current.clientWidth < 500 ? 200 : 260,
        });
        const say = (step, values) => {
            const texts = Object.entries(values).map(([name, value]) => `${t(LABELS[name])} ${value}`);
            pointed.current.textContent = step === null ? "" : [t("ui.at_step", { step }), ...texts].join(" · ");
        };
        const words = { best: t("live.best"), evaluation: t(LABELS.evaluation), smoothed: t(LABELS.smoothed) };
        const made = new uPlot(
            options(size(), place.current, () => latest.current, words, say),
            columns(latest.current),
            place.current,
        );
        plot.current = made;
        const resized = new ResizeObserver(() => made.setSize(size()));
        resized.observe(place.current);
        const dressed = new MutationObserver(() => made.redraw()); // dark and light are a class of the body
        dressed.observe(document.body, { attributes: true, attributeFilter: ["class"] });
        return () => {
            resized.disconnect();
            dressed.disconnect();
            made.destroy();
        };
    }, [apart]);
    useEffect(() => draw(plot.current, columns(chart)), [chart]);
    useEffect(() => {
        for (const [place, line] of LINES.entries()) {
            if (plot.current.series[place + 1].show !== shown[line.group])
                plot.current.setSeries(place + 1, { show: shown[line.group] });
        }
    }, [shown, apart]);

    const best = chart.best;
    const there = { ...shown, evaluation: best !== null };
    return html`<section class="tinv-panel tinv-chart" aria-label=${label}>
        <div class="tinv-row tinv-legend">
            ${Object.keys(LABELS).map(
                (name) =>
                    (name !== "evaluation" || there.evaluation) &&
                    html`<label key=${name} class=${`tinv-line-${name}`}>
                        <input type="checkbox" checked=${shown[name]} onChange=${() => setShown({ ...shown, [name]: !shown[name] })} />
                        ${t(LABELS[name])}
                    </label>`,
            )}
            <span class="tinv-quiet">${best ? t("live.best_of", best) : t("live.no_evaluation")}</span>
        </div>
        <div ref=${place} class="tinv-plot" role="img" aria-label=${best ? t("live.best_of", best) : label}></div>
        <p ref=${pointed} class="tinv-quiet tinv-pointed"></p>
    </section>`;
}
