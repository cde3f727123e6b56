// A step tried in the WebUI's prompts under a word of its own: no file is written, and it is forgotten when asked.
import { get, post } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";
import { send } from "./txt2img.js";

/** @param {{job: any, snapshot: any, word: string | undefined}} of the chosen step, and of which word of several */
export function TriedSteps({ job, snapshot, word: asked }) {
    const [tried, setTried] = useState([]);
    useEffect(() => {
        get("tried").then(setTried, (error) => console.warn("tinv: which words are tried is not known", error));
    }, [job.id, job.status]);
    const add = async () => {
        const { word, tried: all } = await post("tried/add", { job: job.id, step: snapshot.step, word: asked });
        setTried(all);
        send(word, "txt2img_prompt");
    };
    const forget = async (word) => setTried((await post("tried/forget", { word })).tried);
    return html`<div class="tinv-row tinv-tried-words">
        ${
            snapshot &&
            html`<${Action} id="tinv_try_word" act=${add} title=${t("live.try_word_means")}>
            ${t("live.try_word", { step: snapshot.step })}</${Action}>`
        }
        ${tried.map(
            ({ word, known }) => html`<span class="tinv-chip" key=${word} data-word=${word}>
            <button type="button" class="tinv-link" disabled=${!known} title=${t("live.send_word", { word })}
                onClick=${() => send(word, "txt2img_prompt")}>${word}</button>
            ${!known && html`<small>${t("live.word_unknown")}</small>`}
            <${Action} act=${() => forget(word)} title=${t("live.forget_word", { word })}>${t("live.forget")}</${Action}></span>`,
        )}
    </div>`;
}
