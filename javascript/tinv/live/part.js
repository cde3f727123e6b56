// The run that is at work, or the last one: how far it is, its curve, its previews, and what to do with them.
import { get } from "../api.js";
import { html, useEffect, useMemo, useRef } from "../html.js";
import { Interrupted } from "../interrupted.js";
import { usePolling } from "../polling.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { Waited } from "../waited.js";
import { Chart } from "./chart.js";
import { Controls } from "./controls.js";
import { Decide } from "./decide.js";
import { Head } from "./head.js";
import { Notices } from "./notices.js";
import { Previews } from "./previews.js";
import { canSend } from "./txt2img.js";

const EVERY = 700; // milliseconds from an answer to the next question
const REDRAW = 2000; // milliseconds between two curves of a run at work
const PATIENCE = 10_000; // milliseconds in which a run that was asked for may still scroll the page to it

export default function Part({ place, visible }) {
    const watched = useRef(""); // another job than the current one
    const { answer, error, again } = usePolling((before) => look(watched.current, before), EVERY, visible);
    const watch = (id) => {
        watched.current = id;
        again();
    };
    const job = answer?.status.job;
    useShownWhenBegun(place, job, watch);
    useEffect(() => {
        if (watched.current && /** @type {any} */ (error)?.status === 404) watch(""); // it has been forgotten
    }, [error]);
    const none = !job && !error && !answer?.status.interrupted.length && !answer?.status.waited.length;
    return html`<section id="tinv_live" class=${`tinv-stack ${none ? "tinv-none" : ""}`} aria-label=${t("live.part")}>
        ${answer && html`<${Interrupted} runs=${answer.status.interrupted} again=${again} />`}
        ${answer && html`<${Waited} runs=${answer.status.waited} again=${again} />`}
        ${error && html`<${Problems} error=${error} />`}
        ${answer && !job && html`<p class=${`tinv-title ${none ? "tinv-hidden" : ""}`}>${t("ui.no_run_yet")}</p>`}
        ${
            watched.current &&
            html`<p><button type="button" class="tinv-button" id="tinv_watch_current" onClick=${() => watch("")}>
                ${t("live.watch_current")}
            </button></p>`
        }
        ${job && html`<${Run} key=${job.id} answer=${answer} lost=${Boolean(error)} again=${again} />`}
    </section>`;
}

/**
 * A run that somebody begins, or wants to watch, is asked for at once, and brought into sight where it stands above or
 * below the window. One that is begun on another device is watched: it does not wait for the current one.
 */
function useShownWhenBegun(place, job, watch) {
    const wanted = useRef(-Infinity); // when
    useEffect(() => {
        const heard = (/** @type {any} */ { type, detail }) => {
            wanted.current = performance.now();
            watch(type === "tinv:watch" || detail.device ? detail.job : "");
        };
        document.addEventListener("tinv:started", heard);
        document.addEventListener("tinv:watch", heard);
        return () => {
            document.removeEventListener("tinv:started", heard);
            document.removeEventListener("tinv:watch", heard);
        };
    }, []);
    useEffect(() => {
        const { top, bottom } = place.getBoundingClientRect();
        const now = performance.now() - wanted.current < PATIENCE; // else its turn came, while somebody does other things
        if (job && now && (top > innerHeight || bottom < 0)) place.scrollIntoView();
        wanted.current = -Infinity;
    }, [job?.id]);
}

function Run({ answer, lost, again }) {
    const { status, chart, previews, snapshots } = answer;
    const job = status.job;
    // A step more changes the head. The rest stays until there is something new of it: preact does not look again at
    // what is the same object.
    useEffect(() => {
        document.dispatchEvent(new CustomEvent("tinv:noticed")); // perhaps of an image, which says so where it is shown
    }, [job.id, job.noted.length]);
    const curve = useMemo(() => chart?.steps.length > 1 && html`<${Chart} chart=${chart} />`, [chart]);
    const images = useMemo(
        () => html`<${Previews} job=${job} previews=${previews} best=${chart?.best?.step} />`,
        [job.id, previews, chart?.best?.step],
    );
    const decided = useMemo(
        () => html`<${Decide} job=${job} chart=${chart} previews=${previews} snapshots=${snapshots} again=${again} />`,
        [job.status, job.file, job.used, job.file_step, job.file && job.steps, chart, previews, snapshots, canSend()],
    );
    return html`
        <div class="tinv-top">
            <${Head} job=${job} texts=${status.texts} queued=${status.queued} />
            <${Controls} job=${job} lost=${lost} again=${again} />
        </div>
        <${Notices} job=${job} />
        ${curve}
        ${images}
        ${decided}
        ${!previews.length && job.prompts.length > 0 && html`<${Prompts} prompts=${job.prompts} />`}
    `;
}

/** What the model was shown in the step before, until there is an image to look at. */
function Prompts({ prompts }) {
    return html`<p class="tinv-prompts tinv-quiet">${prompts.slice(0, 4).join("\n")}</p>`;
}

/** One look: the status always, and of the rest what has changed. @param {string} watched @param {any} before */
async function look(watched, before) {
    const known = before?.status.job;
    const since = known ? Math.max(0, known.steps - 1) : 0;
    const status = await get("status", { job: watched || undefined, since });
    const job = status.job;
    if (!job) return { status, chart: null, previews: [], snapshots: [], seen: "" };
    const same = known?.id === job.id;
    const drawn = `${job.steps} ${job.evaluated} ${job.status}`;
    const soon = same && known.status === job.status && performance.now() - before.at < REDRAW;
    const fresh = !same || !(soon || before.drawn === drawn);
    const kept = `${job.previews.length} ${job.snapshots} ${job.status}`;
    return {
        status,
        drawn: fresh ? drawn : before.drawn,
        at: fresh ? performance.now() : before.at,
        kept,
        chart: fresh ? await get("chart", { job: job.id, points: 400 }) : before.chart,
        previews: same && before.kept === kept ? before.previews : await get("previews", { job: job.id }),
        snapshots: same && before.kept === kept ? before.snapshots : await get("snapshots", { job: job.id }),
    };
}
