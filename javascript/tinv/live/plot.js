// What uPlot is told of the run's curve.

const FEW = 60; // evaluations whose points can be told apart

const LOSSES = new Set(["range", "smoothed"]);

/** Of each line the column of /tinv/v1/chart, and the box in the legend that shows it. */
export const LINES = [
    { name: "high", group: "range", scale: "y" },
    { name: "low", group: "range", scale: "y" },
    { name: "rate", group: "rate", scale: "rate" },
    { name: "smoothed", group: "smoothed", scale: "y" },
    { name: "evaluation", group: "evaluation", scale: "y" },
];

const ALIKE = 2; // a loss that is further from the evaluation than this factor has an axis of its own

/**
 * Whether the training loss is of another size than the evaluation: it is weighted in many recipes, and would press the
 * evaluation flat.
 * @param {Record<string, any>} chart
 */
export function isApart(chart) {
    const [loss, evaluation] = [middle(chart.smoothed), middle(chart.evaluation)];
    return Boolean(loss && evaluation && (loss / evaluation > ALIKE || evaluation / loss > ALIKE));
}

/** @param {(number | null)[]} column */
function middle(column) {
    const values = column.filter((value) => value !== null).sort((one, other) => one - other);
    return values.length ? values[values.length >> 1] : 0;
}

/** @param {Record<string, any>} chart */
export const columns = (chart) => [chart.steps, ...LINES.map((line) => chart[line.name])];

/** Show other data; a stretch that somebody has zoomed into stays. @param {any} plot @param {any[]} data */
export function draw(plot, data) {
    const steps = plot.data[0];
    const { min, max } = plot.scales.x;
    const zoomed = min > steps[0] || max < steps.at(-1);
    plot.setData(data, !zoomed);
    if (zoomed) plot.setScale("x", { min, max }); // the heights of what is in sight now, too
}

/** A number of the curve as people read it. @param {number | null} value */
export function short(value) {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 100_000)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
}

/** The last value of a column at or before a place; not every step has every value. @param {(number | null)[]} column @param {number} place */
export function lastAt(column, place) {
    for (let at = place; at >= 0; at--) if (column[at] !== null) return column[at];
    return null;
}

/**
 * The snapshot of the best step; else the one with the lowest evaluation known at its step; the last, where none is.
 * @template {{step: number}} Snapshot
 * @param {Snapshot[]} snapshots by step
 * @param {any} chart
 */
export function bestSnapshot(snapshots, chart) {
    const named = snapshots.find((one) => one.step === chart?.best?.step);
    if (named) return named;
    let best = snapshots.at(-1);
    let lowest = Infinity;
    for (const one of snapshots) {
        const place = (chart?.steps ?? []).findLastIndex((step) => step <= one.step);
        const loss = place < 0 ? null : lastAt(chart.evaluation, place);
        if (loss !== null && loss < lowest) [best, lowest] = [one, loss];
    }
    return best;
}

/**
 * @param {{width: number, height: number}} size
 * @param {Element} place whose colours are used
 * @param {() => any} chart the one that is shown
 * @param {{best: string, evaluation: string, smoothed: string}} words how the best step and the lines are called
 * @param {(step: number | null, values: Record<string, string>) => void} say hears what the pointer is at
 */
export function options(size, place, chart, words, say) {
    const apart = isApart(chart());
    const style = getComputedStyle(place); // live: it follows light and dark
    const colour = (name) => () => style.getPropertyValue(name).trim() || "#888";
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false } };
    const values = (_, found) => found.map(short);
    const named = (word) =>
        apart ? { label: word, labelSize: 18, labelGap: 0, labelFont: "12px system-ui, sans-serif" } : {};
    const looks = {
        high: { stroke: colour("--grid"), width: 1 },
        low: { stroke: colour("--grid"), width: 1 },
        rate: { stroke: colour("--good"), width: 1, dash: [4, 4] },
        smoothed: { stroke: colour("--behind"), width: 1.5 },
        evaluation: {
            stroke: colour("--accent"),
            width: 2.5,
            spanGaps: true,
            points: { show: (plot) => plot.data[LINES.length].filter((value) => value !== null).length < FEW, size: 5 },
        },
    };
    const shown = { range: false, rate: false };
    return {
        ...size,
        legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false } },
        scales: { x: { time: false }, y: {}, loss: {}, rate: {} },
        axes: [
            { ...axis, size: 30 },
            { ...axis, size: 56, values, ...named(words.evaluation) },
            { ...axis, scale: "loss", side: 1, size: 56, values, grid: { show: false }, ...named(words.smoothed) },
            { ...axis, scale: "rate", side: 1, size: 64, values, grid: { show: false } },
        ],
        bands: [{ series: [1, 2], fill: colour("--grid") }],
        series: [
            {},
            ...LINES.map((line) => ({
                scale: apart && LOSSES.has(line.group) ? "loss" : line.scale,
                show: shown[line.group] ?? true,
                spanGaps: true,
                points: { show: false },
                ...looks[line.name],
            })),
        ],
        hooks: {
            draw: [(plot) => mark(plot, chart().best, words.best, colour("--accent")(), colour("--text")())],
            setCursor: [(plot) => point(plot, chart(), say)],
        },
    };
}

function mark(plot, found, word, colour, ink) {
    if (!found || !plot.series[LINES.length].show) return;
    const x = plot.valToPos(found.step, "x", true);
    const y = plot.valToPos(found.loss, "y", true);
    const { left, width, top, height } = plot.bbox;
    if (x < left || x > left + width || y < top || y > top + height) return; // zoomed elsewhere
    const { ctx } = plot;
    const scale = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.arc(x, y, 6 * scale, 0, 2 * Math.PI);
    ctx.lineWidth = 2.5 * scale;
    ctx.strokeStyle = colour;
    ctx.stroke();
    ctx.fillStyle = ink;
    ctx.font = `600 ${12 * scale}px system-ui, sans-serif`;
    ctx.textAlign = x > left + width - 90 * scale ? "right" : "left";
    ctx.fillText(
        word,
        x + (ctx.textAlign === "left" ? 10 : -10) * scale,
        y - 10 * scale > top ? y - 8 * scale : y + 20 * scale,
    );
    ctx.restore();
}

function point(plot, chart, say) {
    const at = plot.cursor.idx;
    if (at === null || at === undefined || plot.cursor.left < 0) return say(null, {});
    const values = {};
    for (const [place, line] of LINES.entries()) {
        if (!plot.series[place + 1].show || line.group === "range") continue;
        const value = lastAt(chart[line.name], at);
        if (value !== null) values[line.group] = short(value);
    }
    return say(chart.steps[at], values);
}
