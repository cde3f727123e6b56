// The runs at work and those that wait, which can be put in another order or taken out; those that have ended since.
import { post } from "../api.js";
import { html } from "../html.js";
import { Action } from "../said.js";
import { watchRun } from "../taking.js";
import { t } from "../texts.js";
import { moved } from "./order.js";

/** `jobs`: as GET /queue has them, with some that are over. */
export function Queue({ jobs: all, again }) {
    if (!all.length) return null;
    const [jobs, over] = [all.filter((job) => !job.over), all.filter((job) => job.over)];
    const waiting = jobs.filter((job) => job.status === "queued").map((job) => job.id);
    const order = (ids) => async () => {
        await post("queue/order", {}, { jobs: ids });
        again();
    };
    const send = (command, id) => async () => {
        await post(command, { job: id });
        again();
    };
    return html`<section class="tinv-panel tinv-stack" aria-label=${t("runs.queue")}>
        ${jobs.length > 0 && html`<h2>${t("runs.queue")}</h2>`}
        <ol class="tinv-plain">
            ${jobs.map((job) => {
                const place = waiting.indexOf(job.id);
                return html`<li key=${job.id} class="tinv-row">
                    <${Name} job=${job} />
                    ${
                        place >= 0 &&
                        html`<${Action}
                                act=${order(moved(waiting, place, -1))}
                                disabled=${place === 0}
                                title=${t("runs.earlier", { name: job.name })}
                            >
                                ↑<span class="tinv-hidden">${t("runs.earlier", { name: job.name })}</span>
                            </${Action}>
                            <${Action}
                                act=${order(moved(waiting, place, 1))}
                                disabled=${place === waiting.length - 1}
                                title=${t("runs.later", { name: job.name })}
                            >
                                ↓<span class="tinv-hidden">${t("runs.later", { name: job.name })}</span>
                            </${Action}>`
                    }
                    ${
                        job.status === "paused" &&
                        html`<${Action} act=${send("resume", job.id)} primary=${true}>
                            ${t("runs.resume")}<span class="tinv-hidden"> ${job.name}</span>
                        </${Action}>`
                    }
                    <${Watch} job=${job} />
                    <${Action} act=${send("stop", job.id)}>
                        ${place >= 0 ? t("runs.remove") : t("runs.stop")}<span class="tinv-hidden"> ${job.name}</span>
                    </${Action}>
                </li>`;
            })}
        </ol>
        ${
            over.length > 0 &&
            html`<h3>${t("runs.over")}</h3>
            <ul class="tinv-plain tinv-over">
                ${over.map((job) => html`<li key=${job.id} class="tinv-row"><${Name} job=${job} /><${Watch} job=${job} /></li>`)}
            </ul>`
        }
    </section>`;
}

const Name = ({ job }) => html`<span class="tinv-grow">
    ${job.name} <span class="tinv-quiet">${job.status_word}, ${t("runs.of", job)}</span>
</span>`;

const Watch = ({ job }) => html`<${Action} act=${() => watchRun(job.id)}>
    ${t("runs.watch")}<span class="tinv-hidden"> ${job.name}</span>
</${Action}>`;
