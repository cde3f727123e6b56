// The live part of the page: asks /tinv/v1/status while the page is visible, and shows the answer.
// All texts come from there, in the page's language. They become text nodes, so nothing that came from a file or a
// person can be taken for markup.
(function () {
    "use strict";
    const INTERVAL = 700; // milliseconds from an answer to the next question
    const SPOKEN = ".tinv-part, #tinv_live, .tinv-said, .tinv-problems, .tinv-table, #tinv_answer ol, textarea, script, style"; // already in the page's language
    let shown = null; // the run on the page: {id, place, rows, evaluations, chart, previews, notices}
    let localized = false;
    let unreachable = ""; // what to say when the server does not answer

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
        shown = {id: job.id, place, rows: [], evaluations: new Map(), chart: null, previews: 0, notices: 0};
    }

    function series(job) {
        shown.rows.push(...job.curve);
        for (const [step, loss] of job.evaluations) shown.evaluations.set(step, loss);
        const steps = [...new Set([...shown.rows.map((row) => row.step), ...shown.evaluations.keys()])].sort((a, b) => a - b);
        const by = new Map(shown.rows.map((row) => [row.step, row]));
        const of = (key) => steps.map((step) => (by.has(step) ? by.get(step)[key] : null));
        return [steps, of("loss"), of("smoothed"), steps.map((step) => shown.evaluations.get(step) ?? null), of("rate")];
    }

    function draw(job, texts) {
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
            axes: [{...axis, label: texts.step}, {...axis, size: 64}, {...axis, scale: "rate", side: 1, size: 64, grid: {show: false}}],
            series: [
                {label: texts.step},
                {label: texts.loss, stroke: "#8886", width: 1, show: false}, // the loss of single steps is so noisy that it would flatten the rest
                {label: texts.smoothed, stroke: "#3b82f6", width: 2},
                {label: texts.evaluation, stroke: "#f97316", width: 2, spanGaps: true, points: {show: true}},
                {label: texts.rate, stroke: "#10b98188", scale: "rate", width: 1, dash: [4, 4]},
            ],
        }, data, place);
    }

    function previews(job, texts) {
        const place = shown.place.querySelector(".tinv-previews");
        for (; shown.previews < job.previews.length; shown.previews++) {
            const step = job.previews[shown.previews];
            const figure = make("figure");
            const image = make("img");
            image.alt = texts.preview.replace("{step}", step);
            image.src = `${root()}/tinv/v1/picture?job=${encodeURIComponent(job.id)}&index=${shown.previews}`;
            figure.append(image, make("figcaption", "", texts.at_step.replace("{step}", step)));
            place.prepend(figure);
        }
    }

    function notices(job) {
        const place = shown.place.querySelector(".tinv-notices");
        for (; shown.notices < job.notices.length; shown.notices++) place.prepend(make("div", "", job.notices[shown.notices]));
    }

    // In a WebUI that has txt2img, the finished embedding can be put into a prompt there.
    function send(job, texts) {
        const place = shown.place.querySelector(".tinv-send");
        if (place.childNodes.length || !job.file || !find("txt2img_prompt")) return;
        for (const [label, id] of [[texts.to_prompt, "txt2img_prompt"], [texts.to_negative_prompt, "txt2img_neg_prompt"]]) {
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

    function interrupted(place, sentences) {
        let box = place.parentNode.querySelector(".tinv-interrupted");
        if (!box) {
            box = make("div", "tinv-interrupted");
            place.before(box);
        }
        if (box.textContent !== sentences.join("")) box.replaceChildren(...sentences.map((text) => make("div", "", text)));
    }

    function show(place, answer) {
        const {job, texts} = answer;
        interrupted(place, texts.interrupted);
        if (!job) {
            if (shown || !place.childNodes.length) place.replaceChildren(make("div", "tinv-title", texts.no_run)); // not the run of a server of before
            shown = null;
            return;
        }
        if (!shown || shown.id !== job.id || shown.place !== place) begin(place, job);
        place.querySelector(".tinv-title").textContent = texts.title;
        place.querySelector(".tinv-fill").style.width = job.total ? (100 * job.steps) / job.total + "%" : "0";
        place.querySelector(".tinv-figures").textContent = texts.figures.join(" · ");
        draw(job, texts);
        notices(job);
        send(job, texts);
        previews(job, texts);
        place.querySelector(".tinv-prompts").textContent = job.prompts.slice(0, 4).join("\n");
    }

    // The WebUI translates our labels by our own file if its language has the same name. If the language has another
    // name ("zh-Hans (Stable)"), or there is no WebUI, they are translated here.
    async function localize(place, language) {
        if (localized || language === "en" || (window.localization && window.localization["Stop and save"])) return;
        localized = true;
        const answer = await fetch(`${root()}/tinv/v1/labels?language=${language}`);
        if (!answer.ok) return;
        const labels = await answer.json();
        const page = place.closest("#tab_tinv, .gradio-container");
        const translate = () => {
            const walk = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) {
                const label = labels[walk.currentNode.nodeValue.trim()];
                if (label && !walk.currentNode.parentNode.closest(SPOKEN)) walk.currentNode.nodeValue = label;
            }
            for (const node of page.querySelectorAll("[placeholder]")) node.placeholder = labels[node.placeholder] || node.placeholder;
        };
        translate();
        new MutationObserver(translate).observe(page, {childList: true, subtree: true});
    }

    // Whether there is more to be asked for at once.
    async function look() {
        const place = find("tinv_live");
        if (!place || place.offsetParent === null) return false;
        const same = shown && shown.place === place;
        const since = same && shown.rows.length ? shown.rows[shown.rows.length - 1].step : 0;
        const language = place.dataset.language;
        const response = await fetch(`${root()}/tinv/v1/status?since=${since}${language ? "&language=" + language : ""}`);
        if (!response.ok) throw new Error(response.status);
        const answer = await response.json();
        unreachable = answer.texts.unreachable;
        await localize(place, answer.language);
        const other = answer.job && (!same || shown.id !== answer.job.id);
        if (other && since) { // another run than the one shown: its curve is wanted from the beginning
            shown = null;
            return true;
        }
        show(place, answer);
        return Boolean(answer.job && answer.job.more);
    }

    async function forever() {
        let more = false;
        try {
            more = await look();
        } catch (error) {
            console.warn("tinv: the server does not answer", error);
            const title = shown && shown.place.querySelector(".tinv-title");
            if (title && unreachable) title.textContent = unreachable;
        }
        setTimeout(forever, more ? 0 : INTERVAL);
    }

    forever();
})();
