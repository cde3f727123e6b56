// gradio hides what sticks out of its pages, and nothing can stay in sight inside of what hides by `overflow: hidden`.
// `clip` hides the same, and lets `position: sticky` work.

/** @param {Element} place @returns {() => void} puts back what was */
export function letStick(place) {
    const changed = [];
    for (let node = place.parentElement; node && node !== document.body; node = node.parentElement) {
        if (getComputedStyle(node).overflow !== "hidden") continue;
        changed.push([node, node.style.overflow]);
        node.style.overflow = "clip";
    }
    return () => {
        for (const [node, before] of changed) node.style.overflow = before;
    };
}
