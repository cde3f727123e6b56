// Asks the program about what is typed: a moment after the last key, and never two answers in the wrong order.
import { post, Unreachable } from "../api.js";
import { useEffect, useRef, useState } from "../html.js";
import { AWAY } from "../polling.js";

const PAUSE = 250; // milliseconds after the last change

/**
 * @param {string} route @param {Record<string, any>} query @param {object | null} body nothing is asked while it is null
 * @param {number} again milliseconds until the same is asked again; 0: only where nobody answered
 * @param {{readonly now: boolean, listen: (heard: () => void) => () => void}} visible
 * @returns {{answer: any, settled: boolean, error: any, refresh: () => void}} `settled`: what is asked now was answered
 */
export function useAnswer(route, query, body, again, visible) {
    const [state, setState] = useState({ answer: null, of: null, error: null });
    const [turn, setTurn] = useState(0);
    const asked = JSON.stringify([route, query, body]);
    const before = useRef("");
    useEffect(() => {
        if (body === null) {
            setState({ answer: null, of: null, error: null });
            return undefined;
        }
        const end = new AbortController();
        let timer = setTimeout(ask, asked === before.current ? 0 : PAUSE);
        before.current = asked;
        async function ask() {
            if (!visible.now) return; // `listen` asks when it is seen
            let pause = again;
            try {
                const answer = await post(route, query, body, { signal: end.signal });
                setState({ answer, of: asked, error: null });
            } catch (error) {
                if (end.signal.aborted) return;
                setState((last) => ({ ...last, error }));
                if (error instanceof Unreachable) pause = Math.max(again, AWAY);
            }
            if (pause && !end.signal.aborted) timer = setTimeout(ask, pause);
        }
        const deaf = visible.listen(() => {
            clearTimeout(timer);
            timer = setTimeout(ask, 0);
        });
        return () => {
            clearTimeout(timer);
            end.abort();
            deaf();
        };
    }, [asked, turn, again, visible]);
    return { ...state, settled: state.of === asked, refresh: () => setTurn((number) => number + 1) };
}
