// Several embeddings together: compared on one prompt, or blended into a new one with a live preview.
import { post } from "../api.js";
import { html, useState } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";
import { Generated } from "./generated.js";
import { shares } from "./shares.js";

export function Mix({ picked, pick, snapshots, blends, setBlends, done }) {
    const [asked, setAsked] = useState({ prompt: t("embeddings.example_prompt"), seed: 1, steps: 20, on: false });
    if (picked.length === 0) return html`<p class="tinv-quiet">${t("embeddings.mix_hint")}</p>`;
    const request = (parts) => asked.on && { prompt: asked.prompt, seed: asked.seed, steps: asked.steps, parts };
    return html`<section class="tinv-panel tinv-stack tinv-mix" aria-label=${t("embeddings.mix")}>
        <div class="tinv-row">
            <h2 tabindex="-1">${t("embeddings.mix")}</h2>
            <span class="tinv-chips tinv-grow">
                ${picked.map(
                    (key) => html`<button
                        type="button"
                        class="tinv-chip"
                        aria-label=${t("embeddings.unpick", { name: key })}
                        onClick=${() => pick(key, false)}
                    >
                        ${key} ✕
                    </button>`,
                )}
            </span>
            <${Snapshots} snapshots=${snapshots.filter((key) => !picked.includes(key))} pick=${pick} />
        </div>
        <${Wish} asked=${asked} set=${(change) => setAsked({ ...asked, ...change })} />
        <div class="tinv-row" role="radiogroup" aria-label=${t("embeddings.mix")}>
            <label class="tinv-row">
                <input type="radio" checked=${!blends} onChange=${() => setBlends(false)} /> ${t("embeddings.compare")}
            </label>
            <label class="tinv-row">
                <input type="radio" checked=${blends} disabled=${picked.length < 2} onChange=${() => setBlends(true)} />
                ${t("embeddings.blend")}
            </label>
        </div>
        ${
            blends && picked.length > 1
                ? html`<${Blend} key=${picked.join("\n")} keys=${picked} request=${request} done=${done} />`
                : html`<div class="tinv-images">
                      ${picked.map(
                          (key) =>
                              html`<${Generated}
                                  key=${key}
                                  request=${request([{ key, weight: 1 }])}
                                  alt=${t("embeddings.image_of", { name: key })}
                                  caption=${key}
                              />`,
                      )}
                  </div>`
        }
    </section>`;
}

function Wish({ asked, set }) {
    const number = (name, least, most) => html`<input
        type="number"
        min=${least}
        max=${most}
        value=${asked[name]}
        onChange=${(event) => set({ [name]: Math.min(most, Math.max(least, Math.round(Number(event.target.value)))) })}
    />`;
    return html`<div class="tinv-row">
        <label class="tinv-grow">
            ${t("embeddings.prompt")}
            <input class="tinv-full" value=${asked.prompt} onChange=${(event) => set({ prompt: event.target.value })} />
        </label>
        <label class="tinv-number">${t("embeddings.seed")} ${number("seed", 0, 4294967295)}</label>
        <label class="tinv-number">${t("embeddings.steps")} ${number("steps", 1, 150)}</label>
        <button
            type="button"
            class=${`tinv-button ${asked.on ? "" : "tinv-primary"}`}
            aria-pressed=${asked.on}
            onClick=${() => set({ on: !asked.on })}
        >
            ${asked.on ? t("embeddings.stop_generating") : t("embeddings.generate")}
        </button>
    </div>`;
}

function Snapshots({ snapshots, pick }) {
    if (!snapshots.length) return null;
    return html`<label>
        <span class="tinv-hidden">${t("embeddings.add_snapshot")}</span>
        <select value="" onChange=${(event) => event.target.value && pick(event.target.value, true)}>
            <option value="">${t("embeddings.add_snapshot")}</option>
            ${snapshots.map((key) => html`<option value=${key}>${key}</option>`)}
        </select>
    </label>`;
}

/** Two are blended by one slider, more by one each. */
function Blend({ keys, request, done }) {
    const [weights, setWeights] = useState(keys.map(() => 50));
    const [name, setName] = useState("");
    const parts = keys.map((key, index) => ({ key, weight: weights[index] / 100 }));
    const percent = shares(weights);
    const two = keys.length === 2;
    const set = (index, value) => setWeights(two ? [100 - value, value] : weights.with(index, value));
    const blend = async () => {
        const values = { keys, weights: parts.map((part) => part.weight), name };
        done(await post("embeddings/average", {}, values));
    };
    const said = keys.map((key, index) => t("embeddings.share", { name: key, percent: percent[index] })).join(" · ");
    return html`<div class="tinv-blend">
        <${Generated} request=${percent && request(parts)} alt=${said} caption=${said} />
        <div class="tinv-stack tinv-grow">
            ${(two ? [1] : keys.map((_, index) => index)).map(
                (index) => html`<label>
                    ${two ? said : t("embeddings.share", { name: keys[index], percent: percent[index] })}
                    <input
                        type="range"
                        class="tinv-full"
                        min="0"
                        max="100"
                        value=${weights[index]}
                        aria-valuetext=${said}
                        onInput=${(event) => set(index, Number(event.target.value))}
                    />
                </label>`,
            )}
            <label>
                ${t("embeddings.result_name")}
                <input class="tinv-full" value=${name} onInput=${(event) => setName(event.target.value)} />
            </label>
            <div class="tinv-row">
                <${Action} act=${blend} primary=${true} disabled=${!name.trim()}>${t("embeddings.save_blend")}</${Action}>
            </div>
        </div>
    </div>`;
}
