// Where to train: with the program's own model, or on another device of the machine, where a copy of it is loaded.
import { html, useState } from "./html.js";
import { keep, kept } from "./kept.js";
import { t } from "./texts.js";

const KEY = "tinv-device";

/**
 * The name of the device that was chosen, kept over a reload; "" where it is the program's own, or no longer there.
 * @param {{name: string}[]} devices
 * @returns {[string, (name: string) => void]}
 */
export function useDevice(devices) {
    const [chosen, setChosen] = useState(() => String(kept(KEY).name ?? ""));
    const choose = (name) => {
        setChosen(name);
        keep(KEY, { name });
    };
    return [there(chosen, devices), choose];
}

/** @param {string} chosen @param {{name: string}[]} devices */
export const there = (chosen, devices) => (devices.some((one) => one.name === chosen) ? chosen : "");

/** `id`: of the control. */
export function Device({ devices, device, choose, id = undefined }) {
    if (!devices.length) return null; // nothing to choose
    return html`<label class="tinv-device"><span class="tinv-quiet">${t("train.device")}</span>
        <select id=${id} value=${device} onChange=${(event) => choose(event.target.value)}>
            <option value="">${t("train.own_device")}</option>
            ${devices.map((one) => html`<option key=${one.name} value=${one.name}>${one.text}</option>`)}
        </select>
        ${device && html`<span class="tinv-quiet">${t("train.device_help")}</span>`}
    </label>`;
}
