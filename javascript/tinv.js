// Puts the parts of the page into the places that gradio leaves for them, whenever it makes them anew.
// All else is in javascript/tinv, whose modules come from /tinv/v1/page: see tinv_ext/server/page_files.py.
(() => {
    const EVERY = 200; // milliseconds between two looks for new places
    const AGAIN = 3000; // milliseconds until a part that did not load is tried again
    const places = document.getElementsByClassName("tinv-part"); // live: looking costs nothing
    const mounted = new Map(); // place: how to take the part out of it

    function root() {
        const base = document.querySelector("base");
        const path = window.gradio_config?.root || base?.href || location.pathname;
        return new URL(path, location.href).pathname.replace(/\/+$/, "");
    }

    async function mount(place) {
        mounted.set(place, () => {});
        try {
            const app = await import(`${location.origin}${root()}/${place.dataset.app}`);
            mounted.set(place, await app.mount(place, root()));
        } catch (error) {
            console.error("tinv: a part of the page did not load", error);
            setTimeout(() => mounted.delete(place), AGAIN);
        }
    }

    setInterval(() => {
        for (const [place, unmount] of mounted) {
            if (place.isConnected) continue;
            mounted.delete(place);
            unmount();
        }
        for (const place of places) if (!mounted.has(place)) mount(place);
    }, EVERY);
})();
