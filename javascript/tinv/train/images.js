// Training images: dropped, browsed for or named by their folder; shown as they will be trained.
import { post, Unreachable } from "../api.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Problems, sentences } from "../problems.js";
import { t } from "../texts.js";
import { useAnswer } from "./asking.js";
import { Browse } from "./folders.js";
import { Grid } from "./grid.js";
import { isSettingsFile } from "./settings_file.js";
import { SLICE } from "./slice.js";
import { filesOf, named, upload } from "./upload.js";

const SOON = 800,
    LATER = 3000; // milliseconds between two looks while images are looked at
const MANY = 300;
const DRAWN = 150; // milliseconds between two figures of what was sent

/**
 * @param {{given: any, set: (changes: object) => void, about: any, problem: string, visible: any, title?: string, prefix?: string, said?: string[], counted?: number | null, settingsFile?: (file: File) => void}} of
 * the part, or of a word with images of its own: ids begin with `prefix`, and what is `said` there is not said again.
 * `counted`: how many the program has found since, which may be others; `settingsFile` hears of one that is dropped
 */
export function Images({
    given,
    set,
    about,
    problem,
    visible,
    title = t("train.images"),
    prefix = "tinv_",
    said = [],
    counted = null,
    settingsFile = undefined,
}) {
    const named = ["images", "dataset_config", "in_json"].some((name) => String(given[name] ?? "").trim());
    const [every, setEvery] = useState(SOON);
    const { answer, error, refresh } = useAnswer("images", { count: SLICE }, named ? given : null, every, visible);
    useEffect(() => {
        const done = answer && answer.looked_at >= answer.total;
        setEvery(done ? 0 : answer && answer.total > MANY ? LATER : SOON);
    }, [answer]);
    useEffect(() => {
        document.addEventListener("tinv:noticed", refresh);
        return () => document.removeEventListener("tinv:noticed", refresh);
    }, [refresh]);
    const total = answer?.total;
    useEffect(() => {
        if (total !== undefined) document.dispatchEvent(new CustomEvent("tinv:counted"));
    }, [total]);
    const before = useRef(counted);
    useEffect(() => {
        if (before.current !== null && counted !== null && counted !== before.current) refresh(); // not by this page
        before.current = counted;
    }, [counted]);
    const sending = useSending(given, set, refresh, settingsFile);
    const lost = error instanceof Unreachable; // then what is there stays, with what is typed into it
    const shown = named && answer && (!error || lost); // its hundreds of tiles are not drawn again for each file that is sent
    const grid = useMemo(
        () =>
            shown &&
            html`<${Grid} key=${answer.folder} answer=${answer} refresh=${refresh} suffix=${given.caption_extension ?? ""}
            set=${set} given=${given} visible=${visible} prefix=${prefix} />`,
        [shown, answer, given],
    );
    return html`<section class="tinv-stack tinv-dataset" aria-label=${title} ...${sending.drop}
        data-over=${sending.over || undefined}>
        <div class="tinv-control" data-setting="images">
            <div class="tinv-label"><label for="${prefix}images">${about.label}</label></div>
            <span class="tinv-path">
                <input type="text" id="${prefix}images" value=${given.images ?? ""} spellcheck="false"
                    placeholder=${t("train.images_path")} title=${about.help} aria-invalid=${problem || error ? "true" : undefined}
                    onInput=${(event) => set({ images: event.target.value || undefined })} />
                <${Browse} from=${given.images ?? ""} choose=${(path) => set({ images: path })} label=${about.label} />
            </span>
        </div>
        <${Drop} sending=${sending} open=${Boolean(answer)} />
        ${named && error && !sentences(error).every((text) => said.includes(text)) && html`<${Problems} error=${error} />`}
        ${grid}
    </section>`;
}

