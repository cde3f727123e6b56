// What a person has typed, kept by the browser over a reload.

/** @typedef {Record<string, any>} Kept */

/** @param {string} key @returns {Kept} empty where nothing is kept, or what is kept makes no sense */
export function kept(key) {
    try {
        const found = JSON.parse(localStorage.getItem(key) ?? "{}");
        return found && typeof found === "object" && !Array.isArray(found) ? found : {};
    } catch {
        return {}; // nothing kept, or the browser keeps nothing for this page
    }
}

/** @param {string} key @param {Kept} given */
export function keep(key, given) {
    try {
        localStorage.setItem(key, JSON.stringify(given));
    } catch {
        // a private window, or its room is full: the page works all the same
    }
}

/** `all` with changes; undefined takes one out. @param {Kept} all @param {Kept} changes @returns {Kept} */
export function changed(all, changes) {
    return Object.fromEntries(Object.entries({ ...all, ...changes }).filter(([, value]) => value !== undefined));
}
