// Images made ready for training in a folder of their own, and captions: checked, carried out, looked at, undone.
import { get, post } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { changed, keep, kept } from "../kept.js";
import { usePolling } from "../polling.js";
import { Problems } from "../problems.js";
import { Action, Said } from "../said.js";
import { takeImages } from "../taking.js";
import { t } from "../texts.js";
import { Form } from "./form.js";
import { Pairs, Report } from "./report.js";

const KEY = "tinv.prepare";
const AT_WORK = 700,
    ELSE = 5000; // milliseconds between two looks: another page may have begun one

export default function Part({ visible }) {
    const { form, error, retry } = useForm();
    const [given, setGiven] = useState(() => kept(KEY));
    const [report, setReport] = useState(null);
    const [said, setSaid] = useState(null);
    const [problem, setProblem] = useState(null); // of what was last asked for
    const [past, setPast] = useState(""); // what was told of the last preparation before another question
    const [every, setEvery] = useState(ELSE);
    const { answer: now, again } = usePolling(() => get("prepare"), every, visible);
    useEffect(() => {
        keep(KEY, given);
        setProblem(null); // it may be mended now
    }, [given]);
    useEffect(() => setEvery(now?.at_work ? AT_WORK : ELSE), [now?.at_work]);
    if (error) return html`<${Problems} error=${error} retry=${retry} />`;
    if (!form) return html`<p class="tinv-quiet">${t("prepare_page.loading")}</p>`;

    const cleared = () => {
        setProblem(null);
        setSaid(null);
        setReport(null);
        setPast(tale(now));
    };
    const check = async () => {
        cleared();
        setReport(await post("prepare/check", {}, given));
    };
    const prepare = async () => {
        cleared();
        setReport(await post("prepare", {}, given));
        setPast("");
        again();
    };
    const stop = async () => {
        await post("prepare/stop");
        again();
    };
    const undo = async () => {
        cleared();
        const { source, target } = given;
        setSaid(await post("prepare/undo", {}, { source, target }));
        again();
    };
    const tried = (act) => async () => {
        try {
            await act();
        } catch (wrong) {
            setProblem(wrong);
        }
    };
    const told = tale(now) !== "" && (now.at_work || tale(now) !== past);
    return html`<div class="tinv-stack tinv-prepare">
        <div class="tinv-beside">
            <div class="tinv-stack">
                <${Form} form=${form} given=${given} set=${(changes) => setGiven((all) => changed(all, changes))} />
                <div class="tinv-row tinv-actions">
                    <${Action} id="tinv_prepare_check" act=${tried(check)}>${t("train.check")}</${Action}>
                    <${Action} id="tinv_prepare" primary act=${tried(prepare)} disabled=${now?.at_work}>${t("prepare_page.prepare")}</${Action}>
                    ${now?.at_work && html`<${Action} id="tinv_prepare_stop" act=${tried(stop)}>${t("prepare_page.stop")}</${Action}>`}
                    <${Action} id="tinv_prepare_undo" act=${tried(undo)} disabled=${now?.at_work}>${t("prepare_page.undo")}</${Action}>
                    ${problem && html`<div class="tinv-wide"><${Problems} error=${problem} /></div>`}
                </div>
            </div>
            <div class="tinv-stack">
                <div id="tinv_prepare_progress" role="status" aria-live="polite">
                    ${told && html`<${Progress} now=${now} />`}
                </div>
                <div id="tinv_prepare_answer" class="tinv-stack">
                    <${Said} said=${said} close=${() => setSaid(null)} />
                    ${report && html`<${Report} report=${report} />`}
                </div>
                ${told && html`<${Pairs} images=${now.images} />`}
            </div>
        </div>
    </div>`;
}

/** What the program says of its options; asked for once. */
function useForm() {
    const [state, setState] = useState({ form: null, error: null });
    const load = async () => {
        try {
            setState({ form: await get("prepare/form"), error: null });
        } catch (error) {
            setState({ form: null, error });
        }
    };
    useEffect(() => {
        load();
    }, []);
    return { ...state, retry: load };
}

/** What the program tells of a preparation, as one text. */
const tale = (now) => (now ? [...now.sentences, ...now.problems].join("\n") : "");

function Progress({ now }) {
    const ready = !now.at_work && now.problems.length === 0 && now.done > 0;
    return html`<div class="tinv-said tinv-stack">
        ${now.at_work && html`<progress max=${now.total} value=${now.done} aria-label=${now.sentences[0]}></progress>`}
        ${now.sentences.map((text) => html`<p>${text}</p>`)}
        ${now.problems.map((text) => html`<p class="tinv-wrong">${text}</p>`)}
        ${
            ready &&
            html`<div><button type="button" class="tinv-button" onClick=${() => takeImages(now.folder, now.masks)}>
            ${t("prepare_page.train")}</button></div>`
        }
    </div>`;
}
