// What the person has set: only that, so that a preset and the program's defaults decide the rest. Kept over a reload.
import { useCallback, useEffect, useState } from "../html.js";
import { changed, keep, kept } from "../kept.js";

const KEY = "tinv.train";

/** @typedef {Record<string, string | number | boolean | object[]>} Settings */
/** @typedef {Partial<Settings> | ((given: Settings) => Partial<Settings>)} Changes */

/**
 * `set` changes some settings, undefined takes one back; changes may be made of what is set then. `take` replaces all.
 * `from` says what they were taken from, `taken` is another number whenever they were.
 * @returns {{given: Settings, from: string, taken: number, set: (changes: Changes) => void, take: (all: Settings, from?: string) => void}}
 */
export function useSettings() {
    const [state, setState] = useState(() => ({ given: kept(KEY), from: "", taken: 0 }));
    const set = useCallback((changes) => {
        setState((last) => ({
            ...last,
            given: changed(last.given, typeof changes === "function" ? changes(last.given) : changes),
        }));
    }, []);
    const take = useCallback(
        (all, from = "") => setState(({ taken }) => ({ given: { ...all }, from, taken: taken + 1 })),
        [],
    );
    useEffect(() => keep(KEY, state.given), [state.given]);
    useEffect(() => {
        const heard = (event) => take(event.detail?.settings ?? {}, event.detail?.from ?? "");
        const images = (event) => {
            const { folder, masks } = event.detail;
            set({ images: folder, ...(masks ? { masked_loss: true } : {}) });
        };
        document.addEventListener("tinv:settings", heard);
        document.addEventListener("tinv:images", images);
        return () => {
            document.removeEventListener("tinv:settings", heard);
            document.removeEventListener("tinv:images", images);
        };
    }, [set, take]);
    return { ...state, set, take };
}
