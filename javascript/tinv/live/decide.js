// What comes of a run: of each of its words the file, the step to keep, and where to go with it.
import { file, post } from "../api.js";
import { html, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { Chart } from "./chart.js";
import { Compare } from "./compare.js";
import { bestSnapshot } from "./plot.js";
import { TriedSteps } from "./tried.js";
import { Try } from "./try.js";
import { canSend, send } from "./txt2img.js";
import { useWord } from "./word.js";

export function Decide({ job, chart, previews, snapshots, again }) {
    const [name, choose] = useState(job.words[0]);
    const { word, error, look } = useWord(job, name, chart, snapshots);
    const several = job.words.length > 1;
    const drawn = several && chart?.steps.length > 1;
    if (!job.file && !snapshots.length && previews.length < 2 && !drawn) return null;
    const changed = () => {
        look();
        again();
    };
    return html`<section class="tinv-panel tinv-decide tinv-stack" aria-label=${t("live.result")}>
        ${several && html`<${Words} names=${job.words} chosen=${name} choose=${choose} />`}
        <${Problems} error=${error} />
        ${word && html`<${OfWord} key=${word.name} job=${job} word=${word} several=${several} changed=${changed} />`}
        ${previews.length > 1 && html`<${Compare} job=${job} previews=${previews} best=${word?.chart?.best?.step} />`}
    </section>`;
}

function Words({ names, chosen, choose }) {
    return html`<div class="tinv-row">
        <label class="tinv-row">
            ${t("live.word")}
            <select id="tinv_result_word" value=${chosen} onChange=${(event) => choose(event.target.value)}>
                ${names.map((name) => html`<option key=${name} value=${name} selected=${name === chosen}>${name}</option>`)}
            </select>
        </label>
        <span class="tinv-quiet">${t("live.word_means")}</span>
    </div>`;
}

function OfWord({ job, word, several, changed }) {
    const [step, choose] = useState(null);
    const [told, tell] = useState({ busy: false, error: null, used: null });
    const { name, asked, holds, chart, snapshots } = word;
    const chosen = snapshots.find((one) => one.step === step) ?? bestSnapshot(snapshots, chart);
    const over = ["finished", "stopped", "failed"].includes(job.status);

    const act = async (work) => {
        tell({ busy: true, error: null, used: null });
        try {
            tell({ busy: false, error: null, used: await work() });
        } catch (error) {
            tell({ busy: false, error, used: null });
        }
    };
    const use = async () => {
        await act(() => post("use", { job: job.id, step: chosen.step, word: asked }));
        changed();
    };
    const download = (of) =>
        act(async () => {
            const url = await file("embedding", { job: job.id, step: of?.step, word: asked });
            const link = Object.assign(document.createElement("a"), { href: url, download: of?.file ?? word.file });
            link.click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
            return null;
        });
    const steps = { snapshots, best: chart?.best?.step ?? null, chosen, choose };
    return html`
        ${word.file && html`<${Result} word=${word} download=${() => download(null)} />`}
        ${several && chart.steps.length > 1 && html`<${Chart} chart=${chart} label=${t("live.chart_of", { name })} />`}
        ${
            snapshots.length > 0 &&
            html`<div class="tinv-row">
                <${Steps} ...${steps} />
                <button type="button" id="tinv_use" class="tinv-button" disabled=${!over || told.busy || holds === chosen.step} onClick=${use}>
                    ${t("live.use")}
                </button>
                <button type="button" class="tinv-button" disabled=${told.busy} onClick=${() => download(chosen)}>${t("live.download_snapshot")}</button>
                <span class="tinv-quiet">${over ? t("live.use_means", { name }) : t("live.use_later")}</span>
            </div>`
        }
        ${chosen && canSend() && html`<${TriedSteps} job=${job} snapshot=${chosen} word=${asked} />`}
        <div role="status">${told.used && html`<p class="tinv-said">${t("live.used", told.used)}</p>`}</div>
        <${Problems} error=${told.error} />
        ${(over || job.status === "paused") && (chosen || word.file) && html`<${Try} word=${word} snapshot=${chosen} />`}
    `;
}

function Steps({ snapshots, best, chosen, choose }) {
    return html`<label class="tinv-row">
        ${t("live.step")}
        <select class="tinv-steps" value=${chosen.step} onChange=${(event) => choose(Number(event.target.value))}>
            ${snapshots.map(
                ({ step }) => html`<option key=${step} value=${step} selected=${step === chosen.step}>
                    ${step === best ? t("live.step_best", { step }) : step}
                </option>`,
            )}
        </select>
    </label>`;
}

function Result({ word, download }) {
    const { name, file, holds } = word;
    return html`<div class="tinv-row">
        <span class="tinv-file">${holds ? t("live.file_of_step", { file, step: holds }) : t("live.file", { file })}</span>
        <button type="button" class="tinv-button" onClick=${download}>${t("live.download")}</button>
        ${
            canSend() &&
            html`<span class="tinv-row tinv-send">
                <button type="button" class="tinv-button tinv-primary" onClick=${() => send(name, "txt2img_prompt")}>${t("ui.send_to_txt2img")}</button>
                <button type="button" class="tinv-button" onClick=${() => send(name, "txt2img_neg_prompt")}>${t("ui.send_to_negative_prompt")}</button>
            </span>`
        }
    </div>`;
}
