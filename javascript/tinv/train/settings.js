// What the person has set: only that, so that a preset and the program's defaults decide the rest. Kept over a reload.
import { useCallback, useEffect, useState } from "../html.js";

const KEY = "tinv.train";

/** @typedef {Record<string, string | number | boolean>} Settings */

/** @returns {Settings} */
export function kept() {
    try {
        const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
        return found && typeof found === "object" && !Array.isArray(found) ? found : {};
    } catch {
        return {}; // nothing kept, or the browser keeps nothing for this page
    }
}

/** @param {Settings} given */
function keep(given) {
    try {
        localStorage.setItem(KEY, JSON.stringify(given));
    } catch {
        // a private window, or its room is full: the page works all the same
    }
}

/**
 * `set` changes some settings, undefined takes one back; `take` replaces all. `from` says what they were taken from.
 * @returns {{given: Settings, from: string, set: (changes: Partial<Settings>) => void, take: (all: Settings) => void}}
 */
export function useSettings() {
    const [state, setState] = useState(() => ({ given: kept(), from: "" }));
    const set = useCallback((changes) => {
        setState(({ given, from }) => {
            const all = Object.entries({ ...given, ...changes }).filter(([, value]) => value !== undefined);
            return { given: Object.fromEntries(all), from };
        });
    }, []);
    const take = useCallback((all, from = "") => setState({ given: { ...all }, from }), []);
    useEffect(() => keep(state.given), [state.given]);
    useEffect(() => {
        const heard = (event) => take(event.detail?.settings ?? {}, event.detail?.from ?? "");
        document.addEventListener("tinv:settings", heard);
        return () => document.removeEventListener("tinv:settings", heard);
    }, [take]);
    return { ...state, set, take };
}
