// What comes of a run: its file, the step to keep, and where to go with it.
import { file, post } from "../api.js";
import { html, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { Compare } from "./compare.js";
import { bestSnapshot } from "./plot.js";
import { TriedSteps } from "./tried.js";
import { Try } from "./try.js";
import { canSend, send } from "./txt2img.js";

export function Decide({ job, chart, previews, snapshots, again }) {
    const holds = job.used ?? job.file_step ?? (job.file ? job.steps : null); // the step in the file
    const [step, choose] = useState(null);
    const [told, tell] = useState({ busy: false, error: null, used: null });
    const best = chart?.best?.step ?? null;
    const proposed = bestSnapshot(snapshots, chart);
    const chosen = snapshots.find((one) => one.step === step) ?? proposed;
    const over = ["finished", "stopped", "failed"].includes(job.status);
    if (!job.file && !snapshots.length && previews.length < 2) return null;

    const act = async (work) => {
        tell({ busy: true, error: null, used: null });
        try {
            tell({ busy: false, error: null, used: await work() });
        } catch (error) {
            tell({ busy: false, error, used: null });
        }
    };
    const use = async () => {
        await act(() => post("use", { job: job.id, step: chosen.step }));
        again();
    };
    const download = (asked) =>
        act(async () => {
            const url = await file("embedding", { job: job.id, step: asked?.step });
            const link = Object.assign(document.createElement("a"), { href: url, download: asked?.file ?? job.file });
            link.click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
            return null;
        });
    return html`<section class="tinv-panel tinv-decide tinv-stack" aria-label=${t("live.result")}>
        ${job.file && html`<${Result} job=${job} holds=${holds} download=${() => download(null)} />`}
        ${
            snapshots.length > 0 &&
            html`<div class="tinv-row">
                <label class="tinv-row">
                    ${t("live.step")}
                    <select value=${chosen.step} onChange=${(event) => choose(Number(event.target.value))}>
                        ${snapshots.map(
                            (
                                one,
                            ) => html`<option key=${one.step} value=${one.step} selected=${one.step === chosen.step}>
                                ${one.step === best ? t("live.step_best", { step: one.step }) : one.step}
                            </option>`,
                        )}
                    </select>
                </label>
                <button type="button" id="tinv_use" class="tinv-button" disabled=${!over || told.busy || holds === chosen.step} onClick=${use}>
                    ${t("live.use")}
                </button>
                <button type="button" class="tinv-button" disabled=${told.busy} onClick=${() => download(chosen)}>${t("live.download_snapshot")}</button>
                <span class="tinv-quiet">${over ? t("live.use_means", { name: job.name }) : t("live.use_later")}</span>
            </div>`
        }
        ${chosen && canSend() && html`<${TriedSteps} job=${job} snapshot=${chosen} />`}
        <div role="status">${told.used && html`<p class="tinv-said">${t("live.used", told.used)}</p>`}</div>
        <${Problems} error=${told.error} />
        ${over && (chosen || job.file) && html`<${Try} job=${job} snapshot=${chosen} holds=${holds} />`}
        ${previews.length > 1 && html`<${Compare} job=${job} previews=${previews} best=${best} />`}
    </section>`;
}

function Result({ job, holds, download }) {
    const sending = canSend();
    return html`<div class="tinv-row">
        <span class="tinv-file">${holds ? t("live.file_of_step", { file: job.file, step: holds }) : t("live.file", { file: job.file })}</span>
        <button type="button" class="tinv-button" onClick=${download}>${t("live.download")}</button>
        ${
            sending &&
            html`<span class="tinv-row tinv-send">
                <button type="button" class="tinv-button tinv-primary" onClick=${() => send(job.name, "txt2img_prompt")}>${t("ui.send_to_txt2img")}</button>
                <button type="button" class="tinv-button" onClick=${() => send(job.name, "txt2img_neg_prompt")}>${t("ui.send_to_negative_prompt")}</button>
            </span>`
        }
    </div>`;
}
