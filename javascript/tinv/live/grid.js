// Previews as a table: a row for each prompt, a column for each step.

/**
 * @typedef {{index: number, step: number, prompt: string, negative_prompt: string, seed: number | null}} Preview
 * @typedef {{prompt: string, cells: (Preview | null)[]}} Row
 * @param {Preview[]} previews
 * @returns {{steps: number[], rows: Row[]}} steps rising; a prompt that a step has twice has two rows
 */
export function gridOf(previews) {
    const steps = [...new Set(previews.map((one) => one.step))].sort((a, b) => a - b);
    const column = new Map(steps.map((step, place) => [step, place]));
    const rows = new Map();
    const seen = new Map(); // how often a step had a prompt already
    for (const one of [...previews].sort((a, b) => a.index - b.index)) {
        const times = seen.get(`${one.step} ${one.prompt}`) ?? 0;
        seen.set(`${one.step} ${one.prompt}`, times + 1);
        const key = `${times} ${one.prompt}`;
        if (!rows.has(key)) rows.set(key, { prompt: one.prompt, cells: steps.map(() => null) });
        rows.get(key).cells[column.get(one.step)] = one;
    }
    return { steps, rows: [...rows.values()] };
}

/** The same prompt at the step before or after, if there is an image. @param {Row} row @param {Preview} shown @param {number} by */
export function neighbour(row, shown, by) {
    const made = row.cells.filter(Boolean);
    return made[made.findIndex((one) => one.index === shown.index) + by] ?? null;
}
