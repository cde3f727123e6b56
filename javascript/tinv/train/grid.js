// The images of a folder, with what is trained on of each, its caption and what is remarkable about it.
import { address, post, Refused, Unreachable } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { MaskBrush } from "./mask.js";
import { SLICE, Slice, slicesOf } from "./slice.js";

export function Grid({ answer, refresh, suffix, given, set, visible, prefix }) {
    const [error, setError] = useState(null);
    const [turn, setTurn] = useState(0);
    const [odd, setOdd] = useState(false); // only those that need a look
    const sizes = useRef(new Map());
    const change = async (what, body) => {
        try {
            await post(`images/${what}`, {}, body);
            setError(null);
            return true;
        } catch (refused) {
            const lost = refused instanceof Unreachable; // true also when the connection is back
            setError(lost ? new Refused(0, [t("train.change_lost")]) : refused);
            return false;
        } finally {
            refresh();
            setTurn((number) => number + 1);
        }
    };
    const end = useRef(null);
    const remove = async (id, tile) => {
        const near = tile.nextElementSibling ?? tile.previousElementSibling;
        if (!(await change("remove", { ids: [id] }))) return;
        const now = document.activeElement; // with the tile it would go to the top of the page
        if (now === document.body || tile.contains(now)) (near?.querySelector(".tinv-remove") ?? end.current)?.focus();
    };
    const [painting, setPainting] = useState(null);
    const { images, total, looked_at: looked, undo } = answer;
    useEffect(() => setTurn((number) => number + 1), [total]);
    const masked = images.some((one) => one.mask);
    const saveMask = async (mask) => {
        const done = await change("mask", { ids: [painting.id], mask });
        if (done && mask && !given.masked_loss) set({ masked_loss: true });
        return done;
    };
    const maskAll = async () => {
        const done = await change("background", { folder: answer.folder, recursive: Boolean(given.recursive) });
        if (done && !given.masked_loss) set({ masked_loss: true });
    };
    const named = answer.background.length > 0 && !(masked && given.masked_loss);
    const whole = total <= SLICE;
    const remarkable = whole ? images.filter(isOdd).length : answer.remarkable;
    const only = odd && remarkable > 0;
    const tile = (
        image,
    ) => html`<${Tile} key=${image.id} image=${image} change=${change} remove=${remove} suffix=${suffix}
        masked=${Boolean(given.masked_loss) && !given.mask_folder} paint=${given.mask_folder ? null : setPainting} />`;
    const slice = ({ first, count }) => html`<${Slice} key=${`${only} ${first}`} first=${first} count=${count}
        answer=${first === 0 && (!only || whole) ? { images: only ? images.filter(isOdd) : images } : null} given=${given}
        query=${only ? { only_remarkable: true } : {}} turn=${turn} sizes=${sizes.current} visible=${visible} tile=${tile} />`;
    return html`
        <div class="tinv-row tinv-counts">
            <span role="status">${t("train.image_count", { count: total })}
                ${looked < total && html`<span class="tinv-quiet"> · ${t("train.looking", { done: looked, total })}</span>`}
                ${
                    remarkable > 0 &&
                    html`<button type="button" class="tinv-chip tinv-odd" aria-pressed=${only} onClick=${() => setOdd(!odd)}>
                    ${t("train.remarkable", { count: remarkable })}</button>`
                }</span>
            ${
                undo &&
                html`<button type="button" class="tinv-button tinv-undo" title=${undo.what}
                onClick=${() => change("undo", { folder: undo.folder })}>${t("train.undo")}</button>`
            }
        </div>
        ${
            answer.below.length > 0 &&
            html`<p class="tinv-quiet">${t("train.below", { folders: answer.below })}
            <button type="button" class="tinv-chip" onClick=${() => set({ recursive: true })}>${t("train.use_below")}</button></p>`
        }
        ${
            (answer.same_background || named) &&
            !answer.uses_captions &&
            !given.mask_folder &&
            !images.every((one) => one.mask) &&
            html`<p class="tinv-quiet">${named ? t("train.background_named", { words: answer.background }) : t("train.same_background")}${" "}
            <button type="button" class="tinv-chip" id="${prefix}mask_backgrounds" onClick=${maskAll}>${t("train.mask_backgrounds")}</button></p>`
        }
        <${CaptionsUsed} answer=${answer} given=${given} set=${set} prefix=${prefix} />
        ${
            (masked || given.masked_loss) && // also without masks, as after Undo: else nothing here would turn it off
            html`<label class="tinv-row tinv-uses"><input type="checkbox" id="${prefix}use_masks" checked=${Boolean(given.masked_loss)}
            onChange=${() => set({ masked_loss: given.masked_loss ? undefined : true })} />${t("train.masks_on")}</label>`
        }
        <${Problems} error=${error} />
        <div class="tinv-grid" key=${only} tabindex="0" role="group" aria-label=${t("train.images")}>
            <button type="button" class="tinv-button tinv-skip" onClick=${() => end.current.focus()}>${t("train.skip_images")}</button>
            ${slicesOf(only ? remarkable : total).map(slice)}
        </div>
        <span class="tinv-hidden" ref=${end} tabindex="-1"></span>
        ${painting && html`<${MaskBrush} key=${painting.id} image=${painting} save=${saveMask} problem=${error} close=${() => setPainting(null)} />`}`;
}

