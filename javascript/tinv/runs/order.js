// Small things about runs that need no page: a search, an order, sizes.

/**
 * Runs with every word of the search in their name, date (as cards show it in a language, too) or status.
 * @param {any[]} runs @param {string} search @param {string} [language]
 */
export function matching(runs, search, language = "en") {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    return runs.filter((run) => {
        const date = shownDate(run.started, language);
        const text = `${run.name} ${run.id} ${date} ${run.status} ${run.status_word}`.toLowerCase();
        return words.every((word) => text.includes(word));
    });
}

const formats = {}; // by language: to make one takes long beside a search through thousands of runs

/** When a run began, as its card has it. @param {string | null | undefined} started @param {string} language */
export function shownDate(started, language) {
    formats[language] ??= new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
    return started ? formats[language].format(new Date(started)) : "";
}

/** What tells of a run whether it has more to show than before; while it trains, it is not looked at again and again. */
export const madeAt = (run) => [run?.id, run?.status, run?.status === "training" ? 0 : run?.steps].join(" ");

/** A list with one of its entries some places further. @template T @param {T[]} list @param {number} from @param {number} by */
export function moved(list, from, by) {
    const rest = list.filter((_, index) => index !== from);
    const to = Math.min(list.length - 1, Math.max(0, from + by));
    return [...rest.slice(0, to), list[from], ...rest.slice(to)];
}

/** Bytes for people, as `server/sizes.py` has them. @param {number} bytes */
export function sizeOf(bytes) {
    if (bytes < 1000) return `${bytes} B`;
    const units = ["kB", "MB", "GB", "TB"];
    let size = bytes / 1000;
    while (size >= 999.5 && units.length > 1) {
        size /= 1000;
        units.shift();
    }
    return `${size.toFixed(size < 9.95 ? 1 : 0)} ${units[0]}`;
}

/**
 * The points of a line in a box, as the attribute `points` of an SVG polyline.
 * @param {[number, number][]} line x and y @param {number} width @param {number} height
 */
export function points(line, width, height) {
    const finite = line.filter(([, y]) => Number.isFinite(y));
    if (finite.length < 2) return "";
    const [xs, ys] = [finite.map(([x]) => x), finite.map(([, y]) => y)];
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const across = (x) => (right > left ? (x - left) / (right - left) : 0) * width;
    const up = (y) => (1 - (high > low ? (y - low) / (high - low) : 0.5)) * (height - 4) + 2;
    return finite.map(([x, y]) => `${across(x).toFixed(1)},${up(y).toFixed(1)}`).join(" ");
}
