// What there is of one word of a run: its curve, its snapshots, its file. Where it is the only one, these are the run's.
import { get } from "../api.js";
import { useEffect, useState } from "../html.js";

const POINTS = 400; // of the curve

/**
 * @typedef {{name: string, asked: string | undefined, file: string | null, holds: number | null, chart: any, snapshots: any[]}} Word
 * `asked` is what routes are to be told, `holds` the step in the file.
 * @param {any} job @param {string} name @param {any} chart of the run @param {any[]} snapshots of its first word
 * @returns {{word: Word | null, error: unknown, look: () => void}} no word while it is asked for; `look` asks again
 */
export function useWord(job, name, chart, snapshots) {
    const [found, keep] = useState({ name: "", word: null, error: null });
    const [turn, setTurn] = useState(0);
    const several = job.words.length > 1;
    useEffect(() => {
        let wanted = several;
        if (several)
            ask(job.id, name).then(
                (word) => wanted && keep({ name, word, error: null }),
                (error) => wanted && keep({ name, word: null, error }),
            );
        return () => {
            wanted = false;
        };
    }, [job.id, name, job.status, job.file, job.used, chart, snapshots, turn]);
    const look = () => setTurn((before) => before + 1);
    if (!several) return { word: only(job, chart, snapshots), error: null, look };
    return found.name === name ? { ...found, look } : { word: null, error: null, look };
}

/** @returns {Promise<Word>} */
async function ask(job, name) {
    const [words, chart, snapshots] = await Promise.all([
        get("words", { job }),
        get("chart", { job, word: name, points: POINTS }),
        get("snapshots", { job, word: name }),
    ]);
    const { file, file_step: holds } = words.find((one) => one.name === name);
    return { name, asked: name, file, holds, chart, snapshots };
}

/** @returns {Word} */
function only(job, chart, snapshots) {
    const holds = job.used ?? job.file_step ?? (job.file ? job.steps : null);
    return { name: job.name, asked: undefined, file: job.file, holds, chart, snapshots };
}
