// Very many images in a box that scrolls: only those near what is in sight are asked for, and are in the page.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { useAnswer } from "./asking.js";

export const SLICE = 120; // images; full rows in a grid of 2, 3, 4, 5, 6 or 8 columns
const MARGIN = "800px"; // above and below what is in sight
const AGAIN = 3000; // milliseconds between two looks while images are looked at
const HEIGHT = 60; // pixels that an image takes, until some were seen: too little, so that nothing is passed over

/** The slices of so many images. @param {number} total @returns {{first: number, count: number}[]} */
export function slicesOf(total) {
    const count = Math.ceil(total / SLICE);
    return Array.from({ length: count }, (_, at) => ({
        first: at * SLICE,
        count: Math.min(SLICE, total - at * SLICE),
    }));
}

/**
 * One slice. `answer` is what the program said of it, where that is known already; `turn` is another number whenever it is
 * to be asked again; `sizes` remembers how high the slices were; `tile(image)` shows an image.
 */
export function Slice({ first, count, answer, given, query, turn, sizes, visible, tile }) {
    const box = useRef(null);
    const near = useNear(box);
    const [every, setEvery] = useState(0);
    const asked = useAnswer("images", { ...query, first, count }, near && !answer ? given : null, every, visible);
    const images = near ? (answer ?? asked.answer)?.images : null;
    useEffect(() => {
        if (turn) asked.refresh();
    }, [turn]);
    useEffect(() => setEvery(images?.some((one) => !one.looked_at) ? AGAIN : 0), [images]);
    useLayoutEffect(() => {
        if (images?.length) sizes.set(first, box.current.offsetHeight / images.length);
    });
    const usual = sizes.get(first) ?? [...sizes.values()][0] ?? HEIGHT;
    return html`<div class="tinv-slice" ref=${box} data-first=${first} style=${images ? undefined : `height:${usual * count}px`}>
        ${images?.map(tile)}
    </div>`;
}

/** Whether a box is near what is in sight of the one that scrolls it, or somebody types in it. */
function useNear(box) {
    const [near, setNear] = useState(false);
    useEffect(() => {
        const scrolled = box.current.closest(".tinv-grid");
        const look = (entries) =>
            setNear(entries[entries.length - 1].isIntersecting || box.current.contains(document.activeElement));
        const observer = new IntersectionObserver(look, { root: scrolled, rootMargin: `${MARGIN} 0px` });
        observer.observe(box.current);
        return () => observer.disconnect();
    }, []);
    return near;
}
