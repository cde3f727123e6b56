// Asks the program again and again while a part is visible.
import { Unreachable } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";

// Milliseconds to the next question after none was answered. A WebUI that restarts ends if it is asked something between
// its first moment and that in which it adds its API (v1.10.1, webui.py: "Cannot add middleware …"): ask seldom.
export const AWAY = 5000;

/**
 * @template Answer
 * @param {(before: Answer | null) => Promise<Answer>} ask
 * @param {number} every milliseconds from an answer to the next question
 * @param {{readonly now: boolean, listen: (heard: () => void) => () => void}} visible
 * @returns {{answer: Answer | null, error: Error | null, again: () => void}} `again` asks at once, though nobody may see
 * the part yet, and until there is an answer: a run that is begun at the end of a long page brings its part into sight
 */
export function usePolling(ask, every, visible) {
    const [shown, setShown] = useState({ answer: null, error: null });
    const asking = useRef(ask);
    asking.current = ask;
    const again = useRef(() => {});
    useEffect(() => {
        let timer,
            ended = false,
            busy = false,
            wanted = false, // somebody asked, and has not been answered yet
            last = null;
        const turn = async () => {
            clearTimeout(timer);
            if (ended || busy || !(visible.now || wanted)) return; // `listen` goes on, or the turn at work
            busy = true;
            const asked = wanted;
            wanted = false;
            let pause = every;
            try {
                last = await asking.current(last);
                if (wanted) pause = 0;
                if (!ended) setShown({ answer: last, error: null });
            } catch (error) {
                if (error instanceof Unreachable) {
                    wanted ||= asked; // a refusal is an answer, too
                    pause = Math.max(every, AWAY);
                }
                if (!ended) setShown({ answer: last, error });
            }
            busy = false;
            if (!ended) timer = setTimeout(turn, pause);
        };
        again.current = () => {
            wanted = true;
            turn();
        };
        const deaf = visible.listen(turn);
        turn();
        return () => {
            ended = true;
            clearTimeout(timer);
            deaf();
        };
    }, [every, visible]);
    return { ...shown, again: () => again.current() };
}
