// Runs that a crash has interrupted: resumed, or left as they are.
import { post } from "./api.js";
import { html } from "./html.js";
import { usePutAway } from "./put_away.js";
import { Action, Said } from "./said.js";
import { t } from "./texts.js";

/** `runs`: `interrupted` of GET /status; `again()` asks for it again. */
export function Interrupted({ runs, again }) {
    const { putAway, said, close } = usePutAway("runs/leave", (run) => t("page.run_left", run), again);
    if (!runs.length && !said) return null;
    const resume = (run) => async () => {
        await post("resume", { run: run.id });
        again();
    };
    return html`<section class="tinv-panel tinv-stack tinv-offer" aria-label=${t("page.interrupted")}>
        <${Said} said=${said} close=${close} />
        ${runs.map(
            (run) => html`<div key=${run.id} class="tinv-row">
                <span class="tinv-grow">${t("page.was_interrupted", run)}</span>
                <${Action} act=${resume(run)} primary=${true}>
                    ${t("page.resume")}<span class="tinv-hidden"> ${run.name}</span>
                </${Action}>
                <${Action} act=${putAway(run)}>
                    ${t("page.leave")}<span class="tinv-hidden"> ${run.name}</span>
                </${Action}>
            </div>`,
        )}
    </section>`;
}
