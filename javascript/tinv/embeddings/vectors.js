// The vectors of one text encoder: each one's nearest words as chips, and its norm against those of the vocabulary.
import { html, useState } from "../html.js";
import { t } from "../texts.js";
import { span } from "./norms.js";

const SHOWN = 8; // vectors at first

export function Vectors({ encoder, alone }) {
    const [all, setAll] = useState(false);
    const { name, norms, vocabulary, nearest } = encoder;
    const shown = all ? norms : norms.slice(0, SHOWN);
    const scale = span(norms, vocabulary);
    return html`<div class="tinv-stack">
        ${!alone && html`<h3>${name}</h3>`}
        ${vocabulary && html`<p class="tinv-quiet">${t("embeddings.norms", round(vocabulary))}</p>`}
        <ol class="tinv-vectors">
            ${shown.map(
                (norm, index) => html`<li>
                    <${Norm} norm=${norm} vocabulary=${vocabulary} scale=${scale} number=${index + 1} />
                    ${
                        nearest &&
                        html`<span class="tinv-chips">
                        ${nearest[index].map(
                            ({
                                token,
                                cosine,
                            }) => html`<span class="tinv-chip" style=${{ "--near": Math.max(0, cosine) }}>
                                ${token} <small>${cosine.toFixed(2)}</small>
                            </span>`,
                        )}
                    </span>`
                    }
                </li>`,
            )}
        </ol>
        ${
            norms.length > shown.length &&
            html`<button type="button" class="tinv-button" onClick=${() => setAll(true)}>
            ${t("embeddings.all_vectors", { count: norms.length })}
        </button>`
        }
    </div>`;
}

function Norm({ norm, vocabulary, scale, number }) {
    const said = t("embeddings.norm_of", { number, norm });
    return html`<span class="tinv-norm" role="img" aria-label=${said} title=${said}>
        ${
            vocabulary &&
            html`<span
                class="tinv-range"
                style=${{ left: scale(vocabulary.least), width: `calc(${scale(vocabulary.greatest)} - ${scale(vocabulary.least)})` }}
            ></span>
            <span class="tinv-median" style=${{ left: scale(vocabulary.median) }}></span>`
        }
        <span class="tinv-mark" style=${{ left: scale(norm) }}></span>
        <small>${norm.toFixed(2)}</small>
    </span>`;
}

const round = (vocabulary) =>
    Object.fromEntries(Object.entries(vocabulary).map(([key, value]) => [key, Number(value).toFixed(2)]));
