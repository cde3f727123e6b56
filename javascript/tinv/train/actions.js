// The bar with Check and Train, what a run will take, and what the program answers.
import { post } from "../api.js";
import { Device, useDevice } from "../device.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { tablesOf } from "./tables.js";

/**
 * `measured()` hears that time and memory are known now, `begun(names)` that a run was begun, `refused(problems)` what is
 * wrong with each of several words.
 */
export function Actions({ given, outlook, measured, begun, refused }) {
    const [state, setState] = useState({ busy: "", checked: null, said: "", error: null });
    const devices = outlook?.devices ?? [];
    const [device, choose] = useDevice(devices);
    const figures = (device ? outlook?.figures_elsewhere : outlook?.figures) ?? [];
    const ask = (what, show) => async () => {
        setState({ busy: what, checked: null, said: "", error: null });
        try {
            const answer = await post(what, { device: device || undefined }, given);
            setState({ busy: "", checked: null, said: "", error: null, ...show(answer) });
            if (what === "check") measured();
            if (what !== "train") return;
            begun([given.name, ...(tablesOf(given.words) ?? []).map((one) => one.name)]);
            document.dispatchEvent(new CustomEvent("tinv:started", { detail: { job: answer.id, device } }));
        } catch (error) {
            setState({ busy: "", checked: null, said: "", error });
            begun([]); // that a name is taken is one now, and is said beside it
        }
    };
    useEffect(() => setState((last) => (last.error ? { ...last, error: null } : last)), [given]); // it may be mended now
    const { busy, checked, said, error } = state;
    useEffect(() => refused(error?.words ?? []), [error]);
    const place = useRef(null);
    useEffect(() => {
        if (checked || error) place.current.scrollIntoView({ block: "nearest" });
    }, [checked, error]);
    const train = ask("train", (answer) => ({ said: answer.said }));
    return html`
        <div id="tinv_answer" ref=${place} class="tinv-stack" aria-live="polite">
            ${said && html`<div class="tinv-said">${said}</div>`}
            ${error && html`<div><b>${t("train.not_started")}</b><${Problems} error=${error} /></div>`}
            ${checked && html`<${Checked} answer=${checked} />`}
        </div>
        <div class="tinv-actions">
            <div class="tinv-model" data-ready=${outlook?.model.ready ?? false}>
                <span class="tinv-quiet">${t("train.model")}</span> <b>${outlook?.model.text ?? "…"}</b>
            </div>
            <${Device} devices=${devices} device=${device} choose=${choose} id="tinv_device" />
            ${outlook?.problems[""] && html`<div class="tinv-wrong tinv-whole">${outlook.problems[""]}</div>`}
            <div class="tinv-figures-line" role="status">${figures.join(" · ")}</div>
            <div class="tinv-row">
                <button type="button" class="tinv-button" id="tinv_check" disabled=${busy !== ""}
                    onClick=${ask("check", (answer) => ({ checked: answer }))}>${busy === "check" ? t("train.checking") : t("train.check")}</button>
                <button type="button" class="tinv-button tinv-primary" id="tinv_train" disabled=${busy !== ""}
                    onClick=${train}>${busy === "train" ? t("train.starting") : t("train.train")}</button>
            </div>
        </div>`;
}

function Checked({ answer }) {
    return html`<div class="tinv-said tinv-checked">
        <b>${t("train.ready")}</b>
        <ul>${answer.notices.map((text) => html`<li>${text}</li>`)}</ul>
        ${answer.tags && html`<p>${answer.tags}</p>`}
        <h3>${t("train.prompts")}</h3>
        <ol class="tinv-training-prompts">${answer.prompts.map(
            (prompt, index) => html`<li>${marked(prompt, answer.words ?? [answer.word])}
            ${answer.tokens && html` <small class="tinv-quiet">${t("train.tokens", { count: answer.tokens[index] })}</small>`}</li>`,
        )}</ol>
    </div>`;
}

/** A prompt with the words marked, wherever they stand. */
function marked(prompt, words) {
    const sought = words.filter(Boolean).sort((one, other) => other.length - one.length);
    if (!sought.length) return prompt;
    const any = new RegExp(`(${sought.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`);
    return prompt.split(any).map((part, index) => (index % 2 ? html`<mark>${part}</mark>` : part));
}
