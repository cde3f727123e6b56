// Runs that still waited for their turn when the program ended: queued again, or forgotten.
import { get, post } from "./api.js";
import { html, useState } from "./html.js";
import { Problems } from "./problems.js";
import { usePutAway } from "./put_away.js";
import { Action, Said } from "./said.js";
import { takeSettings } from "./taking.js";
import { t } from "./texts.js";

/** `runs`: `waited` of GET /status; `again()` asks for it again. */
export function Waited({ runs, again }) {
    const { putAway, said, close } = usePutAway("queue/forget", (run) => t("page.run_forgotten", run), again);
    const [refused, setRefused] = useState({}); // why, by the id of the run
    if (!runs.length && !said) return null;
    /** In their order; one that is refused keeps none of the others from being queued. */
    const queue = (some) => async () => {
        const problems = {};
        for (const run of some) {
            try {
                await post("queue/again", { run: run.id });
            } catch (error) {
                problems[run.id] = error;
            }
        }
        setRefused(problems);
        again();
    };
    const take = (run) => async () => takeSettings((await get("queue/left", { run: run.id })).settings, run.name);
    return html`<section class="tinv-panel tinv-stack tinv-waited" aria-label=${t("page.waited")}>
        <${Said} said=${said} close=${close} />
        ${
            runs.length > 1 &&
            html`<div class="tinv-row">
                <span class="tinv-grow">${t("page.runs_waited", { count: runs.length })}</span>
                <${Action} act=${queue(runs)} primary=${true}>${t("page.queue_all_again")}</${Action}>
            </div>`
        }
        <ul class="tinv-plain">
            ${runs.map(
                (run) => html`<li key=${run.id} class="tinv-row">
                    <span class="tinv-grow">${runs.length > 1 ? run.name : t("page.run_waited", run)}</span>
                    <${Action} act=${queue([run])} primary=${runs.length === 1}>
                        ${t("page.queue_again")}<span class="tinv-hidden"> ${run.name}</span>
                    </${Action}>
                    <${Action} act=${putAway(run)}>
                        ${t("page.forget")}<span class="tinv-hidden"> ${run.name}</span>
                    </${Action}>
                    ${refused[run.id] && html`<${Why} error=${refused[run.id]} name=${run.name} take=${take(run)} />`}
                </li>`,
            )}
        </ul>
    </section>`;
}

/** Why it cannot be queued as it was; its settings can be changed and trained all the same. */
function Why({ error, name, take }) {
    return html`<div class="tinv-wide tinv-stack">
        <${Problems} error=${error} />
        <div class="tinv-row">
            <${Action} act=${take}>${t("page.train_like_this")}<span class="tinv-hidden"> ${name}</span></${Action}>
        </div>
    </div>`;
}
