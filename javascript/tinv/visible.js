// Whether somebody can see a part: nothing is asked of the program while its tab, or the window, is hidden.

/**
 * @param {Element} place
 * @returns {{readonly now: boolean, listen: (heard: () => void) => () => void, end: () => void}}
 */
export function watchVisible(place) {
    let within = false;
    const listeners = new Set();
    const state = () => within && !document.hidden;
    const tell = () => {
        for (const heard of listeners) heard();
    };
    // observed from the moment when it is shown, so a tab that is clicked is filled at once
    const observer = new IntersectionObserver(
        (entries) => {
            within = entries[entries.length - 1].isIntersecting;
            tell();
        },
        { rootMargin: "200%" },
    );
    observer.observe(place);
    document.addEventListener("visibilitychange", tell);
    return {
        get now() {
            return state();
        },
        listen(heard) {
            listeners.add(heard);
            return () => listeners.delete(heard);
        },
        end() {
            observer.disconnect();
            document.removeEventListener("visibilitychange", tell);
        },
    };
}
