// Which embeddings a search finds, and in what order.

/** @typedef {{key: string, name: string, family: string | null, changed: number}} Item */

/** The folder of an embedding within that of all, "" at its top. @param {string} key */
export const folderOf = (key) => key.slice(0, Math.max(0, key.lastIndexOf("/")));

/** Those with every word of the search in their path or model. @template {Item} T @param {T[]} items @param {string} search */
export function matching(items, search) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    return items.filter((item) => {
        const text = `${item.key} ${item.family ?? ""}`.toLowerCase();
        return words.every((word) => text.includes(word));
    });
}

/** By name, by model, or the newest first. @template {Item} T @param {T[]} items @param {string} order */
export function sorted(items, order) {
    const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });
    const ways = {
        name: byName,
        family: (a, b) => (a.family ?? "\uffff").localeCompare(b.family ?? "\uffff") || byName(a, b),
        changed: (a, b) => b.changed - a.changed || byName(a, b),
    };
    return [...items].sort(ways[order] ?? byName);
}
