// Asks the program again and again while a part is visible.
import { useEffect, useRef, useState } from "./html.js";

/**
 * @template Answer
 * @param {(before: Answer | null) => Promise<Answer>} ask
 * @param {number} every milliseconds from an answer to the next question
 * @param {{readonly now: boolean, listen: (heard: () => void) => () => void}} visible
 * @returns {{answer: Answer | null, error: Error | null, again: () => void}} `again` asks at once, though nobody may see
 * the part yet: a run that is begun at the end of a long page is what brings its part into sight
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
            wanted = false,
            last = null;
        const turn = async (unseen = false) => {
            clearTimeout(timer);
            if (ended || !(visible.now || unseen)) return; // `listen` goes on
            if (busy) {
                wanted = true;
                return;
            }
            busy = true;
            try {
                last = await asking.current(last);
                if (!ended) setShown({ answer: last, error: null });
            } catch (error) {
                if (!ended) setShown({ answer: last, error });
            }
            busy = false;
            if (!ended) timer = setTimeout(turn, wanted ? 0 : every, wanted);
            wanted = false;
        };
        again.current = () => turn(true);
        const deaf = visible.listen(() => turn());
        turn();
        return () => {
            ended = true;
            clearTimeout(timer);
            deaf();
        };
    }, [every, visible]);
    return { ...shown, again: () => again.current() };
}
