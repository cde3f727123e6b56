// What was done, in sentences that are also read aloud, with a way to take it back.
import { html, useEffect, useRef, useState } from "./html.js";
import { Problems } from "./problems.js";
import { t } from "./texts.js";

/** `said`: {sentences, undo}, or null; `undo()` does it and says what came of it. */
export function Said({ said, close }) {
    const line = useRef(null);
    useEffect(() => {
        // the button that was pressed is gone, or waits: whoever uses the keyboard goes on from here
        if (said && document.activeElement === document.body) line.current.focus({ preventScroll: true });
    }, [said]);
    return html`<div role="status" aria-live="polite" class="tinv-told">
        ${
            said &&
            html`<div class="tinv-said tinv-row" tabindex="-1" ref=${line}>
            <span class="tinv-grow">${said.sentences.join(" ")}</span>
            ${said.undo && html`<${Action} act=${said.undo}>${t("page.undo")}</${Action}>`}
            <button type="button" class="tinv-button" onClick=${close}>${t("page.close")}</button>
        </div>`
        }
    </div>`;
}

/**
 * A button whose work takes its time: it waits, and says below it what went wrong. One of `type` "submit" is pressed by
 * Enter in a field of its form as well.
 */
export function Action({
    act,
    children,
    primary = false,
    disabled = false,
    title = undefined,
    id = undefined,
    type = "button",
}) {
    const [state, setState] = useState({ busy: false, error: null });
    async function click() {
        setState({ busy: true, error: null });
        try {
            await act();
            setState({ busy: false, error: null });
        } catch (error) {
            setState({ busy: false, error });
        }
    }
    return html`<button
            type=${type}
            id=${id}
            class=${`tinv-button ${primary ? "tinv-primary" : ""}`}
            disabled=${disabled || state.busy}
            aria-busy=${state.busy}
            title=${title}
            onClick=${click}
        >
            ${children}
        </button>
        ${state.error && html`<div class="tinv-wide"><${Problems} error=${state.error} /></div>`}`;
}
