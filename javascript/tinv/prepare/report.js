// What becomes of each image, and what it looked like before and after.
import { address } from "../api.js";
import { html } from "../html.js";
import { t } from "../texts.js";

const SHOWN = 200; // images of a report
const PAIRS = 12;

/** `report`: as POST /prepare/check answers. */
export function Report({ report }) {
    const shown = ordered(report.images).slice(0, SHOWN);
    const changes = shown.some((image) => image.becomes); // none where images are only captioned
    const more = report.count - shown.length;
    return html`<div class="tinv-said tinv-stack">
        ${report.sentences.map((text) => html`<p>${text}</p>`)}
        ${more > 0 && html`<p>${t("prepare_page.more", { count: more })}</p>`}
        <div class="tinv-scroll" tabindex="0" role="region" aria-label=${t("prepare_page.head_findings")}><table class="tinv-table">
            <thead><tr>
                <th>${t("prepare_page.head_image")}</th>
                <th>${t("prepare_page.head_size")}</th>
                ${changes && html`<th>${t("prepare_page.head_becomes")}</th>`}
                <th>${t("prepare_page.head_findings")}</th>
                <th>${t("prepare_page.head_caption")}</th>
            </tr></thead>
            <tbody>${shown.map(
                (image) => html`<tr key=${image.name} data-left-out=${image.left_out || undefined}>
                <td>${image.name}</td><td class="tinv-size">${image.width}×${image.height}</td>
                ${changes && html`<td>${image.becomes}</td>`}
                <td class="tinv-findings">${findingsOf(image)}</td>
                <td class="tinv-caption">${image.caption.replaceAll("\n", " | ")}</td>
            </tr>`,
            )}</tbody>
        </table></div>
    </div>`;
}

/** What was found of an image, as its language joins sentences. @param {{findings: Record<string, string>}} image */
export const findingsOf = (image) => t("prepare_page.findings", { findings: Object.values(image.findings) });

/** Of very many images those with findings first. @param {any[]} images */
export function ordered(images) {
    if (images.length <= SHOWN) return images;
    const found = (image) => Object.keys(image.findings).length > 0;
    return [...images.filter(found), ...images.filter((image) => !found(image))];
}

/** The first new images, each beside its original. @param {{images: [string, string][]}} of GET /prepare */
export function Pairs({ images }) {
    if (!images.length) return null;
    return html`<div class="tinv-pairs" aria-label=${t("prepare_page.pairs")}>
        ${images.slice(0, PAIRS).map(
            ([before, after], index) => html`<figure key=${after}>
            <div class="tinv-pair">
                <img src=${picture(index, true, before)} alt=${before} loading="lazy" />
                <img src=${picture(index, false, after)} alt=${after} loading="lazy" />
            </div>
            <figcaption class="tinv-quiet">${before} → ${after}</figcaption>
        </figure>`,
        )}
    </div>`;
}

/** The name is there so that another image has another address. */
const picture = (index, before, name) => address("prepare/picture", { index, before, name });