/** Whether prompts are made of captions, with a switch where the template has a twin that does it. */
function CaptionsUsed({ answer, given, set, prefix }) {
    const template = String(given.template ?? answer.template ?? "subject");
    const twin = /^(subject|style)(_filewords)?$/.exec(template);
    if (!twin) return null;
    const toggle = () => set({ template: answer.uses_captions ? twin[1] : `${twin[1]}_filewords` });
    return html`<label class="tinv-row tinv-uses"><input type="checkbox" id="${prefix}use_captions" checked=${answer.uses_captions}
        onChange=${toggle} />${t("train.use_captions")}</label>`;
}

const isOdd = (image) => Boolean(image.unusable || image.findings.length);

const TURNS = [
    { how: "left", sign: "⟲", label: /* text */ "train.turn_left" },
    { how: "right", sign: "⟳", label: /* text */ "train.turn_right" },
    { how: "flip", sign: "⇋", label: /* text */ "train.turn_flip" },
];

/** `masked`: what its mask leaves out is shown dark, as it is not learnt. */
function Tile({ image, change, remove, suffix, masked, paint }) {
    const { id, name, width, height, trained } = image;
    const size = width && `${width}×${height}${trained ? ` → ${trained.join("×")}` : ""}`;
    const source = address("images/thumbnail", { id, v: image.version, language: undefined });
    return html`<figure class="tinv-tile ${image.unusable ? "tinv-unusable" : ""}" data-image=${name}>
        <div class="tinv-thumb">
            <div class="tinv-photo" style=${picture(width, height)}>
                ${
                    !image.unusable &&
                    html`<img src=${source} alt=${name} loading="lazy" decoding="async"
                    onError=${hide} onLoad=${show} />`
                }
                ${
                    masked &&
                    image.mask &&
                    html`<img class="tinv-left-dark" src=${address("images/mask", { id, v: image.mask, language: undefined })}
                    alt="" loading="lazy" decoding="async" onError=${hide} onLoad=${show} />`
                }
                ${image.frame && html`<span class="tinv-frame" style=${frame(image.frame)} title=${t("train.frame")}></span>`}
            </div>
            <div class="tinv-tools">
                ${
                    !image.unusable &&
                    TURNS.map(
                        ({ how, sign, label }) => html`<button type="button" title=${t(label)}
                    aria-label=${t(label)} onClick=${() => change("turn", { ids: [id], how })}>${sign}</button>`,
                    )
                }
                ${
                    !image.unusable &&
                    paint &&
                    html`<button type="button" title=${t("train.mask")} aria-label=${t("train.mask_of", { name })}
                    onClick=${() => paint(image)}>✎</button>`
                }
                <button type="button" class="tinv-remove" title=${t("train.remove")} aria-label=${t("train.remove_image", { name })}
                    onClick=${(event) => remove(id, event.target.closest(".tinv-tile"))}>✕</button>
            </div>
        </div>
        <figcaption>
            <div class="tinv-file-name" title=${name}>${name}</div>
            ${size && html`<div class="tinv-quiet">${size}${image.mask ? ` · ${t("train.masked")}` : ""}</div>`}
            ${image.unusable && html`<div class="tinv-wrong">${image.unusable}</div>`}
            ${!image.unusable && html`<${Caption} image=${image} save=${(text) => change("caption", { ids: [id], text, suffix })} />`}
            ${image.findings.map(({ kind, text }) => html`<div class="tinv-finding" data-kind=${kind}>⚠ ${text}</div>`)}
        </figcaption>
    </figure>`;
}

/** Editable in place: saved when it is left, or by Enter; Escape takes back what was typed. */
function Caption({ image, save }) {
    const { name, caption, caption_file: file } = image;
    const written = file ? caption : "";
    const [text, setText] = useState(written);
    useEffect(() => setText(written), [written]);
    const leave = () => {
        if (text.trim() !== written.trim()) save(text);
    };
    const keys = (event) => {
        if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            event.target.blur();
        }
        if (event.key === "Escape") setText(written);
        event.stopPropagation(); // the WebUI has keys of its own
    };
    return html`<textarea rows="2" aria-label=${t("train.caption_of", { name })} value=${text} placeholder=${caption || t("train.caption")}
            title=${file ? t("train.caption_from", { file }) : t("train.caption_of_name")}
            onInput=${(event) => setText(event.target.value)} onBlur=${leave} onKeyDown=${keys}></textarea>`;
}

const hide = (event) => event.target.classList.add("tinv-broken");
const show = (event) => event.target.classList.remove("tinv-broken");

/** The image's own box, in the middle of a square. */
function picture(width, height) {
    if (!width) return "width:100%;aspect-ratio:1";
    return `width:${width >= height ? 100 : (100 * width) / height}%;aspect-ratio:${width}/${height}`;
}

function frame([left, top, width, height]) {
    const [x, y, w, h] = [left, top, width, height].map((share) => `${100 * share}%`);
    return `left:${x};top:${y};width:${w};height:${h}`;
}
