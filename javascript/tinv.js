// Puts the parts of the page into the places that gradio leaves for them, whenever it makes them anew.
// All else is in javascript/tinv, whose modules come from /tinv/v1/page: see tinv_ext/server/page_files.py.
(() => {
    const EVERY = 200; // milliseconds between two looks for places, until there are parts in them
    const SELDOM = 5; // later each fifth look is enough: after a change the browser searches the whole page for it
    const AGAIN = 3000; // milliseconds until a part that did not load is tried again
    const places = document.getElementsByClassName("tinv-part");
    const mounted = new Map(); // place: how to take the part out of it
    const FIRST = new Set(["train", "live"]); // in sight when the tab is opened; the others come when nothing else is done
    const idly = window.requestIdleCallback ?? ((work) => setTimeout(work, 1));
    let mounting = 0;
    let turn = 0;
    let settled = false; // every place has its part

    function root() {
        const base = document.querySelector("base");
        const path = window.gradio_config?.root || base?.href || location.pathname;
        return new URL(path, location.href).pathname.replace(/\/+$/, "");
    }

    // All modules of a part are asked for together, not one level of imports after the other.
    function preload(place, folder) {
        for (const name of place.dataset.files?.split(" ") ?? []) {
            const href = new URL(name, folder).href;
            if (document.querySelector(`link[href="${href}"]`)) continue;
            document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href }));
        }
    }

    async function mount(place) {
        mounted.set(place, () => {});
        mounting += 1;
        try {
            const address = `${location.origin}${root()}/${place.dataset.app}`;
            preload(place, address);
            const app = await import(address);
            mounted.set(place, await app.mount(place, root()));
        } catch (error) {
            console.error("tinv: a part of the page did not load", error);
            setTimeout(() => mounted.delete(place), AGAIN);
        }
        mounting -= 1;
    }

    setInterval(() => {
        turn += 1;
        if (settled && turn % SELDOM) return;
        for (const [place, unmount] of mounted) {
            if (place.isConnected) continue;
            mounted.delete(place);
            unmount();
        }
        const waiting = [...places].filter((place) => !mounted.has(place));
        const now = waiting.filter((place) => FIRST.has(place.dataset.part) || place.offsetParent);
        const later = now.length || mounting ? [] : waiting;
        for (const place of now) mount(place);
        for (const place of later) idly(() => mounted.has(place) || mount(place));
        settled = mounted.size > 0 && !waiting.length && !mounting;
    }, EVERY);
})();
