// A mask painted onto an image: what is painted over is not learnt.
import { address } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

export const PAINT = [230, 0, 160]; // seen on dark images and on bright ones

/**
 * The pixels of a grey mask as those of the canvas: paint, as opaque as the mask is dark.
 * @param {Uint8ClampedArray} pixels RGBA, changed in place
 */
export function painted(pixels) {
    for (let at = 0; at < pixels.length; at += 4) pixels.set([...PAINT, 255 - pixels[at]], at);
    return pixels;
}

/** The other way round: a grey mask, white where nothing is painted. @param {Uint8ClampedArray} pixels RGBA, changed in place */
export function grey(pixels) {
    for (let at = 0; at < pixels.length; at += 4) {
        pixels.fill(255 - pixels[at + 3], at, at + 3);
        pixels[at + 3] = 255;
    }
    return pixels;
}

/** What was left out is learnt, and the other way round. @param {Uint8ClampedArray} pixels RGBA, changed in place */
export function inverted(pixels) {
    for (let at = 0; at < pixels.length; at += 4) pixels.set([...PAINT, 255 - pixels[at + 3]], at);
    return pixels;
}

/** Whether nothing is painted. @param {Uint8ClampedArray} pixels RGBA */
export const empty = (pixels) => !pixels.some((value, at) => at % 4 === 3 && value > 0);

const all = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);

function change(canvas, how) {
    const data = all(canvas);
    how(data.data);
    canvas.getContext("2d").putImageData(data, 0, 0);
}

/** The mask as base64 of a PNG, white where it is learnt; empty where nothing is painted. */
function saved(canvas) {
    const data = all(canvas);
    if (empty(data.data)) return "";
    grey(data.data);
    const whole = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    whole.getContext("2d").putImageData(data, 0, 0);
    return whole.toDataURL("image/png").split(",")[1];
}

const SMALL = 400; // pixels: a smaller image is enlarged, so that it can be painted on

/**
 * @param {{image: any, save: (mask: string) => Promise<boolean>, problem: any, close: () => void}} of a tile; `problem` is why
 * it could not be saved
 */
export function MaskBrush({ image, save, problem, close }) {
    const { id, name, version, mask } = image;
    const dialog = useRef(null),
        canvas = useRef(null),
        last = useRef(null);
    const [brush, setBrush] = useState(8); // percent of the longer side
    const [erase, setErase] = useState(false);
    const [missing, setMissing] = useState(false); // there is no plain background
    const changed = useRef(false); // since it was opened
    const [asking, setAsking] = useState(false); // whether what was painted is to be lost
    const [saving, setSaving] = useState("no"); // "now", or "failed"
    useEffect(() => dialog.current.showModal(), []);
    const began = (event) => {
        const { naturalWidth: width, naturalHeight: height } = event.target;
        if (canvas.current.width === width && canvas.current.height === height) return;
        Object.assign(canvas.current, { width, height });
        if (Math.max(width, height) < SMALL)
            event.target.style.width = `${(SMALL * width) / Math.max(width, height)}px`;
        if (mask) show("images/mask", { v: mask });
    };
    const show = (what, query) => {
        const drawn = new Image();
        drawn.onload = () => {
            if (what === "images/background") changed.current = true;
            const { width, height } = canvas.current;
            canvas.current.getContext("2d").globalCompositeOperation = "source-over";
            canvas.current.getContext("2d").drawImage(drawn, 0, 0, width, height);
            change(canvas.current, painted);
        };
        setMissing(false);
        drawn.onerror = () => setMissing(true);
        drawn.src = address(what, { id, ...query, language: undefined });
    };
    const place = (event) => {
        const box = canvas.current.getBoundingClientRect();
        const scale = canvas.current.width / box.width;
        return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    };
    const stroke = (event) => {
        const to = place(event),
            from = last.current ?? to;
        const onto = canvas.current.getContext("2d");
        onto.globalCompositeOperation = erase ? "destination-out" : "source-over";
        onto.strokeStyle = `rgb(${PAINT})`;
        onto.lineWidth = (brush / 100) * Math.max(canvas.current.width, canvas.current.height);
        onto.lineCap = onto.lineJoin = "round";
        onto.beginPath();
        onto.moveTo(...from);
        onto.lineTo(...to);
        onto.stroke();
        last.current = to;
    };
    const down = (event) => {
        event.target.setPointerCapture(event.pointerId);
        last.current = null;
        changed.current = true;
        stroke(event);
    };
    const whole = (how) => {
        changed.current = true;
        change(canvas.current, how);
    };
    /** By the button or Escape: what was painted is not lost without a question. */
    const leave = (event) => {
        event.preventDefault();
        if (changed.current) setAsking(true);
        else dialog.current.close();
    };
    const keys = (event) => {
        event.stopPropagation(); // the WebUI has keys of its own
        if (event.key === "Escape") leave(event); // Chrome closes a dialog by the third one, whatever onCancel does
    };
    const keep = async () => {
        setSaving("now");
        if (await save(saved(canvas.current))) dialog.current?.close();
        else setSaving("failed");
    };
    const tool = (on, text) =>
        html`<button type="button" class="tinv-button" aria-pressed=${erase === on} onClick=${() => setErase(on)}>${text}</button>`;
    return html`<dialog ref=${dialog} class="tinv-dialog tinv-mask" aria-label=${t("train.mask_of", { name })} onClose=${close}
            onCancel=${leave} onKeyDown=${keys}>
        <div class="tinv-stack">
            <p>${t("train.mask_help")}</p>
            <div class="tinv-painting">
                <img src=${address("images/canvas", { id, v: version, language: undefined })} alt=${name} onLoad=${began} draggable=${false} />
                <canvas ref=${canvas} onPointerDown=${down} onPointerMove=${(event) => event.buttons && stroke(event)}></canvas>
            </div>
            <div class="tinv-row">
                ${tool(false, t("train.mask_paint"))} ${tool(true, t("train.mask_erase"))}
                <label class="tinv-row">${t("train.mask_brush")}
                    <input type="range" min="1" max="30" value=${brush} onInput=${(event) => setBrush(Number(event.target.value))} /></label>
                <button type="button" class="tinv-button" onClick=${() => whole(inverted)}>${t("train.mask_invert")}</button>
                <button type="button" class="tinv-button" onClick=${() => whole((pixels) => pixels.fill(0))}>${t("train.mask_clear")}</button>
                <button type="button" class="tinv-button" onClick=${() => show("images/background", { v: version })}>${t("train.mask_background")}</button>
            </div>
            <p role="status" class="tinv-quiet">${missing && t("train.no_background")}</p>
            <p role="alert">${asking && t("train.mask_unsaved")}</p>
            ${saving === "failed" && html`<${Problems} error=${problem} />`}
            <div class="tinv-row">
                <button type="button" class="tinv-button tinv-primary" disabled=${saving === "now"} onClick=${keep}>${t("train.mask_save")}</button>
                ${
                    asking
                        ? html`<button type="button" class="tinv-button" onClick=${() => dialog.current.close()}>
                            ${t("train.mask_discard")}</button>
                        <button type="button" class="tinv-button" onClick=${() => setAsking(false)}>${t("train.mask_paint_on")}</button>`
                        : html`<button type="button" class="tinv-button" onClick=${leave}>${t("page.close")}</button>`
                }
            </div>
        </div>
    </dialog>`;
}
