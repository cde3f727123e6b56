// Lays a part out once, out of sight, before somebody opens its tab: what the browser looks up when it first needs it,
// fonts above all, is there by then. That is half of the layout that follows the first click (docs/benchmarks.md).

const LATER = 1000; // milliseconds in which a part gets what it asks the program for
const idly = window.requestIdleCallback ?? ((work) => setTimeout(work, 1));

/**
 * @param {HTMLElement} place a part, in whatever tab
 * @returns {() => void} takes it back, if it has not been done yet
 */
export function layOutBeforehand(place) {
    const waiting = setTimeout(() => idly(() => layOut(place)), LATER);
    return () => clearTimeout(waiting);
}

function layOut(place) {
    if (!place.isConnected || place.offsetParent) return; // taken out, or in sight already
    const copy = place.cloneNode(true);
    // radio buttons with the name of those in the part would take the choice from them
    for (const field of copy.querySelectorAll("[name]")) field.removeAttribute("name");
    const room = document.createElement("div");
    room.style.cssText = "position: absolute; width: 100%; height: 0; overflow: hidden; visibility: hidden";
    room.append(copy);
    const page = place.closest(".gradio-container") ?? document.body; // whose fonts and colours a part has
    page.append(room);
    room.getBoundingClientRect();
    room.remove(); // before anything else runs: nobody finds the part twice
}
