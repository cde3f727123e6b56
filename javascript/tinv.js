// The live side of the tab: asks /tinv/v1/status while the tab is visible, and shows what it says.
// It builds text nodes only, so nothing that came from a file or a person can be taken for markup.
(function () {
    "use strict";
    const EVERY = 700; // milliseconds between two looks
    const OVER = ["finished", "stopped", "failed"];
    let shown = null; // {id, rows, evaluations, chart, previews}

    const root = () => {
        const base = document.querySelector("base");
        const path = (window.gradio_config && window.gradio_config.root) || (base && base.href) || location.pathname;
        return new URL(path, location.href).pathname.replace(/\/+$/, "");
    };

    const find = (id) => {
        const app = typeof gradioApp === "function" ? gradioApp() : document;
        return app.querySelector("#" + id);
    };

    const make = (tag, kind, text) => {
        const node = document.createElement(tag);
        if (kind) node.className = kind;
        if (text !== undefined) node.textContent = text;
        return node;
    };

    const duration = (seconds) => {
        if (seconds === null || seconds === undefined) return "";
        const s = Math.round(seconds);
        const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
        return (parts[0] ? parts[0] + " h " : "") + (parts[0] || parts[1] ? parts[1] + " min " : "") + parts[2] + " s left";
    };

    function begin(place, job) {
        place.replaceChildren();
        const title = make("div", "tinv-title");
        const bar = make("div", "tinv-bar");
        bar.append(make("div", "tinv-fill"));
        const chart = make("div", "tinv-chart");
        const previews = make("div", "tinv-previews");
        const prompts = make("div", "tinv-prompts");
        const [figures, notices, send] = ["tinv-figures", "tinv-notices", "tinv-send"].map((kind) => make("div", kind));
        place.append(title, bar, figures, send, chart, notices, previews, prompts);
        shown = {id: job.id, place, rows: [], evaluations: new Map(), chart: null, count: 0, told: 0};
    }

    function series(job) {
        shown.rows.push(...job.curve);
        for (const [step, loss] of job.evaluations) shown.evaluations.set(step, loss);
        const steps = [...new Set([...shown.rows.map((row) => row.step), ...shown.evaluations.keys()])].sort((a, b) => a - b);
        const by = new Map(shown.rows.map((row) => [row.step, row]));
        const of = (key) => steps.map((step) => (by.has(step) ? by.get(step)[key] : null));
        return [steps, of("loss"), of("smoothed"), steps.map((step) => shown.evaluations.get(step) ?? null), of("rate")];
    }

    function draw(job) {
        if (typeof uPlot === "undefined") return;
        if (!job.curve.length && shown.chart && shown.drawn === job.evaluations.length) return;
        const place = shown.place.querySelector(".tinv-chart");
        const width = place.clientWidth || 400;
        const data = series(job);
        shown.drawn = job.evaluations.length;
        if (shown.chart) {
            shown.chart.setData(data);
            return;
        }
        const axis = {stroke: "#888", grid: {stroke: "#8883"}, ticks: {stroke: "#8883"}};
        shown.chart = new uPlot({
            width, height: 240, legend: {live: false}, scales: {x: {time: false}, rate: {}},
            axes: [{...axis, label: "step"}, {...axis, size: 64}, {...axis, scale: "rate", side: 1, size: 64, grid: {show: false}}],
            series: [
                {label: "step"},
                {label: "loss", stroke: "#8886", width: 1, show: false}, // single steps jump about and would flatten the rest
                {label: "smoothed", stroke: "#3b82f6", width: 2},
                {label: "evaluation", stroke: "#f97316", width: 2, spanGaps: true, points: {show: true}},
                {label: "rate", stroke: "#10b98188", scale: "rate", width: 1, dash: [4, 4]},
            ],
        }, data, place);
    }

    function pictures(job) {
        const place = shown.place.querySelector(".tinv-previews");
        for (; shown.count < job.previews.length; shown.count++) {
            const step = job.previews[shown.count];
            const figure = make("figure");
            const image = make("img");
            image.alt = "preview at step " + step;
            image.src = root() + "/tinv/v1/picture?job=" + encodeURIComponent(job.id) + "&index=" + shown.count;
            figure.append(image, make("figcaption", "", "step " + step));
            place.prepend(figure);
        }
    }

    function notices(job) {
        const place = shown.place.querySelector(".tinv-notices");
        for (; shown.told < job.notices.length; shown.told++) place.prepend(make("div", "", job.notices[shown.told]));
    }

    // The finished word goes into a prompt of txt2img, in a WebUI that has one.
    function sending(job) {
        const place = shown.place.querySelector(".tinv-send");
        if (place.childNodes.length || !job.file || !find("txt2img_prompt")) return;
        for (const [label, id] of [["Send to txt2img", "txt2img_prompt"], ["Send to negative prompt", "txt2img_neg_prompt"]]) {
            const button = make("button", "lg secondary gradio-button", label);
            button.addEventListener("click", () => {
                const area = find(id).querySelector("textarea");
                area.value = area.value.trim() ? area.value.trimEnd().replace(/,$/, "") + ", " + job.name : job.name;
                area.dispatchEvent(new Event("input", {bubbles: true}));
                if (typeof switch_to_txt2img === "function") switch_to_txt2img();
            });
            place.append(button);
        }
    }

    function offer(place, runs) {
        let box = place.parentNode.querySelector(".tinv-interrupted");
        if (!box) {
            box = make("div", "tinv-interrupted");
            place.before(box);
        }
        const said = runs.map((run) => `A run of ${run.name} was interrupted at step ${run.steps} of ${run.total}: open Runs, and go on with ${run.id}.`);
        if (box.textContent !== said.join("")) box.replaceChildren(...said.map((text) => make("div", "", text)));
    }

    function show(answer) {
        const place = find("tinv_live");
        if (!place) return;
        offer(place, answer.interrupted || []);
        const job = answer.job;
        if (!job) {
            if (!place.childNodes.length) place.append(make("div", "tinv-title", "No run yet."));
            return;
        }
        if (!shown || shown.id !== job.id || shown.place !== place) begin(place, job);
        const waiting = answer.queued.length ? ` · queued: ${answer.queued.join(", ")}` : "";
        place.querySelector(".tinv-title").textContent = `${job.name}: ${job.status}${waiting}`;
        place.querySelector(".tinv-fill").style.width = job.total ? (100 * job.steps) / job.total + "%" : "0";
        const busy = !OVER.includes(job.status);
        draw(job);
        const preparing = job.status === "preparing" && job.encoded[1] ? `pictures encoded: ${job.encoded[0]} of ${job.encoded[1]}` : "";
        const last = job.evaluations.length ? `evaluation ${job.evaluations[job.evaluations.length - 1][1].toFixed(5)}` : "";
        const loss = job.loss === null ? "" : `loss ${job.loss.toFixed(4)}`;
        const row = shown.rows[shown.rows.length - 1];
        const norms = row ? `vectors ${row.vector_norm.toFixed(3)} long, ${row.distance.toFixed(3)} from the start` : "";
        place.querySelector(".tinv-figures").textContent = [
            preparing || `step ${job.steps} of ${job.total}`, busy ? duration(job.seconds_left) : "", loss, last, norms, job.reason,
        ].filter(Boolean).join(" · ");
        notices(job);
        sending(job);
        pictures(job);
        place.querySelector(".tinv-prompts").textContent = job.prompts.slice(0, 4).join("\n");
    }

    async function look() {
        const place = find("tinv_live");
        if (!place || place.offsetParent === null) return;
        const same = shown && shown.place === place;
        const since = same && shown.rows.length ? shown.rows[shown.rows.length - 1].step : 0;
        const answer = await fetch(`${root()}/tinv/v1/status?since=${since}`);
        if (!answer.ok) return;
        const told = await answer.json();
        const other = told.job && (!same || shown.id !== told.job.id);
        if (other && since) { // another run than the one shown: its curve is wanted from the beginning
            shown = null;
            return;
        }
        show(told);
    }

    async function forever() {
        try {
            await look();
        } catch (error) {
            console.warn("tinv: the server does not answer", error);
        }
        setTimeout(forever, EVERY);
    }

    forever();
})();
