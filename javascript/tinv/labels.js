// The labels that gradio shows, in the page's language, where no WebUI translates them by our file: it does that only if
// its language has the same name as ours.
import { get } from "./api.js";

// Already in the page's language, or not to be touched.
const SPOKEN = ".tinv-app, .tinv-said, .tinv-problems, .tinv-table, #tinv_answer ol, textarea, script, style";
let begun = false;

/** @param {Element} place of a part; all of the page around it is translated @param {string} language */
export async function translateLabels(place, language) {
    const webui = /** @type {any} */ (window).localization;
    if (begun || language === "en") return;
    begun = true;
    const labels = await get("labels", { language });
    if (webui && Object.keys(labels).every((label) => webui[label])) return;
    const page = place.closest("#tab_tinv, .gradio-container");
    if (!page) return;
    const translate = () => {
        const walk = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
            const node = walk.currentNode;
            const label = labels[node.nodeValue.trim()];
            if (label && !node.parentElement.closest(SPOKEN)) node.nodeValue = label;
        }
        for (const field of page.querySelectorAll("[placeholder]")) {
            const placeholder = labels[field.getAttribute("placeholder")];
            if (placeholder) field.setAttribute("placeholder", placeholder);
        }
    };
    translate();
    new MutationObserver(translate).observe(page, { childList: true, subtree: true });
}
