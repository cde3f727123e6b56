// The WebUI's txt2img tab, where there is one.
const field = (id) => /** @type {HTMLTextAreaElement | null} */ (document.querySelector(`#${id} textarea`));

export const canSend = () => field("txt2img_prompt") !== null;

/** A prompt with one more word. @param {string} prompt @param {string} word */
export function withWord(prompt, word) {
    return prompt.trim() ? `${prompt.trimEnd().replace(/,$/, "")}, ${word}` : word;
}

const LETTER = "\\p{Script=Latin}"; // of scripts that part words by spaces, the one that names are mostly written in

/**
 * A prompt in which [name] stands for the word, as the route for images takes it; put in front where it is missing.
 * Capital letters do not matter, as they do not to the model; within a longer word it is another one.
 * @param {string} prompt @param {string} word
 */
export function withPlace(prompt, word) {
    const before = new RegExp(`^${LETTER}`, "u").test(word) ? `(?<!${LETTER})` : "";
    const after = new RegExp(`${LETTER}$`, "u").test(word) ? `(?!${LETTER})` : "";
    const written = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    const placed = prompt.replace(new RegExp(`\\[name\\]|${before}${written}${after}`, "giu"), "[name]");
    return placed.includes("[name]") ? placed : `[name], ${placed}`;
}

/** Put a word into a prompt of txt2img, and show that tab. @param {string} word @param {string} id of the prompt */
export function send(word, id) {
    const area = field(id);
    area.value = withWord(area.value, word);
    area.dispatchEvent(new Event("input", { bubbles: true }));
    /** @type {any} */ (window).switch_to_txt2img?.();
}
