// Where a norm stands on a bar that has the vocabulary's and the embedding's on it.

/**
 * From a norm to its place, as CSS says it. Logarithmic: an overtrained vector may be a hundred times too long.
 * @param {number[]} norms @param {{least: number, greatest: number} | null} vocabulary
 */
export function span(norms, vocabulary) {
    const all = [...norms, ...(vocabulary ? [vocabulary.least, vocabulary.greatest] : [])].filter((norm) => norm > 0);
    const [least, greatest] = all.length ? [Math.min(...all) / 1.2, Math.max(...all) * 1.2] : [1, 2];
    return (/** @type {number} */ norm) => {
        const share = norm > 0 ? Math.log(norm / least) / Math.log(greatest / least) : 0;
        return `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
    };
}