/** What goes on with files that were dropped or chosen. */
function useSending(given, set, refresh, settingsFile) {
    const [state, setState] = useState({ busy: null, problems: [], left: [], folder: "", error: null });
    const [over, setOver] = useState("");
    const inside = useRef(0);
    const begin = async (files, folder, title) => {
        if (!files.length) return;
        setState({
            busy: { done: 0, total: files.length, waiting: false },
            problems: [],
            left: [],
            folder,
            error: null,
        });
        try {
            const place = folder || (await post("images/new", {}, { name: title })).folder;
            let told = 0,
                drawn = 0;
            const tell = (busy) => {
                if (!busy.waiting && Date.now() - drawn < DRAWN) return;
                drawn = Date.now();
                setState((last) => ({ ...last, busy, folder: place }));
                if (Date.now() - told < (files.length > MANY ? LATER : SOON)) return;
                told = Date.now();
                refresh();
            };
            set({ images: place });
            const { problems, left } = await upload(place, files, tell);
            setState({ busy: null, problems, left, folder: place, error: null });
        } catch (error) {
            setState({ busy: null, problems: [], left: files, folder, error });
        }
        refresh();
    };
    const hold = (event) => {
        if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return false;
        event.preventDefault();
        event.stopPropagation(); // the WebUI takes images that are dropped anywhere
        return true;
    };
    const target = (event) => event.target.closest?.("[data-drop]")?.dataset.drop ?? "new";
    const enter = (event) => {
        if (!hold(event)) return;
        inside.current += 1;
        setOver(target(event));
    };
    const leave = (event) => {
        if (!hold(event)) return;
        inside.current -= 1;
        if (inside.current <= 0) {
            inside.current = 0;
            setOver("");
        }
    };
    const drop = {
        onDragEnter: enter,
        onDragOver: (event) => hold(event) && setOver(target(event)),
        onDragLeave: leave,
        onDrop: async (event) => {
            if (!hold(event)) return;
            inside.current = 0;
            setOver("");
            const where = target(event);
            const { title, files } = await filesOf(event.dataTransfer);
            if (settingsFile && isSettingsFile(files)) settingsFile(files[0].file);
            else begin(files, where === "add" ? (given.images ?? "") : "", title);
        },
    };
    const choose = (list, add) => begin(named([...list]), add ? (given.images ?? "") : "", "");
    const again = () => begin(state.left, state.folder, "");
    return { ...state, over, drop, choose, again };
}

function Drop({ sending, open }) {
    const { busy, problems, left, error, over, choose, again } = sending;
    const chosen = (add) => (event) => {
        choose(event.target.files, add);
        event.target.value = ""; // so that the same files can be chosen again
    };
    const pick = (add) => html`<label class="tinv-button">${add ? t("train.add_images") : t("train.choose_images")}
        <input type="file" class="tinv-hidden" multiple accept="image/*,.txt,.caption" data-pick=${add ? "add" : "new"}
            onChange=${chosen(add)} /></label>`;
    return html`
        <div class="tinv-drops">
            <div class="tinv-drop ${over === "new" ? "tinv-dragged" : ""}" data-drop="new">
                <p>${open ? t("train.drop_new") : t("train.drop_here")}</p>${pick(false)}
            </div>
            ${
                open &&
                html`<div class="tinv-drop ${over === "add" ? "tinv-dragged" : ""}" data-drop="add">
                <p>${t("train.drop_add")}</p>${pick(true)}</div>`
            }
        </div>
        <div role="status" aria-live="polite">
            ${
                busy &&
                html`<div class="tinv-sending"><progress value=${busy.done} max=${busy.total}
                aria-label=${t("train.sending", busy)}></progress>
                <span>${busy.waiting ? t("train.waiting", busy) : t("train.sending", busy)}</span></div>`
            }
            ${
                !busy &&
                problems.length > 0 &&
                html`<div class="tinv-problems tinv-left-out"><ul>
                ${problems.map((text) => html`<li>${text}</li>`)}</ul></div>`
            }
            ${
                !busy &&
                (left.length > 0 || error) &&
                html`<${Problems} error=${error} />
                <div class="tinv-problems">${t("train.not_sent", { count: left.length })}
                <button type="button" class="tinv-button" onClick=${again}>${t("train.send_again")}</button></div>`
            }
        </div>`;
}
